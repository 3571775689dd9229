"""What must hold after a crash, checked on the store that was recovered."""

from __future__ import annotations

from typing import Any, Protocol

from hypercache.engines.base import Delete, Entry, Put
from hypercache.testing.disk_state import Directory
from hypercache.testing.power_cut import after_power_cut
from hypercache.testing.simulated_disk import SimDisk
from tests.support.crashstore import ROOT, Content, open_engine

SEGMENT_BYTES = 4096  # what `open_engine` makes them
META_BYTES = 1024  # the metafiles of a store together


class Expected(Protocol):
    """What the history says of a state."""

    promised: int
    states: dict[int, Content]
    copies: dict[str, int | None]
    history: dict[int, Content]


def check_open(
    name: str, disk: SimDisk, engine: Any, expected: Expected
) -> tuple[int, Content]:
    """The whole map is that of an allowed prefix, and nothing else is there."""
    lsn = engine._log.appended_lsn()
    assert lsn >= expected.promised, f"LSN {expected.promised} was promised, not {lsn}"
    assert lsn in expected.states, f"LSN {lsn} is inside a batch, or was never written"
    content = dict(engine.scan())
    difference = _difference(content, expected.states[lsn])
    assert not difference, f"at LSN {lsn}: {difference}"
    report = engine.check()
    assert report.ok, f"check(): {report.problems}"
    assert report.entry_count == len(content), f"check() counts {report.entry_count}"
    left = _files(disk, ROOT) - _named(name, engine)
    begun = {f"{path}.tmp" for path in _metafiles(name)} | {_next_segment(engine)}
    assert left <= begun, f"left behind: {sorted(left - begun)}"
    return lsn, content


def check_use(
    name: str, disk: SimDisk, engine: Any, content: Content, changes: dict[str, Any]
) -> None:
    """What is written after a crash survives the next one, and leaves nothing over."""
    content = dict(content)
    engine.put(b"after the crash", b"x" * 40)
    lsn = engine.apply([Put(b"after the crash", b"y"), Delete(b"key1")])
    content[b"after the crash"] = Entry(b"y")
    content.pop(b"key1", None)
    # Nothing of it hides behind a torn tail, and nothing that was lost comes back.
    for seed in (None, lsn):
        again = open_engine(SimDisk(after_power_cut(disk, seed)), name, **changes)
        found = again._log.appended_lsn()
        assert found == lsn, f"LSN {found} after the next crash, not {lsn}"
        difference = _difference(dict(again.scan()), content)
        assert not difference, f"after the next crash: {difference}"
    if lsn % 4 == 0:
        _check_size(name, disk, engine)
    engine.close()
    left = _files(disk, ROOT) - _named(name, engine)
    assert not left, f"left behind after a clean close: {sorted(left)}"
    again = open_engine(disk, name, **changes)
    difference = _difference(dict(again.scan()), content)
    assert not difference, f"after a clean close: {difference}"
    again.close()


def check_copies(name: str, disk: SimDisk, expected: Expected) -> None:
    """A backup is complete or absent, and there if it was acknowledged."""
    for copy, acknowledged in expected.copies.items():
        if not disk.is_directory(copy):
            assert acknowledged is None, f"{copy} was acknowledged"
            continue
        engine = open_engine(disk, name, root=copy)
        lsn = engine._log.appended_lsn()
        assert acknowledged in (None, lsn), f"{copy} ends at LSN {lsn}"
        assert lsn in expected.history, f"{copy} ends at LSN {lsn}"
        difference = _difference(dict(engine.scan()), expected.history[lsn])
        assert not difference, f"{copy}: {difference}"
        assert engine.check().ok, f"{copy}: {engine.check().problems}"
        engine.close()


def _check_size(name: str, disk: SimDisk, engine: Any) -> None:
    live_bytes = 0  # beside LMDB, whose size is not that of its stand-in
    if name == "memory":
        engine.compact()
        live_bytes = engine.stats().live_bytes
    else:
        engine.checkpoint()
    files = [path for path in _files(disk, ROOT) if not path.endswith(".mdb")]
    used_bytes = sum(len(disk.read(path)) for path in files)
    allowed = 2 * live_bytes + 2 * SEGMENT_BYTES + META_BYTES
    assert used_bytes <= allowed, f"{used_bytes} bytes on disk, {allowed} are allowed"


def _difference(found: Content, expected: Content) -> str:
    if found == expected:
        return ""
    keys = sorted(found.keys() | expected.keys())
    wrong = [key for key in keys if found.get(key) != expected.get(key)]
    return ", ".join(
        f"{key!r} is {_short(found.get(key))}, not {_short(expected.get(key))}"
        for key in wrong[:3]
    )


def _short(entry: Entry | None) -> str:
    if entry is None:
        return "absent"
    value, expires_at_ms = entry
    return f"{value[:12]!r} of {len(value)} bytes until {expires_at_ms}"


def _files(disk: SimDisk, root: str) -> set[str]:
    found, todo = set(), [root]
    while todo:
        above = todo.pop()
        node = disk._find(above)
        if isinstance(node, Directory):
            todo += [f"{above}/{name}" for name in node.seen]
        elif node is not None:
            found.add(above)
    return found


def _metafiles(name: str) -> set[str]:
    inner = "aof/MANIFEST" if name == "memory" else "CHECKPOINT"
    return {f"{ROOT}/STORE", f"{ROOT}/{inner}"}


def _named(name: str, engine: Any) -> set[str]:
    """Return the files that a store consists of."""
    log = engine._log
    paths = {log._paths.segment(number) for number in log.extent.numbers}
    if name == "hybrid":
        paths.add(f"{ROOT}/lmdb/data.mdb")
    elif log.manifest.base is not None:
        paths.add(engine._paths.bases.segment(log.manifest.base.number))
    return paths | _metafiles(name)


def _next_segment(engine: Any) -> str:
    log = engine._log
    path: str = log._paths.segment(log.extent.active_segment + 1)
    return path

"""What the targets for whole logs share: valid stores with their history, verdicts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fuzz import archive, seal
from fuzz.feed import Feed
from hypercache.engines.base import Delete, Entry, Put, Touch
from hypercache.engines.durable_memory import DurableMemoryEngine
from hypercache.engines.hybrid import HybridEngine
from hypercache.errors import ConfigError, CorruptionError, UnsupportedFormatError
from hypercache.inspection import layout, summary
from hypercache.inspection.layout import Kind
from hypercache.inspection.listing import Listing, Wanted
from hypercache.inspection.report import State
from hypercache.log_reader import Extent, LogReader
from hypercache.ops import Op
from hypercache.options import Options
from hypercache.paths import LogPaths, StorePaths
from hypercache.storage import Storage
from hypercache.testing import simulated_lmdb
from hypercache.testing.clock import FakeClock
from hypercache.testing.simulated_disk import Image, SimDisk

PATHS = StorePaths(archive.ROOT)
_UUID = bytes.fromhex("00112233445566778899aabbccddeeff")
REFUSALS = (CorruptionError, UnsupportedFormatError)
_NOW_MS = 1_700_000_000_000
_LMDB = "lmdb/data.mdb"
Engine = type[HybridEngine] | type[DurableMemoryEngine]
Content = dict[bytes, Entry]


def uuid_bytes(_: int) -> bytes:
    """Return the uuid of every store, in the place of os.urandom."""
    return _UUID


@dataclass
class Store:
    """The files of a store at some moments, and what was in it at each LSN."""

    moments: list[dict[str, bytes]] = field(default_factory=list)
    states: dict[int, Content] = field(default_factory=dict)


def opened(disk: SimDisk, engine: Engine) -> Any:
    """Open a store as it is after a crash; the caller has replaced LMDB."""
    options = Options.resolve(
        sync="always", log_io="write", segment_bytes=4096, maintenance="inline"
    )
    return engine(archive.ROOT, options, storage=disk, clock=FakeClock())


def made(engine: Engine, names: Sequence[str]) -> Store:
    """Let an engine write a store: crashes, maintenance, a close, and more writes."""
    store, disk = Store(states={0: {}}), SimDisk()
    with simulated_lmdb.installed(uuid_bytes):
        for life in range(4):
            disk.let_go()
            running = opened(disk, engine)
            for write in _writes(running, life):
                lsn = write()
                store.states[lsn] = dict(running.scan())
                store.moments.append(_files(disk, names))
            if life == 1:
                running.compact()
                store.moments.append(_files(disk, names))
                running.put(b"behind", b"maintenance")
                store.states[running.apply([])] = dict(running.scan())
                store.moments.append(_files(disk, names))
            if life == 2:
                running.close()
                store.moments.append(_files(disk, names))
    return store


def _writes(running: Any, life: int) -> list[Callable[[], int]]:
    key = b"key%d" % life
    batch = [Put(key, b"again"), Delete(b"key0"), Touch(key, 1 << 42)]
    return [
        lambda: running.put(key, b"value %d" % life),
        lambda: running.put(b"long", b"%d" % life * 90, 1 << 43),
        lambda: running.apply(batch),
        *([running.clear] if life == 2 else []),
        lambda: running.put(b"last", key),
    ]


def _files(disk: SimDisk, names: Sequence[str]) -> dict[str, bytes]:
    paths = {name: f"{archive.ROOT}/{name}" for name in (*names, _LMDB)}
    return {name: disk.read(path) for name, path in paths.items() if disk.info(path)}


def damaged(feed: Feed, store: Store) -> tuple[dict[str, bytes], bool]:
    """Return the files of a moment, damaged as the input says, and whether they are."""
    moment = feed.number() % len(store.moments)
    before = store.moments[moment]
    older = store.moments[max(0, moment - 1 - feed.number() % 4)]
    files = {name: content for name, content in before.items() if name != _LMDB}
    archive.edited(feed, files, older)
    if _LMDB in before:
        files[_LMDB] = before[_LMDB]
    return files, files != before


def resealed(
    files: dict[str, bytes], segments: Sequence[str], *, chained: bool
) -> dict[str, bytes]:
    """Return the files with right checksums, see `seal`."""
    found: dict[str, bytes] = {}
    before = base = None
    for name in sorted(files):
        if name in segments:
            before = seal.log_segment(files[name], before, chained=chained)
            found[name] = before.data
        elif name.endswith(".base"):
            base = seal.log_segment(files[name], None, chained=chained)
            found[name] = base.data
    for name in files.keys() - found.keys() - {_LMDB}:
        found[name] = seal.manifest(files[name], base if chained else None)
    return found


def replayed(
    storage: Storage, log: LogPaths, uuid: bytes, extent: Extent
) -> list[tuple[int, Op]]:
    """Return the ops of a log above its floor, in order, as an open would read them."""
    reader = LogReader(storage, log, uuid, extent)
    found = list(reader.replay())
    reader.refuse_unknown_segments()
    lsns = [lsn for lsn, _ in found]
    assert lsns == list(range(extent.floor_lsn + 1, reader.next_lsn))
    return found


def state_of(storage: Storage, kind: Kind) -> State:
    """Return the verdict of an inspection, having listed everything, too."""
    found = summary.inspect(storage, PATHS, kind, _NOW_MS)
    parts = found.bytes
    assert min(parts.total, parts.unused, parts.torn, parts.damaged) >= 0
    for _ in Listing(storage, layout.load(storage, PATHS, kind), Wanted()):
        pass
    return found.state


def check_content(disk: SimDisk, engine: Engine, store: Store, least_lsn: int) -> None:
    """Open a damaged store: everything up to some LSN is in it, or it is refused."""
    with simulated_lmdb.installed(uuid_bytes), contextlib.suppress(*REFUSALS):
        running = opened(disk, engine)
        lsn = running.apply([])
        assert lsn >= least_lsn
        assert dict(running.scan()) == store.states.get(lsn)


def check_use(disk: SimDisk, engine: Engine) -> None:
    """Use whatever opens to its clean close, and open that."""
    with simulated_lmdb.installed(uuid_bytes):
        try:
            running = opened(disk, engine)
        except (*REFUSALS, ConfigError):  # the store says it is another engine's
            return
        running.put(b"new", b"value")
        running.compact()
        content = dict(running.scan())
        assert running.check().ok
        running.close()
        assert dict(opened(disk, engine).scan()) == content


def segment_names(directory: str, suffix: str, count: int) -> tuple[str, ...]:
    """Return the names of the first segments of a log."""
    return tuple(f"{directory}/{n:016d}.{suffix}" for n in range(1, count + 1))


def seeds_of(stores: Sequence[Store], names: Sequence[str]) -> Iterator[bytes]:
    """Yield small stores as inputs."""
    seen = set()
    for store in stores:
        for files in store.moments:
            image: Image = {f"{archive.ROOT}/{n}": data for n, data in files.items()}
            packed = archive.pack(image, names)
            if len(packed) < 2500 and packed not in seen:
                seen.add(packed)
                yield packed

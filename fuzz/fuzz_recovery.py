"""Invariant: any directory is examined, and what is true is salvaged; memory bounded.

Both raise documented errors only and leave the input as it is. What is salvaged opens,
checks clean, and holds only entries that were written; where the engine itself opens
the damaged store, it holds the same ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from fuzz import archive, fuzz_aof, fuzz_wal, logs, real_lmdb, seal
from fuzz.feed import Feed, block
from hypercache import recovery
from hypercache.engines import open_engine
from hypercache.engines.base import Entry
from hypercache.engines.durable_memory import DurableMemoryEngine
from hypercache.errors import (
    ConfigError,
    StorageError,
    StoreLockedError,
    UnsupportedFormatError,
)
from hypercache.options import Options
from hypercache.recovery import lmdb_source
from hypercache.testing import simulated_lmdb
from hypercache.testing.simulated_disk import Image, SimDisk

_DOCUMENTED = (ConfigError, StoreLockedError, StorageError, UnsupportedFormatError)
_OUTPUT = "/out"
_load_lmdb = lmdb_source.load  # the files below are real ones of LMDB
_LMDB_STORES = [real_lmdb.made(engine) for engine in ("hybrid", "persistent")]
_LMDB = "lmdb/data.mdb"
_Content = dict[bytes, Entry]


def check(data: bytes) -> None:
    """Recover a damaged log, a damaged LMDB file, or whatever the input is."""
    feed = Feed(data)
    mode = feed.number() % 8
    with _simulated():
        if mode < 3:
            _check_log(feed)
        elif mode < 6:
            store = feed.pick(_LMDB_STORES)
            files = dict(store.files)
            archive.edited(feed, files, store.older)
            found = _recovered(archive.image_of(files, "lmdb"))
            assert found is None or found.items() <= store.entries
        else:
            target = feed.pick((fuzz_aof, fuzz_wal))
            files = archive.unpack(feed, target.NAMES)
            if mode == 7:
                files = logs.resealed(files, target.SEGMENTS, chained=True)
            _recovered(archive.image_of(files, target.FOLDER))


def _check_log(feed: Feed) -> None:
    files, _ = logs.damaged(feed, fuzz_aof.STORE)
    image = archive.image_of(files, fuzz_aof.FOLDER)
    found = _recovered(image)
    if found is None:
        return
    for state in fuzz_aof.STORE.states.values():
        assert all(found[key].value for key in found.keys() & state.keys())
    written = {
        item for state in fuzz_aof.STORE.states.values() for item in state.items()
    }
    assert found.items() <= written
    advice = recovery.examine(SimDisk(image), archive.ROOT).next
    try:
        running = logs.opened(SimDisk(image), DurableMemoryEngine)
    except logs.REFUSALS:
        assert not advice.startswith("open it")
    else:
        assert dict(running.scan()) == found


def _recovered(image: Image) -> _Content | None:
    """Examine and salvage; return what the new store holds, None without one."""
    disk = SimDisk(image)
    examined = None
    with contextlib.suppress(*_DOCUMENTED):
        examined = recovery.examine(disk, archive.ROOT)
    assert not disk.trace
    content = None
    with contextlib.suppress(*_DOCUMENTED):
        report = recovery.salvage(disk, archive.ROOT, _OUTPUT)
        assert examined is not None
        assert report.findings[: len(examined.findings)] == examined.findings
        content = _content(disk, report.engine)
        assert len(content) <= (report.entry_count or 0)
    for path, before in image.items():
        assert before is None or disk.read(path) == before
    assert content is not None or not disk.is_directory(_OUTPUT)
    return content


def _content(disk: SimDisk, engine: str) -> _Content:
    options = Options.resolve(engine=engine, read_only=True)
    opened = open_engine(_OUTPUT, engine=engine, options=options, storage=disk)
    with contextlib.closing(opened):
        assert opened.check().ok
        return dict(opened.scan())


@contextlib.contextmanager
def _simulated() -> Iterator[None]:
    with (
        simulated_lmdb.installed(logs.uuid_bytes),
        mock.patch.object(lmdb_source, "load", _load_lmdb),
    ):
        yield


def seeds() -> dict[str, bytes]:
    """Return damage to logs and LMDB files, and small stores."""
    found = {}
    for moment in range(0, len(fuzz_aof.STORE.moments), 3):
        found[f"log-{moment}"] = bytes([0, moment, 1])
        found[f"flip-{moment}"] = bytes([0, moment, 1, 0, moment, 90, 0, 7, 0, 0, 0])
    for moment in (4, 9, 10, 16):  # each begins a segment
        names = sorted(fuzz_aof.STORE.moments[moment])
        newest = max(names.index(n) for n in names if n in fuzz_aof.SEGMENTS)
        # An older manifest, and damage to the first frame that it does not know.
        older = bytes([7, names.index("aof/MANIFEST"), *bytes(6)])
        flip = bytes([0, newest, 70, *bytes(5)])
        found[f"older-{moment}"] = bytes([0, moment, 0]) + older + flip
    for number in range(9):
        edit = bytes([number % 9, 1]) + (1900 * number).to_bytes(2, "little")
        found[f"lmdb-{number}"] = bytes([3, number % 2]) + edit + bytes([9, 0, 80, 1])
    hostile = {
        "deep": b'{"base": ' + b"[" * 1500,
        "texts": b'{"engine": "memory", "format": 1, "uuid": "7", "state": []}',
        "numbers": b'{"base": null, "clean": 1, "first_segment": 1e400}',
    }
    for name, line in hostile.items():
        pieces = b"".join(bytes([i]) + block(seal.metafile(line)) for i in range(2))
        found[f"metafiles-{name}"] = b"\x06\x00" + pieces
        found[f"markers-{name}"] = b"\x06\x01" + pieces
    for index, target in enumerate((fuzz_aof, fuzz_wal)):
        for number, packed in enumerate(logs.seeds_of([target.STORE], target.NAMES)):
            if number % 5 == 0:
                found[f"{target.FOLDER}-{number}"] = (
                    bytes([6 + number % 2, index]) + packed
                )
    return found

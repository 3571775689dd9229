"""Invariant: a WAL is a prefix of what was written, or an error; memory bounded.

CorruptionError and UnsupportedFormatError. Inputs are a store with its checksums as
they are or made right, or damage to a valid one: then nothing appears that was never
written. Replay and inspection agree; what opens can be used and closed.
"""

from __future__ import annotations

from fuzz import archive, logs
from fuzz.feed import Feed
from hypercache.engines import identity
from hypercache.engines.hybrid import HybridEngine
from hypercache.inspection.layout import Kind
from hypercache.inspection.report import State
from hypercache.testing.simulated_disk import SimDisk
from hypercache.wal import checkpoint

SEGMENTS = logs.segment_names("wal", "wal", 6)
NAMES = ("STORE", "CHECKPOINT", *SEGMENTS)
FOLDER = "wal"
STORE = logs.made(HybridEngine, NAMES)
_EMPTY_LMDB = STORE.moments[0]["lmdb/data.mdb"]


def check(data: bytes) -> None:
    """Read the log of the input, or the damaged one, in every way."""
    feed = Feed(data)
    mode = feed.number() % 8
    if mode < 4:
        files, _ = logs.damaged(feed, STORE)
        disk = SimDisk(archive.image_of(files, "wal"))
        least_lsn = _check_log(disk)
        logs.check_content(disk, HybridEngine, STORE, least_lsn)
        return
    files = archive.unpack(feed, NAMES)
    if mode > 4:
        files = logs.resealed(files, SEGMENTS, chained=mode > 5)
    disk = SimDisk(archive.image_of({**files, "lmdb/data.mdb": _EMPTY_LMDB}, "wal"))
    _check_log(disk)
    logs.check_use(disk, HybridEngine)


def _check_log(disk: SimDisk) -> int:
    """Let replay and inspection judge; return the LSN below which nothing may end."""
    verdict = logs.state_of(disk, Kind.WAL)
    try:
        found = identity.load_identity(disk, logs.PATHS)
        marker = checkpoint.load(disk, logs.PATHS)
    except logs.REFUSALS:
        return 0
    if found is None:
        return 0
    place = logs.PATHS.wal_log, found.uuid_bytes, marker.extent
    try:
        logs.replayed(disk, *place)
    except logs.REFUSALS:
        assert verdict is State.DAMAGED
    else:
        assert verdict is not State.DAMAGED
    return marker.next_lsn - 1


def seeds() -> dict[str, bytes]:
    """Return small stores, whole and to be made right, and damage."""
    found = {}
    for number, packed in enumerate(logs.seeds_of([STORE], NAMES)):
        found[f"store-{number}"] = bytes([5 + number % 3]) + packed
    for moment in range(len(STORE.moments)):
        found[f"damage-{moment}"] = bytes([0, moment, 1])
        found[f"flip-{moment}"] = bytes([0, moment, 1, 0, moment, 90, 0, 7, 0, 0, 0])
        found[f"older-{moment}"] = bytes([0, moment, 0, 7, moment, *bytes(6)])
    return found

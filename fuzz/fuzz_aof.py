"""Invariant: an AOF is a prefix of what was written, or an error; memory bounded.

CorruptionError and UnsupportedFormatError. Inputs are manifest, base and increments
with their checksums as they are or made right, or damage to a valid store: then nothing
appears that was never written. Replay and inspection agree; what opens can be used.
"""

from __future__ import annotations

from fuzz import archive, logs
from fuzz.feed import Feed
from hypercache.aof import manifest
from hypercache.aof.writer import base_blocks
from hypercache.engines import identity
from hypercache.engines.durable_memory import DurableMemoryEngine
from hypercache.inspection.layout import Kind
from hypercache.inspection.report import State
from hypercache.testing.simulated_disk import SimDisk

SEGMENTS = logs.segment_names("aof", "aof", 6)
_BASES = ("aof/base-0000000000000001.base", "aof/base-0000000000000002.base")
NAMES = ("STORE", "aof/MANIFEST", *_BASES, *SEGMENTS)
FOLDER = "aof"
STORE = logs.made(DurableMemoryEngine, NAMES)


def check(data: bytes) -> None:
    """Read the log of the input, or the damaged one, in every way."""
    feed = Feed(data)
    mode = feed.number() % 8
    if mode < 4:
        files, _ = logs.damaged(feed, STORE)
        disk = SimDisk(archive.image_of(files, "aof"))
        least_lsn = _check_log(disk)
        logs.check_content(disk, DurableMemoryEngine, STORE, least_lsn)
        return
    files = archive.unpack(feed, NAMES)
    if mode > 4:
        files = logs.resealed(files, SEGMENTS, chained=mode > 5)
    disk = SimDisk(archive.image_of(files, "aof"))
    _check_log(disk)
    logs.check_use(disk, DurableMemoryEngine)


def _check_log(disk: SimDisk) -> int:
    """Let replay and inspection judge; return the LSN below which nothing may end."""
    verdict = logs.state_of(disk, Kind.AOF)
    try:
        found = identity.load_identity(disk, logs.PATHS)
        named = manifest.load(disk, logs.PATHS)
    except logs.REFUSALS:
        return 0
    if found is None:
        return 0
    place = logs.PATHS.increments, found.uuid_bytes, named.extent
    try:
        for _ in base_blocks(disk, logs.PATHS, found.uuid_bytes, named):
            pass
        logs.replayed(disk, *place)
    except logs.REFUSALS:
        assert verdict is State.DAMAGED
    else:
        assert verdict is not State.DAMAGED
    return named.next_lsn - 1


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

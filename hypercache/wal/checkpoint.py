"""The checkpoint marker: which segments must exist, and what LMDB has reached.

The marker is the commit point of the log's own housekeeping; its fields are
specified in docs/wal_format.md.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from hypercache import metafile
from hypercache.errors import CorruptionError
from hypercache.paths import StorePaths, maybe_segment_number
from hypercache.storage import Storage


@dataclass(frozen=True, slots=True)
class Marker:
    """What CHECKPOINT says; a new store has one segment and nothing folded."""

    checkpoint_lsn: int = 0
    first_segment: int = 1
    active_segment: int = 0
    next_lsn: int = 1
    clean: bool = False
    lmdb_txn: int = 0
    lmdb_size_bytes: int = 0
    lmdb_mtime_ns: int = 0


def store(storage: Storage, paths: StorePaths, marker: Marker) -> None:
    """Replace the marker; on return it is on the medium."""
    metafile.write(storage, paths.checkpoint, dataclasses.asdict(marker))


def load(storage: Storage, paths: StorePaths) -> Marker:
    """Read the marker.

    Raises:
        CorruptionError: it is missing, damaged, or contradicts itself.
    """
    fields = metafile.maybe_read(storage, paths.checkpoint)
    if fields is None:
        raise CorruptionError(paths.checkpoint, "the checkpoint marker is missing")
    names = [field.name for field in dataclasses.fields(Marker)]
    if sorted(fields) != sorted(names):
        raise CorruptionError(paths.checkpoint, f"it has the fields {sorted(fields)}")
    marker = Marker(**fields)
    if marker.first_segment > marker.active_segment + 1:
        raise CorruptionError(paths.checkpoint, "its segment numbers contradict")
    return marker


def segment_numbers(storage: Storage, paths: StorePaths) -> list[int]:
    """Return the numbers of the segments on disk, in order."""
    if not storage.is_directory(paths.wal):
        raise CorruptionError(paths.wal, "the directory of segments is missing")
    numbers = map(maybe_segment_number, storage.list(paths.wal))
    return sorted(number for number in numbers if number is not None)


def prune(storage: Storage, paths: StorePaths, marker: Marker) -> int:
    """Remove the segments below the marker; return how many there were.

    The marker must be on the medium already: only then does nothing refer to them.
    """
    below = [n for n in segment_numbers(storage, paths) if n < marker.first_segment]
    for number in below:
        storage.unlink(paths.segment(number))
    if below:
        storage.sync_directory(paths.wal)
    return len(below)

"""The checkpoint marker: which segments must exist, and what LMDB has reached.

The marker is the commit point of the log's own housekeeping; its fields are
specified in docs/wal_format.md.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from hypercache import metafile
from hypercache.errors import CorruptionError
from hypercache.log_reader import Extent
from hypercache.paths import StorePaths
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
    lmdb_crc: int = -1

    @property
    def extent(self) -> Extent:
        """Return which segments must exist, and from which op on they count."""
        return Extent(
            floor_lsn=self.checkpoint_lsn,
            first_segment=self.first_segment,
            active_segment=self.active_segment,
            next_lsn=self.next_lsn,
            clean=self.clean,
        )


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
    # In a new store all but this time, which may be any, are as low as they can be.
    least = dataclasses.asdict(Marker(lmdb_mtime_ns=-(1 << 63)))
    metafile.check_values(paths.checkpoint, fields, least)
    marker = Marker(**fields)
    if marker.first_segment > marker.active_segment + 1:
        raise CorruptionError(paths.checkpoint, "its segment numbers contradict")
    return marker

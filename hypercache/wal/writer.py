"""The write-ahead log: a log of segments that the checkpoint marker names.

All methods are called under the lock of the engine.
"""

from __future__ import annotations

import dataclasses
from functools import partial

from hypercache import log_reader
from hypercache.log_reader import Extent
from hypercache.log_writer import LogWriter
from hypercache.options import Options
from hypercache.paths import StorePaths
from hypercache.storage import Storage
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker


class WalWriter(LogWriter):
    """Own the end of the write-ahead log, and the marker."""

    def __init__(
        self,
        storage: Storage,
        paths: StorePaths,
        options: Options,
        uuid: bytes,
        marker: Marker,
    ) -> None:
        super().__init__(storage, paths.wal_log, options, uuid)
        self._store_paths = paths
        self.marker = marker

    @property
    def extent(self) -> Extent:
        """Return what the marker says of the segments."""
        return self.marker.extent

    def name_active(self, number: int) -> None:
        """Let the marker name a new active segment."""
        self._set_marker(
            dataclasses.replace(
                self.marker,
                active_segment=number,
                next_lsn=self._next_lsn,
                clean=False,
            )
        )

    def folded(self, reached_lsn: int, lmdb_txn: int) -> None:
        """Put a finished checkpoint into the marker, so that pruning may follow."""
        first = self.first_above(reached_lsn)
        empty = first > self.marker.active_segment
        self._set_marker(
            dataclasses.replace(
                self.marker,
                checkpoint_lsn=reached_lsn,
                first_segment=first,
                next_lsn=self._next_lsn if empty else self.marker.next_lsn,
                lmdb_txn=lmdb_txn,
            )
        )
        self.forget_below(first)

    def sealed_above(self, lsn: int) -> Extent:
        """Return what is sealed already of the log above an LSN."""
        extent = self.marker.extent
        return dataclasses.replace(
            extent,
            floor_lsn=lsn,
            first_segment=self.first_above(lsn),
            active_segment=extent.active_segment - (self._segment is not None),
        )

    def prune(self) -> None:
        """Remove the segments that the marker has left behind."""
        log_reader.prune(self._storage, self._paths, self.marker.first_segment)

    def trim(self, lsn: int) -> None:
        """Forget the ops up to `lsn`, which the store below has durably."""
        self.folded(lsn, self.marker.lmdb_txn)
        self.prune()

    def closed(self, marker: Marker) -> None:
        """Put a clean close into the marker; the log must be sealed."""
        self._set_marker(dataclasses.replace(marker, next_lsn=self._next_lsn))

    def _set_marker(self, marker: Marker) -> None:
        self.latching(
            partial(checkpoint.store, self._storage, self._store_paths, marker)
        )
        self.marker = marker

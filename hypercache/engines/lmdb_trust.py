"""Decide whether LMDB's file is trusted as it is, or read back before it is used.

LMDB checks nothing of what it stores. A bit that flips in a key while the store is
closed hides that key, and the time of the file stays what it was. So a clean close
notes a checksum of the whole file beside its size and time.
"""

from __future__ import annotations

import dataclasses

from hypercache.checksum import crc32c
from hypercache.engines import lmdb_walk
from hypercache.engines.lmdb_store import LmdbStore
from hypercache.errors import CorruptionError
from hypercache.options import MIB, Options, Verify
from hypercache.paths import LMDB_DATA, StorePaths
from hypercache.storage import Storage
from hypercache.wal.checkpoint import Marker

# A tenth of a second, at open and at close; a larger file is known by size and time.
LONGEST_BYTES = 256 * MIB
_PIECE_BYTES = MIB
UNKNOWN = -1


def as_left(storage: Storage, paths: StorePaths, marker: Marker) -> Marker:
    """Return the marker of a clean close that leaves LMDB's file as it is now."""
    info = storage.info(paths.lmdb_data)
    if info is None:
        raise CorruptionError(paths.lmdb_data, "the file is missing")
    return dataclasses.replace(
        marker,
        clean=True,
        lmdb_size_bytes=info.size_bytes,
        lmdb_mtime_ns=info.mtime_ns,
        lmdb_crc=_crc(storage, paths),
    )


def verify_lmdb(
    storage: Storage, paths: StorePaths, options: Options, marker: Marker
) -> None:
    """Read LMDB back before it is trusted, unless it is as the last close left it.

    Raises:
        CorruptionError: it is missing or damaged.
    """
    data = storage.info(paths.lmdb_data)
    if data is None:
        raise CorruptionError(paths.lmdb_data, "the file is missing")
    as_closed = (marker.lmdb_size_bytes, marker.lmdb_mtime_ns)
    rotten = (
        marker.clean
        and marker.lmdb_crc != UNKNOWN
        and marker.lmdb_crc != _crc(storage, paths)
    )
    known = marker.clean and tuple(data) == as_closed and not rotten
    if options.verify is Verify.FULL or not known:
        for problem in lmdb_walk.verify(paths.lmdb):
            raise CorruptionError(
                paths.lmdb_data, problem.reason, lsn=problem.lsn, key=problem.key
            )
    if rotten:
        # Where no read finds it: in the list of free pages, say, for the next write.
        reason = "the file is not what the last close left"
        raise CorruptionError(paths.lmdb_data, reason)


def refuse_other(
    paths: StorePaths, store: LmdbStore, marker: Marker, uuid: bytes
) -> None:
    """Make sure that LMDB is that of this store, and has reached what was noted of it.

    Raises:
        CorruptionError: it is of another store, or shows an older snapshot.
    """
    state, txn = store.state(), store.transaction_id()
    reached = state.checkpoint_lsn
    if state.uuid != uuid:
        reason = f"{LMDB_DATA} belongs to another store; put the right one back"
        raise CorruptionError(paths.lmdb_data, reason, lsn=reached)
    if reached < marker.checkpoint_lsn or txn < marker.lmdb_txn:
        reason = f"{LMDB_DATA} is older than the checkpoint at {marker.checkpoint_lsn}"
        raise CorruptionError(paths.lmdb_data, reason, lsn=reached)


def _crc(storage: Storage, paths: StorePaths) -> int:
    """Return the checksum of LMDB's file, UNKNOWN where it would take too long."""
    with storage.open_read(paths.lmdb_data) as file:
        if file.size_bytes > LONGEST_BYTES:
            return UNKNOWN
        crc = 0
        for offset in range(0, file.size_bytes, _PIECE_BYTES):
            crc = crc32c(file.read_at(offset, _PIECE_BYTES), crc)
        return crc

"""Bring a hybrid store back to one consistent state.

Everything here happens before the first read or write of a caller, and may be
interrupted and repeated at any point: see "Crash cases" in docs/wal_format.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from dataclasses import dataclass
from functools import partial

from hypercache.engines import identity, lmdb_trust
from hypercache.engines.base import changed_entry
from hypercache.engines.lmdb_store import LmdbStore
from hypercache.engines.memtable import Memtable
from hypercache.engines.slots import Absent, Slot, entry_of, slot_of
from hypercache.locking import DirectoryLock
from hypercache.log_reader import TornTail
from hypercache.ops import Clear, KeyOp, Op
from hypercache.options import Options
from hypercache.paths import StorePaths
from hypercache.storage import Storage
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker
from hypercache.wal.writer import WalWriter

_log = logging.getLogger(__name__)
ENGINE = "hybrid"


@dataclass(slots=True)
class OpenedStore:
    """A store on disk, locked, verified and replayed, ready for its engine."""

    lock: DirectoryLock
    uuid: bytes
    store: LmdbStore
    memtable: Memtable
    log: WalWriter
    recovery: tuple[str, ...]


def open_store(storage: Storage, paths: StorePaths, options: Options) -> OpenedStore:
    """Lock, create or recover the hybrid store in `paths`.

    Raises:
        CorruptionError: data that should be there is damaged; nothing was changed.
    """
    lock = identity.claim_directory(storage, paths, options)
    try:
        create = partial(_create, storage, paths, options)
        found = identity.load_or_create(storage, paths, options, ENGINE, create)
        return _recover(storage, paths, options, found.uuid_bytes, lock)
    except BaseException:
        lock.release()
        raise


def _create(storage: Storage, paths: StorePaths, options: Options, uuid: bytes) -> None:
    for directory in (paths.wal, paths.lmdb):
        identity.make_empty(storage, directory)
    store = LmdbStore(storage, paths.lmdb, options.map_bytes, create=True)
    with contextlib.closing(store):
        store.belong_to(uuid)
    storage.sync_directory(paths.lmdb)
    checkpoint.store(storage, paths, lmdb_trust.as_left(storage, paths, Marker()))


def _recover(
    storage: Storage,
    paths: StorePaths,
    options: Options,
    uuid: bytes,
    lock: DirectoryLock,
) -> OpenedStore:
    marker = checkpoint.load(storage, paths)
    store = _open_lmdb(storage, paths, options, marker, uuid)
    try:
        # LMDB may be ahead of the marker. Whoever folds next must start from there: a
        # clear that it has passed would empty it again under entries of no memtable.
        reached = store.state().checkpoint_lsn
        behind = reached > marker.checkpoint_lsn
        marker = dataclasses.replace(marker, checkpoint_lsn=reached)
        log = WalWriter(storage, paths, options, uuid, marker)
        memtable = Memtable()
        for lsn, op in log.replay():
            replay_op(memtable, store, lsn, op)
        log.settle()
        log.prune()
        if behind:
            checkpoint.store(storage, paths, marker)
        notes = notes_on(log.torn_tail)
        return OpenedStore(lock, uuid, store, memtable, log, notes)
    except BaseException:
        store.close()
        raise


def notes_on(tail: TornTail | None, *, cut: bool = True) -> tuple[str, ...]:
    """Return what is said of a torn tail, and log it if it was cut."""
    if tail is None:
        return ()
    what = "cut a torn tail" if cut else "a torn tail, left as it is"
    note = (
        f"{what}: {tail.path} at offset {tail.offset}, before LSN "
        f"{tail.lsn} ({tail.reason})"
    )
    if cut:
        _log.warning("%s", note)
    return (note,)


def _open_lmdb(
    storage: Storage,
    paths: StorePaths,
    options: Options,
    marker: Marker,
    uuid: bytes,
) -> LmdbStore:
    lmdb_trust.verify_lmdb(storage, paths, options, marker)
    store = LmdbStore(storage, paths.lmdb, options.map_bytes, create=False)
    try:
        lmdb_trust.refuse_other(paths, store, marker, uuid)
    except BaseException:
        store.close()
        raise
    return store


def replay_op(memtable: Memtable, store: LmdbStore, lsn: int, op: Op) -> None:
    """Apply one op of the log to the tables of a store that is being opened."""
    if isinstance(op, Clear):
        memtable.change(lsn, None)
        return
    entry = changed_entry(entry_of(_slot(memtable, store, op)), op)
    memtable.active[op.key] = slot_of(*entry) if entry else None


def _slot(memtable: Memtable, store: LmdbStore, op: KeyOp) -> Slot:
    slot = memtable.find(op.key)
    if not isinstance(slot, Absent):
        return slot
    found = None if memtable.cleared_lsn else store.get(op.key)
    return slot_of(found.value, found.expires_at_ms) if found else None

"""Open, examine and close an LMDB store that several processes share.

Whoever finds nobody else there creates the store, or verifies it after an unclean end,
and then lets the others in; whoever leaves as the last one notes that the end was
clean. Everything may be interrupted and repeated at any point.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from hypercache import metafile
from hypercache.engines import identity, lmdb_trust, lmdb_walk
from hypercache.engines.base import Problem
from hypercache.engines.lmdb_store import LmdbStore
from hypercache.errors import CorruptionError, DiskFullError, StorageError
from hypercache.locking import DirectoryLock, WriterLock
from hypercache.options import MIB, Options, SyncPolicy, Verify
from hypercache.paths import StorePaths
from hypercache.storage import Storage
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker

_log = logging.getLogger(__name__)
ENGINE = "persistent"
_ATTEMPTS = 100


@dataclass(slots=True)
class SharedStore:
    """A store on disk, locked together with other processes, ready for its engine."""

    lock: DirectoryLock
    writer: WriterLock
    uuid: str
    store: LmdbStore


def open_store(storage: Storage, paths: StorePaths, options: Options) -> SharedStore:
    """Create, verify or join the store in `paths`.

    Raises:
        ConfigError, UnsupportedFormatError: as `identity` says; nothing was changed.
        StoreLockedError: it is open in this process, or another one keeps it to itself.
        CorruptionError: data that should be there is damaged; nothing was changed.
    """
    identity.refuse_unfit(storage, paths, options)
    # Before the wait for its owner: a store of another engine is never shared.
    if storage.is_directory(paths.root):
        identity.load_ready(storage, paths, options, ENGINE)
    for _ in range(_ATTEMPTS):
        opened = _maybe_open(storage, paths, options)
        if opened is not None:
            return opened
    raise StorageError(f"{paths.root} is opened and closed by others all the time")


def close_store(
    storage: Storage, paths: StorePaths, opened: SharedStore, *, cleanly: bool
) -> None:
    """Let go of all files; the last one notes that everything is in order.

    Raises:
        StorageError: the note could not be written. Everything is released all the
            same, and the next open verifies the store.
    """
    try:
        opened.store.close()
        if cleanly and opened.lock.try_alone():
            _note_clean(storage, paths)
    finally:
        opened.writer.close()
        opened.lock.release()


def metafile_problems(
    storage: Storage, paths: StorePaths, opened: SharedStore
) -> Iterator[Problem]:
    """Yield what is wrong beside the pages of an open store."""
    try:
        found = metafile.maybe_read(storage, paths.store)
        if found is None or found.get("uuid") != opened.uuid:
            yield Problem(paths.store, "it is missing or that of another store")
        # The marker first: the store only ever moves forward.
        _refuse_other(paths, opened, checkpoint.load(storage, paths))
    except CorruptionError as error:
        yield Problem(error.path, error.reason, error.offset, error.lsn, error.key)


def _maybe_open(
    storage: Storage, paths: StorePaths, options: Options
) -> SharedStore | None:
    """Return the open store, None if it has to be tried again."""
    lock = identity.claim_directory(storage, paths, options, shared=True)
    try:
        opened = None
        if lock.alone:
            opened = _open_alone(storage, paths, options, lock)
        else:
            opened = _join(storage, paths, options, lock)
    finally:
        if opened is None:
            lock.release()
    return opened


def _open_alone(
    storage: Storage, paths: StorePaths, options: Options, lock: DirectoryLock
) -> SharedStore | None:
    create = partial(_create, storage, paths, options)
    found = identity.load_or_create(storage, paths, options, ENGINE, create)
    marker = checkpoint.load(storage, paths)
    lmdb_trust.verify_lmdb(storage, paths, options, marker)
    opened = _open_files(storage, paths, options, lock, found.uuid)
    try:
        _refuse_other(paths, opened, marker)
        checkpoint.store(storage, paths, _marker(opened.store))
        shared = lock.share()
    except BaseException:
        _close_files(opened)
        raise
    if not shared:
        _close_files(opened)
        return None
    return opened


def _join(
    storage: Storage, paths: StorePaths, options: Options, lock: DirectoryLock
) -> SharedStore | None:
    found = identity.load_ready(storage, paths, options, ENGINE)
    if found is None:
        return None
    if options.verify is Verify.FULL:
        _raise_first(lmdb_walk.maybe_verify(paths.lmdb, shared=True) or [])
    marker = checkpoint.load(storage, paths)
    opened = _open_files(storage, paths, options, lock, found.uuid)
    try:
        _refuse_other(paths, opened, marker)
    except BaseException:
        _close_files(opened)
        raise
    return opened


def _open_files(
    storage: Storage,
    paths: StorePaths,
    options: Options,
    lock: DirectoryLock,
    uuid: str,
) -> SharedStore:
    writer = storage.writer_lock(paths.writer, paths.turn)
    try:
        store = LmdbStore(
            storage,
            paths.lmdb,
            options.map_bytes,
            create=False,
            sync_commits=options.sync is SyncPolicy.ALWAYS,
        )
    except BaseException:
        writer.close()
        raise
    opened = SharedStore(lock, writer, uuid, store)
    try:
        store.clear_dead_readers()
    except BaseException:
        _close_files(opened)
        raise
    return opened


def _close_files(opened: SharedStore) -> None:
    opened.store.close()
    opened.writer.close()


def _create(storage: Storage, paths: StorePaths, options: Options, uuid: bytes) -> None:
    identity.make_empty(storage, paths.lmdb)
    store = LmdbStore(storage, paths.lmdb, options.map_bytes, create=True)
    with contextlib.closing(store):
        store.belong_to(uuid)
    storage.sync_directory(paths.lmdb)
    storage.writer_lock(paths.writer, paths.turn).close()
    _note_clean(storage, paths)


def _raise_first(problems: list[Problem]) -> None:
    for found in problems:
        raise CorruptionError(found.path, found.reason, lsn=found.lsn, key=found.key)


def _refuse_other(paths: StorePaths, opened: SharedStore, marker: Marker) -> None:
    lmdb_trust.refuse_other(paths, opened.store, marker, bytes.fromhex(opened.uuid))


def _marker(store: LmdbStore) -> Marker:
    return Marker(
        checkpoint_lsn=store.state().checkpoint_lsn, lmdb_txn=store.transaction_id()
    )


def _note_clean(storage: Storage, paths: StorePaths) -> None:
    """Write down how the store is left; only while nobody else has it open."""
    store = LmdbStore(storage, paths.lmdb, MIB, create=False, read_only=True)
    try:
        reached = _marker(store)
    finally:
        store.close()
    try:
        checkpoint.store(storage, paths, lmdb_trust.as_left(storage, paths, reached))
    except DiskFullError as error:
        _log.warning("closed without saying so, nothing is lost: %s", error)

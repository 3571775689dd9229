"""Prepare a store directory and bring a hybrid store back to one consistent state.

Everything here happens before the first read or write of a caller, and may be
interrupted and repeated at any point: see "Crash cases" in docs/wal_format.md.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from dataclasses import dataclass

from hypercache import metafile, segment
from hypercache.engines import lmdb_walk
from hypercache.engines.base import changed_entry
from hypercache.engines.lmdb_store import LmdbStore
from hypercache.engines.memtable import Memtable
from hypercache.engines.slots import Absent, Slot, entry_of, slot_of
from hypercache.errors import (
    ConfigError,
    CorruptionError,
    UnsupportedFormatError,
)
from hypercache.locking import DirectoryLock
from hypercache.ops import Clear, KeyOp, Op
from hypercache.options import Options, Verify
from hypercache.paths import LMDB_DATA, OWN_NAMES, STORE, StorePaths
from hypercache.segment import SegmentReader
from hypercache.storage import NETWORK_MOUNTS, Storage
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker
from hypercache.wal.reader import WalReader, facts_of_last
from hypercache.wal.writer import WalWriter

_log = logging.getLogger(__name__)
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """What STORE says; the serializer is a label of the cache above, or None."""

    engine: str
    uuid: str
    state: str
    serializer: str | None = None
    format: int = FORMAT


@dataclass(slots=True)
class OpenedStore:
    """A store on disk, locked, verified and replayed, ready for its engine."""

    lock: DirectoryLock
    uuid: bytes
    store: LmdbStore
    memtable: Memtable
    log: WalWriter
    recovery: tuple[str, ...]


def claim_directory(
    storage: Storage, paths: StorePaths, options: Options
) -> DirectoryLock:
    """Make sure the path can hold a store, create it if absent, and lock it.

    Raises:
        ConfigError: the path is a file, holds something else, or lies on a network
            file system; nothing was changed.
        StoreLockedError: it is open, here or in another process.
        StorageError: it cannot be created or written.
    """
    root = paths.root
    if storage.info(root) is not None and not storage.is_directory(root):
        raise ConfigError(f"{root} is a file; pass the path of a directory")
    if not options.allow_network_fs and storage.mount_type(root) in NETWORK_MOUNTS:
        kind = storage.mount_type(root)
        raise ConfigError(
            f"{root} is on a network file system ({kind}), whose locks and syncs do "
            "not hold; use a local disk, or pass allow_network_fs=True at your own risk"
        )
    if storage.is_directory(root):
        _refuse_foreign(storage, paths)
    storage.make_directory(root)
    return storage.lock(root, paths.lock)


def load_identity(storage: Storage, paths: StorePaths) -> Identity | None:
    """Read STORE; None where there is no store yet.

    Raises:
        UnsupportedFormatError: a later version wrote it.
        CorruptionError: it is damaged.
    """
    fields = metafile.maybe_read(storage, paths.store)
    if fields is None:
        return None
    if fields.get("format") != FORMAT:
        raise UnsupportedFormatError(paths.store, fields.get("format"), str(FORMAT))
    try:
        return Identity(**fields)
    except TypeError as error:
        raise CorruptionError(paths.store, f"unexpected fields: {error}") from error


def open_store(storage: Storage, paths: StorePaths, options: Options) -> OpenedStore:
    """Lock, create or recover the hybrid store in `paths`.

    Raises:
        CorruptionError: data that should be there is damaged; nothing was changed.
    """
    lock = claim_directory(storage, paths, options)
    try:
        identity = _identity(storage, paths, options)
        return _recover(storage, paths, options, identity, lock)
    except BaseException:
        lock.release()
        raise


def _refuse_foreign(storage: Storage, paths: StorePaths) -> None:
    names = storage.list(paths.root)
    foreign = [name for name in names if name not in OWN_NAMES]
    if STORE not in names and foreign:
        shown = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise ConfigError(
            f"{paths.root} holds something that is not a HyperCache store ({shown}); "
            "pass an empty or a new directory"
        )
    orphaned = [name for name in names if name in ("wal", "lmdb", "CHECKPOINT")]
    if STORE not in names and orphaned:
        reason = f"the file is missing, but {', '.join(orphaned)} is there"
        raise CorruptionError(paths.store, reason)


def _identity(storage: Storage, paths: StorePaths, options: Options) -> Identity:
    found = load_identity(storage, paths)
    if found is None or found.state == "creating":
        return _create(storage, paths, options)
    if found.state != "ready":
        raise CorruptionError(paths.store, f"its state is {found.state!r}")
    if found.engine != "hybrid":
        raise ConfigError(
            f"{paths.root} is a store of the engine {found.engine!r}; open it with "
            f"engine={found.engine!r}"
        )
    asked, made = options.serializer, found.serializer
    if asked is not None and made is not None and asked != made:
        raise ConfigError(
            f"{paths.root} was created with serializer={made!r}, not {asked!r}; "
            f"open it with serializer={made!r}"
        )
    return found


def _create(storage: Storage, paths: StorePaths, options: Options) -> Identity:
    # "creating" first: whatever a crash leaves, the next open starts over.
    uuid = os.urandom(16).hex()
    identity = Identity("hybrid", uuid, "creating", options.serializer)
    metafile.write(storage, paths.store, dataclasses.asdict(identity))
    for directory in (paths.wal, paths.lmdb):
        storage.make_directory(directory)
        for name in storage.list(directory):
            storage.unlink(f"{directory}/{name}")
    LmdbStore(storage, paths.lmdb, options.map_bytes, create=True).close()
    storage.sync_directory(paths.lmdb)
    info = storage.info(paths.lmdb_data)
    assert info is not None
    marker = Marker(
        clean=True, lmdb_size_bytes=info.size_bytes, lmdb_mtime_ns=info.mtime_ns
    )
    checkpoint.store(storage, paths, marker)
    ready = dataclasses.replace(identity, state="ready")
    metafile.write(storage, paths.store, dataclasses.asdict(ready))
    return ready


def _recover(
    storage: Storage,
    paths: StorePaths,
    options: Options,
    identity: Identity,
    lock: DirectoryLock,
) -> OpenedStore:
    marker, uuid = checkpoint.load(storage, paths), bytes.fromhex(identity.uuid)
    store = _open_lmdb(storage, paths, options, marker)
    try:
        # LMDB may be ahead of the marker. Whoever folds next must start from there: a
        # clear that it has passed would empty it again under entries of no memtable.
        reached = store.state().checkpoint_lsn
        behind = reached > marker.checkpoint_lsn
        marker = dataclasses.replace(marker, checkpoint_lsn=reached)
        reader = WalReader(storage, paths, uuid, marker)
        memtable = Memtable()
        for lsn, op in reader.replay():
            _replay(memtable, store, lsn, op)
        reader.refuse_unknown_segments()
        notes = _settle(storage, paths, reader, marker)
        if behind:
            checkpoint.store(storage, paths, marker)
        log = WalWriter(
            storage,
            paths,
            options,
            uuid,
            marker,
            next_lsn=reader.next_lsn,
            previous=facts_of_last(reader.last),
        )
        log.sealed_bytes = reader.total_bytes
        return OpenedStore(lock, uuid, store, memtable, log, notes)
    except BaseException:
        store.close()
        raise


def _open_lmdb(
    storage: Storage, paths: StorePaths, options: Options, marker: Marker
) -> LmdbStore:
    data = storage.info(paths.lmdb_data)
    if data is None:
        raise CorruptionError(paths.lmdb_data, "the file is missing")
    as_closed = (marker.lmdb_size_bytes, marker.lmdb_mtime_ns)
    if options.verify is Verify.FULL or not marker.clean or tuple(data) != as_closed:
        for problem in lmdb_walk.verify(paths.lmdb):
            raise CorruptionError(
                paths.lmdb_data, problem.reason, lsn=problem.lsn, key=problem.key
            )
    store = LmdbStore(storage, paths.lmdb, options.map_bytes, create=False)
    try:
        reached, txn = store.state().checkpoint_lsn, store.transaction_id()
        if reached < marker.checkpoint_lsn or txn < marker.lmdb_txn:
            reason = (
                f"{LMDB_DATA} is older than the checkpoint at {marker.checkpoint_lsn}"
            )
            raise CorruptionError(paths.lmdb_data, reason, lsn=reached)
    except BaseException:
        store.close()
        raise
    return store


def _replay(memtable: Memtable, store: LmdbStore, lsn: int, op: Op) -> None:
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


def _settle(
    storage: Storage, paths: StorePaths, reader: WalReader, marker: Marker
) -> tuple[str, ...]:
    notes = []
    if reader.torn_tail is not None:
        tail = reader.torn_tail
        notes.append(
            f"cut a torn tail: {tail.path} at offset {tail.offset}, before LSN "
            f"{tail.lsn} ({tail.reason})"
        )
    if reader.last is not None and not reader.last.sealed:
        _seal(storage, reader.last)
    checkpoint.prune(storage, paths, marker)
    for note in notes:
        _log.warning("%s", note)
    return tuple(notes)


def _seal(storage: Storage, reader: SegmentReader) -> None:
    last = reader.next_lsn
    lsns = segment.LsnRange(reader.header.first_lsn, last, last - 1)
    footer = segment.footer_bytes(reader.seed, reader.end, lsns, reader.digest)
    file = storage.open(reader.path)
    try:
        file.truncate(reader.end)
        # Or a crash could keep the footer, and the tail behind it or a hole before.
        file.sync()
        file.write_at(reader.end, footer)
        file.sync()
    finally:
        file.close()
    reader.sealed_at(reader.end + len(footer))

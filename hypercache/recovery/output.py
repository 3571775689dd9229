"""Write the entries that were found as a new store.

The same entries always give the same bytes: no times, no random numbers, no pids.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable

from hypercache.aof import manifest as manifests
from hypercache.aof.base import BaseWriter
from hypercache.aof.manifest import Manifest
from hypercache.engines import open_engine
from hypercache.engines.lmdb_store import LmdbStore
from hypercache.errors import CorruptionError
from hypercache.ops import KeyOp
from hypercache.options import MIB, Options
from hypercache.paths import StorePaths
from hypercache.recovery.entries import EntryPut
from hypercache.storage import Storage
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker

_BATCH_COUNT = 4096
_BATCH_BYTES = 4 * MIB
_MAP_BYTES = 16 * MIB


def write(
    storage: Storage,
    copy: StorePaths,
    engine: str,
    uuid: bytes,
    entries: Iterable[EntryPut],
    lsn: int,
) -> None:
    """Write the files of a store whose last op had this LSN; not its STORE.

    Who gives the store its name syncs them.
    """
    if engine == "memory":
        _write_base(storage, copy, uuid, entries, lsn)
        return
    txn = _write_lmdb(storage, copy, uuid, entries, lsn)
    if engine == "hybrid":
        storage.make_directory(copy.wal)
    marker = Marker(checkpoint_lsn=lsn, next_lsn=lsn + 1, lmdb_txn=txn)
    if engine == "persistent":
        marker = dataclasses.replace(marker, next_lsn=1)
    checkpoint.store(storage, copy, marker)


def verify(storage: Storage, copy: StorePaths, engine: str, lsn: int) -> None:
    """Open the new store, read it back, and leave it as it is.

    Raises:
        CorruptionError: it is not what was written.
    """
    options = Options.resolve(engine=engine, read_only=True, allow_network_fs=True)
    opened = open_engine(copy.root, engine=engine, options=options, storage=storage)
    with contextlib.closing(opened):
        for problem in opened.check().problems:
            raise CorruptionError(**dataclasses.asdict(problem))
        found_lsn = opened.stats().appended_lsn
        if found_lsn != lsn:
            reason = f"it ends at LSN {found_lsn}, where {lsn} was written"
            raise CorruptionError(copy.root, reason, lsn=found_lsn)


def _write_base(
    storage: Storage,
    copy: StorePaths,
    uuid: bytes,
    entries: Iterable[EntryPut],
    lsn: int,
) -> None:
    storage.make_directory(copy.aof)
    path = copy.bases.segment(1)
    with contextlib.closing(storage.create(path, mapped=False)) as file:
        writer = BaseWriter(file, uuid, 1, lsn)
        for _, put in entries:
            slot = (put.value, put.expires_at_ms) if put.expires_at_ms else put.value
            writer.add(put.key, slot)
        facts = writer.finish()
    manifest = Manifest(base=facts, next_lsn=lsn + 1)
    manifests.store(storage, copy, manifest)


def _write_lmdb(
    storage: Storage,
    copy: StorePaths,
    uuid: bytes,
    entries: Iterable[EntryPut],
    lsn: int,
) -> int:
    """Write the LMDB file and return the number of its last transaction."""
    storage.make_directory(copy.lmdb)
    store = LmdbStore(storage, copy.lmdb, _MAP_BYTES, create=True)
    with contextlib.closing(store):
        store.belong_to(uuid)
        batch: list[tuple[int, KeyOp]] = []
        batch_bytes = 0
        for op_lsn, put in entries:
            batch.append((op_lsn, put))
            batch_bytes += len(put.key) + len(put.value)
            if len(batch) == _BATCH_COUNT or batch_bytes >= _BATCH_BYTES:
                store.fold(batch, None)
                batch, batch_bytes = [], 0
        store.fold(batch, lsn)
        txn = store.transaction_id()
    # LMDB's table of readers names processes; it is made anew.
    storage.unlink(copy.lmdb_lock)
    return txn

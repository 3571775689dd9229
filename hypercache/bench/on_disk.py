"""The embedded peers that write files, each as its own documentation sets it up."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from hypercache.bench.stores import Durability, Store, Subject, counted

MAP_BYTES = 16 << 30  # of address space: LMDB's documentation advises to ask for plenty


def rocksdict_store(path: Path, *, synced: bool) -> Store:
    """Open RocksDB in raw mode: bytes, no pickle."""
    rocksdict = importlib.import_module("rocksdict")
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    db = rocksdict.Rdict(str(path / "rocksdict"), options)
    if synced:
        write_options = rocksdict.WriteOptions()
        write_options.sync = True
        db.set_write_options(write_options)

    def set_many(entries: Mapping[bytes, bytes]) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in entries.items():
            batch.put(key, value)
        db.write(batch)

    def scan(prefix: bytes) -> int:
        entries = db.items(from_key=prefix)
        return counted(takewhile(lambda entry: entry[0].startswith(prefix), entries))

    return Store(
        db.__setitem__, db.get, db.close, set_many, db.get, scan, settle=db.flush
    )


def plyvel_store(path: Path, *, synced: bool) -> Store:
    """Open LevelDB."""
    plyvel = importlib.import_module("plyvel")
    db = plyvel.DB(str(path / "plyvel"), create_if_missing=True)

    def set_many(entries: Mapping[bytes, bytes]) -> None:
        with db.write_batch(sync=synced) as batch:
            for key, value in entries.items():
                batch.put(key, value)

    def put_synced(key: bytes, value: bytes) -> None:
        db.put(key, value, sync=True)

    return Store(
        put_synced if synced else db.put,
        db.get,
        db.close,
        set_many,
        scan=lambda prefix: counted(db.iterator(prefix=prefix)),
    )


def lmdb_store(path: Path, *, synced: bool) -> Store:
    """Open LMDB with one transaction for each call."""
    lmdb = importlib.import_module("lmdb")
    env = lmdb.open(str(path / "lmdb"), map_size=MAP_BYTES, sync=synced)

    def put(key: bytes, value: bytes) -> None:
        with env.begin(write=True) as txn:
            txn.put(key, value)

    def get(key: bytes) -> object:
        with env.begin() as txn:
            return txn.get(key)

    def set_many(entries: Mapping[bytes, bytes]) -> None:
        with env.begin(write=True) as txn, txn.cursor() as cursor:
            cursor.putmulti(entries.items())

    def get_many(keys: Any) -> object:
        with env.begin() as txn, txn.cursor() as cursor:
            return dict(cursor.getmulti(keys))

    def scan(prefix: bytes) -> int:
        with env.begin() as txn, txn.cursor() as cursor:
            cursor.set_range(prefix)
            return counted(takewhile(lambda entry: entry[0].startswith(prefix), cursor))

    return Store(put, get, env.close, set_many, get_many, scan)


def diskcache_store(path: Path, **settings: Any) -> Store:
    """Open diskcache's Cache with its defaults."""
    cache = importlib.import_module("diskcache").Cache(path / "diskcache", **settings)

    def set_many(entries: Mapping[bytes, bytes]) -> None:
        with cache.transact():
            for key, value in entries.items():
                cache.set(key, value)

    return Store(cache.set, cache.get, cache.close, set_many)


def sqlitedict_store(path: Path) -> Store:
    """Open sqlitedict with a commit for each write, its values as they are."""
    sqlitedict = importlib.import_module("sqlitedict")
    table = sqlitedict.SqliteDict(
        path / "sqlitedict", autocommit=True, encode=_as_it_is, decode=bytes
    )
    return Store(table.__setitem__, table.get, table.close, table.update)


def _as_it_is(value: bytes) -> bytes:
    return value


def _opened(function: Callable[..., Store], **settings: Any) -> Any:
    return lambda path, _count: function(path, **settings)


SYSTEM, SYNCED = Durability.SYSTEM, Durability.SYNCED

SUBJECTS = (
    Subject(
        "rocksdict",
        SYSTEM,
        "raw mode, log not synced",
        _opened(rocksdict_store, synced=False),
        "rocksdict",
        bulk=True,
    ),
    Subject(
        "plyvel",
        SYSTEM,
        "log not synced",
        _opened(plyvel_store, synced=False),
        "plyvel",
        bulk=True,
    ),
    Subject(
        "lmdb",
        SYSTEM,
        "a transaction per call, sync=False",
        _opened(lmdb_store, synced=False),
        "lmdb",
    ),
    Subject(
        "diskcache",
        SYSTEM,
        "SQLite WAL, synchronous=NORMAL",
        _opened(diskcache_store),
        "diskcache",
        slow=True,
    ),
    Subject(
        "sqlitedict",
        Durability.QUEUED,
        "autocommit=True",
        _opened(sqlitedict_store),
        "sqlitedict",
        slow=True,
    ),
    Subject(
        "rocksdict, synced",
        SYNCED,
        "raw mode, WriteOptions.sync",
        _opened(rocksdict_store, synced=True),
        "rocksdict",
    ),
    Subject(
        "plyvel, synced",
        SYNCED,
        "sync=True",
        _opened(plyvel_store, synced=True),
        "plyvel",
    ),
    Subject(
        "lmdb, synced",
        SYNCED,
        "a transaction per call",
        _opened(lmdb_store, synced=True),
        "lmdb",
    ),
    Subject(
        "diskcache, synced",
        SYNCED,
        "SQLite WAL, synchronous=FULL",
        _opened(diskcache_store, sqlite_synchronous=2),
        "diskcache",
    ),
)

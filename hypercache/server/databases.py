"""The sixteen databases of a server, each a store, and which number stands for which.

Database 0 is the store itself, the others are namespaces `db1` to `db15`, made when
they are first written to. What SWAPDB has changed is kept in the namespace `server`;
docs/server.md has its format.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgpack

from hypercache.cache import Cache
from hypercache.codec import Codec
from hypercache.engines import identity, open_engine
from hypercache.engines.base import StorageEngine
from hypercache.errors import ConfigError, CorruptionError
from hypercache.paths import StorePaths
from hypercache.server.database import Database
from hypercache.storage import OsStorage

COUNT = 16
_ORDER_STORE, _ORDER_KEY, _ORDER_VERSION = "server", b"databases", 1


class Databases:
    """Open the store in a directory, or create it there.

    Args:
        directory: of the store.
        settings: arguments of `Cache`; `engine` None stands for that of the store.

    Raises:
        ConfigError: the store is of another engine, or only the program that owns it
            can decode its values.
        HyperCacheError: as `Cache` says.
    """

    def __init__(self, directory: str, **settings: Any) -> None:
        self._directory, self._settings = directory, settings
        self.store: Cache[Any] = _open(directory, settings)
        try:
            self._order = list(range(COUNT))
            self._load_order()
            self._stores = [self._database(number) for number in range(COUNT)]
        except BaseException:
            self.store.close()
            raise

    def __getitem__(self, number: int) -> Database:
        """Return the database of a number, 0 to 15."""
        return self._stores[self._order[number]]

    def __len__(self) -> int:
        """Return how many there are."""
        return COUNT

    def __iter__(self) -> Iterator[Database]:
        """Yield all databases in the order of their numbers."""
        return (self[number] for number in range(COUNT))

    @property
    def opened(self) -> list[Database]:
        """Return the databases that have a store."""
        return [database for database in self._stores if database.is_open]

    def swap(self, one: int, other: int) -> None:
        """Exchange two databases; on the medium on return."""
        order = self._order.copy()
        order[one], order[other] = order[other], order[one]
        for number in (one, other):
            self[number].engine.sync()
        packed = msgpack.packb([_ORDER_VERSION, order])
        self._order_store().set(_ORDER_KEY, packed)
        self._order = order

    def sync(self) -> None:
        """Return when everything acknowledged is on the medium."""
        self.store.sync()

    def close(self) -> None:
        """Bring everything to the medium and close all stores; repeatable."""
        self.store.close()

    def _database(self, number: int) -> Database:
        if number == 0:
            return Database(self.store.engine, self._codec(self._directory))
        name = f"db{number}"
        path = StorePaths(self._directory).namespace(name).root
        codec = self._codec(path)
        opens = partial(self._open_namespace, name, codec)
        if name in self.store.namespaces():
            return Database(opens(), codec)
        # Nothing is made on disk for a database that is only read.
        return Database(open_engine(), codec, opens)

    def _open_namespace(self, name: str, codec: Codec) -> StorageEngine:
        return self.store.namespace(name, serializer=codec.serializer_name).engine

    def _codec(self, path: str) -> Codec:
        return Codec(_serializer(path) or _serializer(self._directory) or "bytes")

    def _order_store(self) -> Cache[Any]:
        return self.store.namespace(_ORDER_STORE, serializer="bytes", sync="always")

    def _load_order(self) -> None:
        if _ORDER_STORE not in self.store.namespaces():
            return
        packed = self._order_store().get(_ORDER_KEY)
        if packed is not None:
            self._order = _order(packed, self._directory)


def _open(directory: str, settings: dict[str, Any]) -> Cache[Any]:
    storage, paths = OsStorage(), StorePaths(directory)
    found = None
    if storage.is_directory(directory):
        found = identity.load_identity(storage, paths)
    engine = settings.pop("engine", None) or (found.engine if found else None)
    serializer: Any = _serializer(directory) or "bytes"
    return Cache(directory, engine=engine, serializer=serializer, **settings)


def _serializer(directory: str) -> str | None:
    """Return the serializer that a store has on record, None where there is no store.

    Raises:
        ConfigError: it is one that only the program has that owns the store.
    """
    storage = OsStorage()
    if not storage.is_directory(directory):
        return None
    found = identity.load_identity(storage, StorePaths(directory))
    if found is None or found.state != identity.READY:
        return None
    if found.serializer == "custom":
        raise ConfigError(
            f"{directory} was created with a serializer of its program's own, which "
            "the server does not have; serve a store of bytes, text or numbers"
        )
    return found.serializer


def _order(packed: bytes, directory: str) -> list[int]:
    try:
        version, order = msgpack.unpackb(packed)
    except (ValueError, TypeError, msgpack.UnpackException):
        version, order = None, None
    if version != _ORDER_VERSION or sorted(order or ()) != list(range(COUNT)):
        raise CorruptionError(
            f"{directory}, namespace {_ORDER_STORE}",
            "the order of the databases cannot be read",
            key=_ORDER_KEY,
        )
    return list(order)

"""The storage engines, and the one table that names them.

Each is imported when it is first used: together they are more than half of what
importing the package would cost, and a helper process needs none or one of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from hypercache.engines.base import StorageEngine
from hypercache.errors import ConfigError
from hypercache.options import Options

if TYPE_CHECKING:
    from hypercache.engines.durable_memory import DurableMemoryEngine
    from hypercache.engines.hybrid import HybridEngine
    from hypercache.engines.memory import MemoryEngine
    from hypercache.engines.persistent import PersistentEngine
    from hypercache.storage import Storage

__all__ = [
    "DurableMemoryEngine",
    "HybridEngine",
    "MemoryEngine",
    "PersistentEngine",
    "StorageEngine",
    "open_engine",
]

BUILT_IN = ("memory", "hybrid", "persistent")
_MODULES = {
    "MemoryEngine": "hypercache.engines.memory",
    "DurableMemoryEngine": "hypercache.engines.durable_memory",
    "HybridEngine": "hypercache.engines.hybrid",
    "PersistentEngine": "hypercache.engines.persistent",
    "MemoryReader": "hypercache.engines.memory_reader",
    "LmdbReader": "hypercache.engines.lmdb_reader",
    "PersistentReader": "hypercache.engines.lmdb_reader",
}
_READERS = {
    "memory": "MemoryReader",
    "hybrid": "LmdbReader",
    "persistent": "PersistentReader",
}
_WITH_PATH = {
    "memory": "DurableMemoryEngine",
    "hybrid": "HybridEngine",
    "persistent": "PersistentEngine",
}


def open_engine(
    path: str | None = None,
    *,
    engine: str | None = None,
    options: Options | None = None,
    storage: Storage | None = None,
) -> StorageEngine:
    """Open the engine of that name: "memory" without a path, "hybrid" with one.

    Any other name is that of an entry point of the group `hypercache.engines`. The
    files of those built in are in `storage`, by default that of the operating system.

    Raises:
        ConfigError: the name is unknown or does not go with the path, or what is
            registered under it is no engine.
        StoreLockedError, CorruptionError, UnsupportedFormatError, StorageError:
            as the engine says.
    """
    name = engine or ("memory" if path is None else "hybrid")
    if name not in BUILT_IN:
        from hypercache.engines.registered import open_registered

        return open_registered(name, path, options or Options.resolve(), BUILT_IN)
    if path is not None:
        chosen = options or Options.resolve(engine=name)
        kinds = _READERS if chosen.read_only else _WITH_PATH
        opened: StorageEngine = _lazy(kinds[name])(path, chosen, storage=storage)
        return opened
    if name != "memory":
        raise ConfigError(f"engine={name!r} needs a path")
    volatile: StorageEngine = _lazy("MemoryEngine")(options)
    return volatile


def _lazy(name: str) -> type:
    found: type = getattr(import_module(_MODULES[name]), name)
    return found


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return _lazy(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

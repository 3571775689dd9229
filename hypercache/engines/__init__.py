"""The storage engines, and the one table that names them."""

from __future__ import annotations

from hypercache.engines.base import StorageEngine
from hypercache.engines.hybrid import HybridEngine
from hypercache.engines.memory import MemoryEngine
from hypercache.errors import ConfigError
from hypercache.options import Options

__all__ = ["HybridEngine", "MemoryEngine", "StorageEngine", "open_engine"]


def open_engine(
    path: str | None = None,
    *,
    engine: str | None = None,
    options: Options | None = None,
) -> StorageEngine:
    """Open the engine of that name: "memory" without a path, "hybrid" with one.

    Raises:
        ConfigError: the name is unknown or does not go with the path.
        StoreLockedError, CorruptionError, UnsupportedFormatError, StorageError:
            as the engine says.
    """
    name = engine or ("memory" if path is None else "hybrid")
    match name, path:
        case "memory", None:
            return MemoryEngine()
        case "hybrid", str():
            return HybridEngine(path, options or Options.resolve())
        case "hybrid", None:
            raise ConfigError("engine='hybrid' needs a path")
        case "memory", _:
            raise ConfigError(
                "engine='memory' keeps nothing on disk; leave out the path"
            )
    raise ConfigError(f"engine={engine!r} is unknown; use 'memory' or 'hybrid'")

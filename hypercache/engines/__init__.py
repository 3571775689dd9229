"""The storage engines, and the one table that names them.

The hybrid engine is imported when it is first used: what it needs of LMDB and the log
is more than half of what importing the package would cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypercache.engines.base import StorageEngine
from hypercache.engines.memory import MemoryEngine
from hypercache.errors import ConfigError
from hypercache.options import Options

if TYPE_CHECKING:
    from hypercache.engines.hybrid import HybridEngine

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
            return _hybrid_engine()(path, options or Options.resolve())
        case "hybrid", None:
            raise ConfigError("engine='hybrid' needs a path")
        case "memory", _:
            raise ConfigError("engine='memory' keeps nothing on disk: leave out path")
    raise ConfigError(f"engine={engine!r} is unknown; use 'memory' or 'hybrid'")


def __getattr__(name: str) -> object:
    if name == "HybridEngine":
        return _hybrid_engine()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _hybrid_engine() -> type[HybridEngine]:
    from hypercache.engines.hybrid import HybridEngine

    return HybridEngine

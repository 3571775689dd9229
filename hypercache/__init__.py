"""HyperCache: an embedded, durable key-value engine and cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypercache import errors

if TYPE_CHECKING:
    from hypercache.async_cache import AsyncCache
    from hypercache.cache import Cache
    from hypercache.engines.base import CheckReport, EngineStats, Problem

__all__ = ["AsyncCache", "Cache", "CheckReport", "EngineStats", "Problem", "errors"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Imported when first used: a helper process needs an engine, but not the cache.
    if name == "Cache":
        from hypercache.cache import Cache

        return Cache
    if name == "AsyncCache":
        from hypercache.async_cache import AsyncCache

        return AsyncCache
    if name in __all__:
        from hypercache.engines import base

        return getattr(base, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

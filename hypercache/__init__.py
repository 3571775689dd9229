"""HyperCache: an embedded, durable key-value engine and cache."""

from hypercache import errors
from hypercache.cache import Cache
from hypercache.engines.base import CheckReport, EngineStats, Problem

__all__ = ["Cache", "CheckReport", "EngineStats", "Problem", "errors"]
__version__ = "0.1.0"

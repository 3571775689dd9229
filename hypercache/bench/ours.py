"""HyperCache, opened in the ways that are measured."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from hypercache.bench.stores import Durability, Store, Subject, counted
from hypercache.cache import Cache

# Names of the threads in which a helper's work is awaited.
MAINTENANCE = ("hypercache-checkpoint", "hypercache-compaction")


def open_cache(path: Path | None, **options: Any) -> Cache[Any]:
    """Return a cache of bytes: what the peers store, too."""
    return Cache(path, serializer="bytes", **options)


def store_of(cache: Cache[Any]) -> Store:
    """Return an open cache as what is measured."""
    return Store(
        cache.set,
        cache.get,
        cache.close,
        cache.set_many,
        cache.get_many,
        lambda prefix: counted(cache.scan(prefix=prefix)),
        settle=lambda: _settle(cache),
        maintains=_maintains,
    )


def _settle(cache: Cache[Any]) -> None:
    cache.checkpoint()
    cache.compact()


def _maintains() -> bool:
    return any(thread.name in MAINTENANCE for thread in threading.enumerate())


def _volatile(_path: Path, _count: int) -> Store:
    return store_of(open_cache(None))


def _limited(_path: Path, count: int) -> Store:
    return store_of(open_cache(None, max_items=count))


def _hybrid(path: Path, _count: int) -> Store:
    return store_of(open_cache(path / "hybrid"))


def _memory(path: Path, _count: int) -> Store:
    return store_of(open_cache(path / "memory", engine="memory"))


def _hybrid_synced(path: Path, _count: int) -> Store:
    return store_of(open_cache(path / "hybrid", sync="always"))


def _memory_synced(path: Path, _count: int) -> Store:
    return store_of(open_cache(path / "memory", engine="memory", sync="always"))


def _persistent(path: Path, _count: int) -> Store:
    return store_of(open_cache(path / "persistent", engine="persistent"))


RAM, SYSTEM, SYNCED = Durability.RAM, Durability.SYSTEM, Durability.SYNCED

SUBJECTS = (
    Subject("memory", RAM, "no path", _volatile, bulk=True),
    Subject(
        "memory, limited",
        RAM,
        "no path, max_items, s3fifo",
        _limited,
        bulk=True,
        limited=True,
    ),
    Subject("memory with log", SYSTEM, "sync=everysec", _memory, bulk=True),
    Subject("hybrid", SYSTEM, "sync=everysec", _hybrid, bulk=True),
    Subject("memory, always", SYNCED, "sync=always", _memory_synced),
    Subject("hybrid, always", SYNCED, "sync=always", _hybrid_synced),
    Subject("persistent", SYNCED, "sync=always", _persistent),
)

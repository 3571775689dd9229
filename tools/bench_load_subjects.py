"""The two stores that bench_load compares, each behind the same few calls."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import hypercache

CHECKPOINT_THREAD = "hypercache-checkpoint"


def _nothing() -> None:
    return None


def _never() -> bool:
    return False


@dataclass
class Store:
    """One open store; `waited_ms` is None where nobody counts that."""

    set: Callable[[bytes, bytes], object]
    get: Callable[[bytes], object]
    close: Callable[[], object]
    checkpoint: Callable[[], object] = _nothing
    is_busy: Callable[[], bool] = _never
    waited_ms: Callable[[], int | None] = _nothing


@dataclass(frozen=True)
class Subject:
    """A store to open."""

    name: str
    open: Callable[[Path], Store]


def _open_hypercache(path: Path) -> Store:
    cache = hypercache.Cache(path, serializer="bytes")
    return Store(
        cache.set,
        cache.get,
        cache.close,
        cache.checkpoint,
        _checkpoint_runs,
        lambda: cache.stats().maintenance_wait_ms,
    )


def _checkpoint_runs() -> bool:
    return any(thread.name == CHECKPOINT_THREAD for thread in threading.enumerate())


def _open_rocksdict(path: Path) -> Store:
    rocksdict = import_rocksdict()
    assert rocksdict is not None
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    db = rocksdict.Rdict(str(path), options)
    return Store(db.__setitem__, db.get, db.close)


def import_rocksdict() -> ModuleType | None:
    """Return the module, None where it is not installed."""
    try:
        return importlib.import_module("rocksdict")
    except ImportError:
        return None


SUBJECTS = (
    Subject("HyperCache", _open_hypercache),
    Subject("rocksdict", _open_rocksdict),
)

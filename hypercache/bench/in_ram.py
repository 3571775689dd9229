"""The peers that keep everything in RAM and nothing else."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from hypercache.bench.stores import Durability, Store, Subject


def _as_mapping(table: Any) -> Store:
    return Store(table.__setitem__, table.get, set_many=table.update)


def _dict(_path: Path, _count: int) -> Store:
    table: dict[bytes, bytes] = {}
    return _as_mapping(table)


def _cachetools(_path: Path, count: int) -> Store:
    return _as_mapping(importlib.import_module("cachetools").LRUCache(count))


def _cachebox(_path: Path, count: int) -> Store:
    return _as_mapping(importlib.import_module("cachebox").LRUCache(count))


RAM = Durability.RAM

SUBJECTS = (
    Subject("dict", RAM, "no limit", _dict, bulk=True),
    Subject(
        "cachetools",
        RAM,
        "LRUCache",
        _cachetools,
        "cachetools",
        bulk=True,
        limited=True,
    ),
    Subject(
        "cachebox", RAM, "LRUCache", _cachebox, "cachebox", bulk=True, limited=True
    ),
)

"""Fixtures: a store in use, and the same one closed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hypercache import Cache
from tests.conftest import Opened
from tests.support.engines import MMAP, TINY, OpenCache
from tests.support.stores import fill


@pytest.fixture
def open_store(opened: Opened, store_path: Path) -> OpenCache:
    def open_one(path: Path = store_path, **changes: Any) -> Cache:
        return opened.add(Cache(path, **{**TINY, **MMAP, **changes}))

    return open_one


@pytest.fixture
def store(open_store: OpenCache) -> Cache:
    """An open store with entries in the checkpoint and in the log."""
    cache = open_store()
    fill(cache)
    return cache


@pytest.fixture
def closed_store(store: Cache, store_path: Path) -> Path:
    store.close()
    return store_path


@pytest.fixture(autouse=True)
def tmp_path() -> Iterator[Path]:
    """Give a directory on a real disk."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)

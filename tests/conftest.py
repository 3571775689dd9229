"""Fixtures: whatever a test opens is checked and closed when the test has ended."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hypercache import Cache
from hypercache.engines import StorageEngine, backup_helper, helper, lmdb_walk
from hypercache.engines.helper import Outcome
from hypercache.testing.opened import Opened
from tests.support import memory_disk
from tests.support.clock import FakeClock
from tests.support.engines import (
    ENGINES,
    EngineCase,
    OpenCache,
    OpenEngine,
    case_name,
)


@pytest.fixture(autouse=True)  # first made, last removed: what is open is in it
def tmp_path() -> Iterator[Path]:
    """Give a directory in RAM where there is one; tests of crashes have a real disk."""
    with tempfile.TemporaryDirectory(dir=memory_disk.place()) as path:
        yield Path(path)


@pytest.fixture
def opened() -> Iterator[Opened]:
    everything = Opened()
    yield everything
    everything.check_and_close()


@pytest.fixture(params=ENGINES, ids=case_name)
def engine_case(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> EngineCase:
    case: EngineCase = request.param
    if not case.helpers:
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    return case


@pytest.fixture(autouse=True)
def without_helpers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check and copy without a helper process, but where a test is marked `helpers`.

    To start one takes longer than the rest of most tests.
    """
    start = helper.maybe_run

    def start_others(module: str, *arguments: str, **options: Any) -> Outcome | None:
        if module in (backup_helper.__name__, lmdb_walk.__name__):
            return None
        return start(module, *arguments, **options)

    # Not the fixture monkeypatch: that of a test must end before its stores are closed.
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("helpers") is None:
            patch.setattr(helper, "maybe_run", start_others)
        yield


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def open_engine(
    engine_case: EngineCase, opened: Opened, store_path: Path
) -> OpenEngine:
    """Open an engine in the store of this test; options as keywords."""

    def open_one(path: Path = store_path, **changes: Any) -> StorageEngine:
        return opened.add(engine_case.open_engine(path, **changes))

    return open_one


@pytest.fixture
def engine(open_engine: OpenEngine, clock: FakeClock) -> StorageEngine:
    return open_engine(clock=clock)


@pytest.fixture
def open_cache(engine_case: EngineCase, opened: Opened, store_path: Path) -> OpenCache:
    """Open a cache in the store of this test; arguments of Cache as keywords."""

    def open_one(path: Path = store_path, **changes: Any) -> Cache:
        return opened.add(engine_case.open_cache(path, **changes))

    return open_one


@pytest.fixture
def cache(open_cache: OpenCache) -> Cache:
    return open_cache()

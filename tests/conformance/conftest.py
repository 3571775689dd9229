"""A cache whose time is the test's."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hypercache import Cache
from hypercache.testing.opened import Opened
from tests.support import memory_disk
from tests.support.clock import FakeClock
from tests.support.engines import OpenEngine, cache_over


@pytest.fixture(autouse=True)  # first made, last removed: what is open is in it
def tmp_path() -> Iterator[Path]:
    """Give a directory in RAM where there is one."""
    with tempfile.TemporaryDirectory(dir=memory_disk.place()) as path:
        yield Path(path)


@pytest.fixture
def timed(
    open_engine: OpenEngine, clock: FakeClock, opened: Opened
) -> Callable[..., Cache]:
    def build(**arguments: Any) -> Cache:
        return opened.add(cache_over(open_engine(clock=clock), **arguments))

    return build

"""A cache whose time is the test's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hypercache import Cache
from hypercache.testing.opened import Opened
from tests.support.clock import FakeClock
from tests.support.engines import OpenEngine, cache_over


@pytest.fixture
def timed(
    open_engine: OpenEngine, clock: FakeClock, opened: Opened
) -> Callable[..., Cache]:
    def build(**arguments: Any) -> Cache:
        return opened.add(cache_over(open_engine(clock=clock), **arguments))

    return build

"""Wait for what another thread or process brings about."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

LIMIT_S = 30


def wait_until(reached: Callable[[], object]) -> None:
    """Return as soon as it is so; fail the test if that takes too long."""
    pause = threading.Event()
    for _ in range(LIMIT_S * 500):
        if reached():
            return
        pause.wait(0.002)
    pytest.fail("not reached in time")

"""Run the coroutines of a test, and never for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
LIMIT_S = 30


def run(main: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns, run in a loop of its own.

    In debug mode the loop refuses calls of other threads that are not made safely.
    """
    return asyncio.run(asyncio.wait_for(main, LIMIT_S), debug=True)


async def turns(count: int = 5) -> None:
    """Let the other tasks of the loop run until each waits for something outside."""
    for _ in range(count):
        await asyncio.sleep(0)

"""How a missing value is made: once, by one caller, under a lease, or shown stale.

One algorithm for threads and for coroutines: `steps` yields what is to be done next,
and `run` or `run_async` does it. Pure but for the engine.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import threading
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from hypercache.errors import ArgumentTypeError
from hypercache.single_flight import ABANDONED, Flight

_log = logging.getLogger(__name__)
FIRST_POLL_S, LAST_POLL_S = 0.002, 0.1  # how often a lease of others is looked at


class Call(NamedTuple):
    """Call the function that makes the value, inside a flight."""

    flight: Flight


class Wait(NamedTuple):
    """Wait for the flight that somebody else leads."""

    flight: Flight


class Sleep(NamedTuple):
    """Wait so long."""

    seconds: float


class Do(NamedTuple):
    """Call a function that may wait for the disk."""

    function: Callable[[], Any]


Steps = Generator[Call | Wait | Sleep | Do, Any, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """What the store has for a key.

    Attributes:
        value: decoded, if there is one.
        stored: its stored form.
        age: "fresh", "due" (fresh, but it is time to make a new one), "stale", "late"
            (shown only if making a new one fails), or "absent".
    """

    value: Any = None
    stored: Any = None
    age: str = "absent"

    @property
    def can_wait(self) -> bool:
        """Tell whether it may be shown while a new one is made."""
        return self.age in ("due", "stale")


class Shelf(Protocol):
    """What the algorithm needs of a cache, for one key."""

    def find(self) -> Found:
        """Look the value up."""

    def join(self) -> tuple[Flight, bool]:
        """Return the flight for it, and whether the caller leads."""

    def land(self, flight: Flight) -> None:
        """End it."""

    def prepare(self) -> bool:
        """Get ready to store; tell whether another process makes the value now."""

    def store(self, flight: Flight, value: Any, made_in_ms: float) -> Any:
        """Store a value, and return its stored form."""

    def give_up(self) -> None:
        """Let others make it: this caller failed."""

    def load(self, stored: Any) -> Any:
        """Return the value of a stored form, a copy of the caller's own."""

    def now_ms(self) -> float:
        """Return the time."""


def steps(shelf: Shelf) -> Steps:
    """Yield the steps to a value, and return it."""
    while True:
        found = shelf.find()
        if found.age == "fresh":
            return found.value
        flight, leads = shelf.join()
        if leads:
            return (yield from _lead(shelf, flight))
        if found.can_wait:
            return found.value
        stored = yield Wait(flight)
        if stored is not ABANDONED:
            return shelf.load(stored)


def _lead(shelf: Shelf, flight: Flight) -> Steps:
    try:
        value, stored = yield from _make(shelf, flight)
    except Exception as error:
        found = shelf.find()
        shelf.land(flight)
        if found.age != "absent":
            _log.warning("the last value of %r is shown: %r", flight.key, error)
            flight.future.set_result(found.stored)
            return found.value
        flight.future.set_exception(error)
        raise
    except BaseException:
        shelf.land(flight)
        flight.future.set_result(ABANDONED)
        raise
    shelf.land(flight)
    flight.future.set_result(stored)
    return value


def _make(shelf: Shelf, flight: Flight) -> Steps:
    """Return the value and its stored form, made here or in another process."""
    pause = FIRST_POLL_S
    while (yield Do(shelf.prepare)):
        found = shelf.find()
        if found.age == "fresh" or found.can_wait:
            return found.value, found.stored
        yield Sleep(pause * random.uniform(0.5, 1))  # noqa: S311
        pause = min(2 * pause, LAST_POLL_S)
    try:
        found = shelf.find()  # another may have stored it just before
        if found.age == "fresh":
            yield Do(shelf.give_up)
            return found.value, found.stored
        began_ms = shelf.now_ms()
        value = yield Call(flight)
        made_in_ms = shelf.now_ms() - began_ms
        stored = yield Do(lambda: shelf.store(flight, value, made_in_ms))
    except (Exception, asyncio.CancelledError):
        yield Do(shelf.give_up)
        raise
    except BaseException:
        shelf.give_up()  # no step: who takes them may be gone
        raise
    return value, stored


def run(making: Steps, function: Callable[[], Any]) -> Any:
    """Take the steps in this thread."""

    def do(step: Any) -> Any:
        if isinstance(step, Call):
            with step.flight.led():
                return _no_coroutine(function())
        if isinstance(step, Wait):
            with step.flight.awaited(blocking=True) as future:
                return future.result()
        if isinstance(step, Sleep):
            return threading.Event().wait(step.seconds)
        return step.function()

    return _drive(making, do)


def _drive(making: Steps, do: Callable[[Any], Any]) -> Any:
    try:
        step = next(making)
        while True:
            try:
                answer = do(step)
            except BaseException as error:  # noqa: BLE001 - raised in the steps
                step = making.throw(error)
            else:
                step = making.send(answer)
    except StopIteration as end:
        return end.value


async def run_async(
    making: Steps,
    function: Callable[[], Any],
    offload: Callable[[Callable[[], Any]], Awaitable[Any]],
) -> Any:
    """Take the steps in this task; `offload` calls what may wait for the disk."""

    async def do(step: Any) -> Any:
        if isinstance(step, Call):
            with step.flight.led():
                made = function()
                return await made if inspect.isawaitable(made) else made
        if isinstance(step, Wait):
            with step.flight.awaited(blocking=False) as future:
                return await _shielded(future)
        if isinstance(step, Sleep):
            return await asyncio.sleep(step.seconds)
        return await offload(step.function)

    try:
        step = next(making)
        while True:
            try:
                answer = await do(step)
            except BaseException as error:  # noqa: BLE001 - raised in the steps
                step = making.throw(error)
            else:
                step = making.send(answer)
    except StopIteration as end:
        return end.value


async def _shielded(future: Future[Any]) -> Any:
    # Who waits may be cancelled; the flight goes on for the others.
    return await asyncio.shield(asyncio.wrap_future(future))


def _no_coroutine(made: Any) -> Any:
    if inspect.iscoroutine(made):
        made.close()
        raise ArgumentTypeError(
            "the function is async: await it with memoize, or use AsyncCache"
        )
    return made

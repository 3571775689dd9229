"""Single-flight in one process: of all who want a value now, one makes it.

Threads and asyncio tasks join the same flight; the first to come leads it, the others
wait. Who is inside a flight, and which flight waits for which, is known, so that a
circle of waiting is refused instead of standing still for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from hypercache.errors import ReentrantCallError

ABANDONED: Any = object()  # the result of a flight whose leader was cancelled
_inside: contextvars.ContextVar[tuple[Flight, ...]] = contextvars.ContextVar(
    "hypercache_inside", default=()
)
# Of all caches together: a circle may lead through several.
_graph = threading.Lock()


class Flight:
    """One making of one value.

    Attributes:
        future: the value in its stored form, an error, or ABANDONED.
        wanted: False once what is being made was deleted or invalidated.
        waiting: how many wait for it.
    """

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.future: Future[Any] = Future()
        self.wanted = True
        self.waiting = 0
        self._loop = _running_loop()
        self._waits_for: list[Flight] = []

    @contextlib.contextmanager
    def led(self) -> Iterator[None]:
        """Know, while the block runs, that what it calls is inside this flight."""
        token = _inside.set((*_inside.get(), self))
        try:
            yield
        finally:
            _inside.reset(token)

    @contextlib.contextmanager
    def awaited(self, *, blocking: bool) -> Iterator[Future[Any]]:
        """Give the future to wait for, if that can come to an end.

        Raises:
            ReentrantCallError: it waits, if through others, for who wants to wait; or
                it needs the event loop that the wait would block.
        """
        mine = _inside.get()
        with _graph:
            self._refuse_circle(mine)
            if blocking and self._loop is not None and self._loop is _running_loop():
                raise ReentrantCallError(
                    f"a coroutine of this event loop makes the value of {self.key!r} "
                    "now, and waiting here would stop it; use AsyncCache or await it"
                )
            self.waiting += 1
            for flight in mine[-1:]:
                flight._waits_for.append(self)
        try:
            yield self.future
        finally:
            with _graph:
                self.waiting -= 1
                for flight in mine[-1:]:
                    flight._waits_for.remove(self)

    def _refuse_circle(self, mine: tuple[Flight, ...]) -> None:
        seen: set[Flight] = set()
        ahead = [self]
        while ahead:
            flight = ahead.pop()
            if flight in mine:
                raise ReentrantCallError(
                    f"the function that makes the value of {flight.key!r} asks for "
                    f"{self.key!r}, which waits for it: it would never end"
                )
            if flight not in seen:
                seen.add(flight)
                ahead += flight._waits_for


class Flights:
    """The flights of one cache."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[bytes, Flight] = {}

    def join(self, key: bytes) -> tuple[Flight, bool]:
        """Return the flight of a key, and whether the caller leads it."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            flight = self._flights[key] = Flight(key)
            return flight, True

    def land(self, flight: Flight) -> None:
        """Let the next caller lead a new one."""
        with self._lock:
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]

    def discard(self, key: bytes) -> None:
        """Store nothing of what is made for a key now: it is out of date."""
        if not self._flights:
            return
        with self._lock:
            flight = self._flights.pop(key, None)
        if flight is not None:
            flight.wanted = False

    def discard_all(self) -> None:
        """Store nothing of what is made now."""
        with self._lock:
            flights, self._flights = self._flights, {}
        for flight in flights.values():
            flight.wanted = False


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

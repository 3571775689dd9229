"""Sweep what has expired, by one thread for all caches of the process.

It looks in twice a second, in steps of a fraction of a millisecond, and goes on at once
where a step has found much. It ends when no cache is left that may hold an expiry.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from typing import Protocol

from hypercache.errors import HyperCacheError

_log = logging.getLogger(__name__)
PERIOD_S = 0.5
STEP_COUNT = 256  # entries that one step looks at
MUCH = 8  # one in so many of them has expired: the next step follows at once
REST_S = 0.002  # in between, so that writers come first


class Sweepable(Protocol):
    """What is used of an engine."""

    def sweep(self, limit: int | None = None) -> int:
        """Remove entries that have expired, looking at so many; return how many."""


class Sweeper:
    """Keep the one thread; its methods may be called from any other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: weakref.WeakSet[Sweepable] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    def watch(self, engine: Sweepable) -> None:
        """Sweep an engine from now on, until it is closed or forgotten."""
        with self._lock:
            self._engines.add(engine)
            if self._thread is not None:
                return
            thread = threading.Thread(
                target=self._run, name="hypercache-sweeper", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:
                _log.warning("no thread to sweep what has expired: %s", error)
                return
            self._thread = thread

    def forget(self, engine: Sweepable) -> None:
        """Leave an engine alone."""
        with self._lock:
            self._engines.discard(engine)
            thread = None if self._engines else self._thread
            if thread is not None:
                self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(PERIOD_S)

    def _run(self) -> None:
        while True:
            self._wake.wait(PERIOD_S)
            with self._lock:
                engines = list(self._engines)
                if not engines:
                    self._thread = None
                    self._wake.clear()
                    return
                self._wake.clear()
            for engine in engines:
                self._sweep(engine)
            del engine, engines

    def _sweep(self, engine: Sweepable) -> None:
        try:
            while engine.sweep(STEP_COUNT) >= STEP_COUNT // MUCH:
                self._wake.wait(REST_S)
        except HyperCacheError as error:
            # Closed meanwhile, or its log has failed: the next open sees to it.
            _log.debug("no longer swept: %s", error)
            self.forget(engine)


_sweeper = Sweeper()


def watch(engine: Sweepable) -> None:
    """Sweep an engine from now on, until it is closed or forgotten."""
    _sweeper.watch(engine)


def forget(engine: Sweepable) -> None:
    """Leave an engine alone; without any the thread ends."""
    _sweeper.forget(engine)


def _forked() -> None:
    # Threads do not survive a fork, nor do stores that are open.
    global _sweeper  # noqa: PLW0603
    _sweeper = Sweeper()


os.register_at_fork(after_in_child=_forked)

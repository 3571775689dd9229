"""Threads whose failures fail the test, and loops that end after a while."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator

JOIN_S = 60


def turns_for(seconds: float) -> Iterator[int]:
    """Count up until the time is over, whatever the speed of the machine."""
    end = time.monotonic() + seconds
    for turn in itertools.count():
        if turn and time.monotonic() > end:
            return
        yield turn


class Threads:
    """Start threads, and raise in the test what one of them raised.

    `stopping` is set when the block ends or a thread fails: loops watch it.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def start(self, target: Callable[..., object], *arguments: object) -> None:
        """Call `target` in a thread of its own."""

        def run() -> None:
            try:
                target(*arguments)
            except BaseException as error:  # noqa: BLE001  (raised by `join`)
                self._errors.append(error)
                self.stopping.set()

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self) -> None:
        """Wait for all threads, and raise the first error of one."""
        for thread in self._threads:
            thread.join(JOIN_S)
        if self._errors:
            raise self._errors[0]
        assert not any(thread.is_alive() for thread in self._threads), "a thread hangs"
        self._threads.clear()

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.stopping.set()
        if error is None:
            self.join()
        else:
            for thread in self._threads:
                thread.join(5)

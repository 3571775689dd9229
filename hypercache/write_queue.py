"""Bring the writes of event loops to one thread, which runs all that wait as a group.

A loop only appends to the queue and gets a future: it waits for no lock but the
queue's, which is never held for long. While one group is on its way to the medium, the
next one gathers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hypercache.errors import ClosedError, ForkedStoreError

GROUP_COUNT = 256  # calls; the first of a group waits until the last is made


class Call:
    """One call that a task of an event loop waits for.

    Args:
        run: makes the call, in another thread.
        gives_lsn: what it returns is the LSN of its write.
        looks_first: it asks the engine under `exclusive` before it writes.
        alone: it is no part of a group, and keeps all others waiting until it ends.
    """

    __slots__ = (
        "alone",
        "error",
        "future",
        "gives_lsn",
        "looks_first",
        "loop",
        "result",
        "run",
    )

    def __init__(
        self,
        run: Callable[[], Any],
        *,
        gives_lsn: bool = False,
        looks_first: bool = False,
        alone: bool = False,
    ) -> None:
        self.run, self.alone = run, alone
        self.gives_lsn, self.looks_first = gives_lsn, looks_first
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def attempt(self) -> None:
        """Run it, and keep what it returns or raises."""
        self.result = self.error = None
        try:
            self.result = self.run()
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            self.error = error

    def settle(self) -> None:
        """Tell the task, in its loop; one that was cancelled needs nothing."""
        if self.future.done():
            return
        if isinstance(self.error, StopIteration):  # which no future takes
            self.future.set_exception(RuntimeError(f"raised {self.error!r}"))
        elif self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def tell(calls: Sequence[Call]) -> None:
    """Tell the tasks what became of their calls; wakes each loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Call]] = {}
    for call in calls:
        by_loop.setdefault(call.loop, []).append(call)
    for loop, own in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_settle, own)


def _settle(calls: Sequence[Call]) -> None:
    for call in calls:
        call.settle()


def closed_error() -> ClosedError:
    """Return the error of a call after `close`."""
    return ClosedError("the AsyncCache is closed; open a new one")


def refuse_forked(pid: int) -> None:
    """Refuse a call in a process that inherited the cache, whose threads it has not.

    Raises:
        ForkedStoreError: `pid`, which opened it, is another process.
    """
    if pid != os.getpid():
        raise ForkedStoreError(
            f"the AsyncCache was opened before the fork, by process {pid}; open one "
            "after the fork"
        )


class WriteQueue:
    """Queue calls, and run them group by group in a thread of its own.

    The thread is started by the first call and ends with `close`, when the queue is
    forgotten, and with the interpreter, after what is queued.

    Args:
        run_group: makes each call of a group and sets its result or error.
    """

    def __init__(self, run_group: Callable[[Sequence[Call]], None]) -> None:
        self._run_group = run_group
        self._mutex = threading.Lock()
        self._waiting: deque[Call] = deque()
        self._draining = self._closed = False
        self._alone_count = 0  # calls that are queued or run, and go alone
        self._pid = os.getpid()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hypercache-writer")

    def submit(self, call: Call) -> asyncio.Future[Any]:
        """Queue a call; its future is done when its group is.

        Raises:
            ClosedError: the queue is closed, or the interpreter ends.
            ForkedStoreError: the thread is in the parent of this process.
        """
        refuse_forked(self._pid)
        with self._mutex:
            if self._closed:
                raise closed_error()
            if not self._draining:
                self._start()
            self._alone_count += call.alone
            self._waiting.append(call)
        return call.future

    def run_here(self, run: Callable[[], Any]) -> tuple[bool, Any]:
        """Make a short call in this thread, unless one that goes alone is on its way.

        Return whether it was made, and its result.
        """
        with self._mutex:
            return (False, None) if self._alone_count else (True, run())

    def close(self) -> None:
        """Accept nothing more and wait for what is queued; repeatable."""
        with self._mutex:
            self._closed = True
        self._thread.shutdown()

    def _start(self) -> None:
        try:
            self._thread.submit(self._drain)
        except RuntimeError as error:
            raise ClosedError(f"nothing can be written any more: {error}") from error
        self._draining = True

    def _drain(self) -> None:
        while group := self._take():
            try:
                self._run_group(group)
            except BaseException as error:  # noqa: BLE001 - nobody may wait for ever
                for call in group:
                    call.error = call.error or error
            with self._mutex:
                self._alone_count -= group[0].alone
            tell(group)

    def _take(self) -> list[Call]:
        group: list[Call] = []
        with self._mutex:
            while self._waiting and len(group) < GROUP_COUNT:
                if group and (self._waiting[0].alone or group[0].alone):
                    break
                call = self._waiting.popleft()
                if not call.future.cancelled() or call.alone:
                    group.append(call)
            self._draining = bool(group)
        return group

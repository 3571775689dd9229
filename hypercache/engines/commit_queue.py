"""Let the threads of a process share commits: one leads, the others are led.

The first to come leads. Once it may write it takes what has been queued by then,
commits all of it at once, tells everybody, and lets the next one in the queue lead.
What a commit is, and how long one waits for the right to make it, is the owner's.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Generic, TypeVar


class Request:
    """One write on its way: who queues it waits until it is `done`."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.done = False
        self.leads = False
        self.woken = threading.Lock()
        self.woken.acquire()


_RequestT = TypeVar("_RequestT", bound=Request)


class CommitQueue(Generic[_RequestT]):
    """Bring the requests of many threads into few commits, in their order.

    Args:
        writing: a block in which this thread may commit; may wait, or refuse.
        commit: commits a group, called in that block. On return all of it is done.
            If it raises, what is not done yet is left to the next leader.
        max_count, max_bytes: what a group may hold; one request always fits.
    """

    def __init__(
        self,
        writing: Callable[[], AbstractContextManager[None]],
        commit: Callable[[Sequence[_RequestT]], None],
        *,
        max_count: int,
        max_bytes: int,
    ) -> None:
        self._writing, self._commit = writing, commit
        self._max_count, self._max_bytes = max_count, max_bytes
        self._mutex = threading.Lock()
        self._waiting: deque[_RequestT] = deque()
        self._led = False

    def run(self, request: _RequestT) -> None:
        """Return when the request is done; it may raise what `writing` refuses with.

        An exception from outside, KeyboardInterrupt say, takes the request back if no
        leader has begun with it; else nobody knows.
        """
        try:
            with self._mutex:
                request.leads = not self._led
                self._led = True
                self._waiting.append(request)
            if not request.leads:
                request.woken.acquire()
            if not request.done:
                self._lead()
        finally:
            try:
                self._leave(request)
            finally:
                # Again, should an interrupt have cut it short: without a leader all
                # would wait for ever. It does nothing when it was done already.
                self._leave(request)

    def waiting_count(self) -> int:
        """Return how many requests no leader has taken yet."""
        return len(self._waiting)

    def _lead(self) -> None:
        group: list[_RequestT] = []
        try:
            with self._writing():
                self._take(group)
                self._commit(group)
        finally:
            with self._mutex:
                left = [request for request in group if not request.done]
                self._waiting.extendleft(reversed(left))
            for request in group:
                if request.done and not request.leads:
                    request.woken.release()

    def _take(self, group: list[_RequestT]) -> None:
        with self._mutex:
            size_bytes = 0
            while self._waiting and len(group) < self._max_count:
                size_bytes += self._waiting[0].size_bytes
                if group and size_bytes > self._max_bytes:
                    return
                group.append(self._waiting.popleft())

    def _leave(self, request: _RequestT) -> None:
        with self._mutex:
            if request in self._waiting:
                self._waiting.remove(request)
            if not request.leads:
                return
            request.leads = False
            if self._waiting:
                heir = self._waiting[0]
                heir.leads = True
                heir.woken.release()
            else:
                self._led = False

"""FIFO queues that any key can leave, in constant time and eight bytes a key.

A key is in one queue at most. One that leaves from the middle stays where it is, and is
passed over when its turn comes; the queues are rebuilt when half of them is such keys.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable

_FEW = 64  # so many passed over are not worth a rebuild


class Queues:
    """Keep keys in `count` queues, the oldest of each first."""

    def __init__(self, count: int) -> None:
        self._queues: list[deque[bytes]] = [deque() for _ in range(count)]
        self._gone: dict[bytes, int] = {}
        self._gone_count = 0

    def __len__(self) -> int:
        return sum(map(len, self._queues)) - self._gone_count

    def append(self, queue: int, key: bytes) -> None:
        """Add a key that is in none."""
        self._queues[queue].append(key)

    def pop(self, queue: int) -> bytes | None:
        """Take out the oldest key of a queue; None if it is empty."""
        keys, gone = self._queues[queue], self._gone
        while keys:
            key = keys.popleft()
            if not gone or key not in gone:
                return key
            self._pass_over(key)
        return None

    def length(self, queue: int) -> int:
        """Return how many keys are in a queue, some of them perhaps gone."""
        return len(self._queues[queue])

    def discard(self, key: bytes) -> None:
        """Take a key out of the queue that it is in."""
        # Where it is is not known: of several occurrences the first one that comes up
        # is passed over, which changes the place of a key but never its number.
        self._gone[key] = self._gone.get(key, 0) + 1
        self._gone_count += 1
        if self._gone_count > _FEW + len(self):
            self._rebuild()

    def swap(self, one: int, other: int) -> None:
        """Let two queues change places."""
        queues = self._queues
        queues[one], queues[other] = queues[other], queues[one]

    def overhead_bytes(self) -> int:
        """Return the memory that the queues take, keys not counted."""
        return sum(map(sys.getsizeof, self._queues)) + sys.getsizeof(self._gone)

    def _rebuild(self) -> None:
        self._queues = [deque(self._present(keys)) for keys in self._queues]

    def _present(self, keys: Iterable[bytes]) -> Iterable[bytes]:
        for key in keys:
            if key in self._gone:
                self._pass_over(key)
            else:
                yield key

    def _pass_over(self, key: bytes) -> None:
        self._gone_count -= 1
        self._gone[key] -= 1
        if not self._gone[key]:
            del self._gone[key]

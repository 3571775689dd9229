"""First in, first out: the plain queue, and SIEVE, which spares what was read."""

from __future__ import annotations

import sys
from collections.abc import Callable

from hypercache.eviction.policy import EvictionPolicy
from hypercache.eviction.queues import Queues

_AHEAD, _PASSED = 0, 1


class Fifo(EvictionPolicy):
    """Evict what was stored first; reading and overwriting change nothing."""

    def __init__(self) -> None:
        self._queue = Queues(1)

    def access(self, key: bytes) -> None:
        """Do nothing."""

    def set(
        self, key: bytes, *, new: bool, size_bytes: int, expires_at_ms: int
    ) -> None:
        """Let a newcomer in at the end."""
        del size_bytes, expires_at_ms
        if new:
            self._queue.append(0, key)

    def delete(self, key: bytes) -> None:
        """Take a key out."""
        self._queue.discard(key)

    def candidate(self) -> bytes | None:
        """Return the oldest key."""
        return self._queue.pop(0)

    def clear(self) -> None:
        """Forget every key."""
        self._queue = Queues(1)

    def __len__(self) -> int:
        return len(self._queue)

    def overhead_bytes(self) -> int:
        """Return the memory of the queue."""
        return self._queue.overhead_bytes()


class Sieve(EvictionPolicy):
    """Evict the oldest key that was not read since a hand last passed it.

    Zhang et al., "SIEVE is simpler than LRU", NSDI 2024. The hand goes from the oldest
    key to the newest and takes the first one that was not read; those that were stay
    where they are. Here the list is cut at the hand: what it has passed, and what lies
    ahead of it.
    """

    def __init__(self) -> None:
        self._queues = Queues(2)
        self._read: set[bytes] = set()

    def access(self, key: bytes) -> None:
        """Mark a key."""
        self._read.add(key)

    def fast_access(self) -> Callable[[bytes], None]:
        """Return what costs one call in C."""
        return self._read.add

    def set(
        self, key: bytes, *, new: bool, size_bytes: int, expires_at_ms: int
    ) -> None:
        """Let a newcomer in at the end; to overwrite is to access."""
        del size_bytes, expires_at_ms
        if new:
            self._queues.append(_AHEAD, key)
        else:
            self._read.add(key)

    def delete(self, key: bytes) -> None:
        """Take a key out."""
        self._queues.discard(key)
        self._read.discard(key)

    def candidate(self) -> bytes | None:
        """Return the key that the hand finds."""
        queues, read = self._queues, self._read
        if len(read) > len(queues):
            read.clear()  # reads noted behind a delete have piled up
        while len(queues):
            key = queues.pop(_AHEAD)
            if key is None:
                queues.swap(_AHEAD, _PASSED)
            elif key in read:
                read.discard(key)
                queues.append(_PASSED, key)
            else:
                return key
        return None

    def clear(self) -> None:
        """Forget every key."""
        self._queues = Queues(2)
        self._read.clear()

    def __len__(self) -> int:
        return len(self._queues)

    def overhead_bytes(self) -> int:
        """Return the memory of queue and marks."""
        return self._queues.overhead_bytes() + sys.getsizeof(self._read)

"""Keys by the time at which they expire, in constant time a key.

Expiries are rounded up to 1/256 of the time that is left, so that however many keys
there are, the number of distinct ones has a bound: some 256 for each power of two of
milliseconds. A heap orders these, and each has a list of keys.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable

_EXACT_BITS = 9  # a time left of so many bits is kept to the millisecond


class Deadlines:
    """Hold keys, each perhaps more than once, under the time at which it is due."""

    def __init__(self, now_ms: Callable[[], float]) -> None:
        self._now_ms = now_ms
        self._due: list[int] = []
        self._keys: dict[int, list[bytes]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, key: bytes, expires_at_ms: int) -> int:
        """Add a key; return when it is due, not before it expires."""
        left_ms = max(0, expires_at_ms - int(self._now_ms()))
        grain = max(0, left_ms.bit_length() - _EXACT_BITS)
        due_ms = -(-expires_at_ms >> grain) << grain
        keys = self._keys.get(due_ms)
        if keys is None:
            keys = self._keys[due_ms] = []
            heapq.heappush(self._due, due_ms)
        keys.append(key)
        self._count += 1
        return due_ms

    def first_ms(self) -> int | None:
        """Return when the next key is due."""
        return self._due[0] if self._due else None

    def pop(self) -> tuple[bytes, int] | None:
        """Take out a key that is due next, and return it with the time."""
        if not self._due:
            return None
        due_ms = self._due[0]
        keys = self._keys[due_ms]
        key = keys.pop()
        self._count -= 1
        if not keys:
            heapq.heappop(self._due)
            del self._keys[due_ms]
        return key, due_ms

    def overhead_bytes(self) -> int:
        """Return the memory of heap and lists, keys not counted."""
        lists = len(self._keys) * sys.getsizeof([]) + 8 * self._count
        return lists + sys.getsizeof(self._due) + sys.getsizeof(self._keys)

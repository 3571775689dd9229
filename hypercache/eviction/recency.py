"""Least recently used, and least frequently used: exact, with a table of all keys."""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Callable

from hypercache.eviction.policy import EvictionPolicy

UNREAD = 1 << 14  # hits that wait to be counted; with more the oldest are forgotten


class Lru(EvictionPolicy):
    """Evict what was neither read nor written for longest."""

    def __init__(self) -> None:
        self._order: OrderedDict[bytes, None] = OrderedDict()

    def access(self, key: bytes) -> None:
        """Make a key the last one to go."""
        try:  # noqa: SIM105 - a context manager takes longer than the work
            self._order.move_to_end(key)
        except KeyError:
            pass  # it has just gone

    def set(
        self, key: bytes, *, new: bool, size_bytes: int, expires_at_ms: int
    ) -> None:
        """Make a key the last one to go."""
        del size_bytes, expires_at_ms
        self._order[key] = None
        if not new:
            self._order.move_to_end(key)

    def delete(self, key: bytes) -> None:
        """Take a key out."""
        self._order.pop(key, None)

    def candidate(self) -> bytes | None:
        """Return the key that was not used for longest."""
        return self._order.popitem(last=False)[0] if self._order else None

    def clear(self) -> None:
        """Forget every key."""
        self._order = OrderedDict()

    def __len__(self) -> int:
        return len(self._order)

    def overhead_bytes(self) -> int:
        """Return the memory of the table."""
        return sys.getsizeof(self._order)


class Lfu(EvictionPolicy):
    """Evict what was used least often; of several, what was not used for longest.

    Shah, Mitra and Matani, "An O(1) algorithm for implementing the LFU cache eviction
    scheme", 2010: one list for each number of uses.
    """

    def __init__(self) -> None:
        self._unread: deque[bytes] = deque(maxlen=UNREAD)
        self._uses: dict[bytes, int] = {}
        self._lists: dict[int, OrderedDict[bytes, None]] = {}
        self._least = 1

    def access(self, key: bytes) -> None:
        """Note a use; counting is left to writers."""
        self._unread.append(key)

    def fast_access(self) -> Callable[[bytes], None]:
        """Return what costs one call in C."""
        return self._unread.append

    def set(
        self, key: bytes, *, new: bool, size_bytes: int, expires_at_ms: int
    ) -> None:
        """Count a use."""
        del size_bytes, expires_at_ms
        self._count_reads()
        if new:
            self._enlist(key, 1)
            self._least = 1
        else:
            self._count(key)

    def delete(self, key: bytes) -> None:
        """Take a key out."""
        if key in self._uses:
            self._strike(key)

    def candidate(self) -> bytes | None:
        """Return the key that was used least often."""
        self._count_reads()
        if not self._uses:
            return None
        while self._least not in self._lists:
            self._least += 1
        key = next(iter(self._lists[self._least]))
        self._strike(key)
        return key

    def clear(self) -> None:
        """Forget every key."""
        self._unread.clear()
        self._uses, self._lists, self._least = {}, {}, 1

    def __len__(self) -> int:
        return len(self._uses)

    def overhead_bytes(self) -> int:
        """Return the memory of the tables."""
        tables = self._uses, self._unread, self._lists, *self._lists.values()
        return sum(map(sys.getsizeof, tables))

    def _count_reads(self) -> None:
        for _ in range(len(self._unread)):
            self._count(self._unread.popleft())

    def _count(self, key: bytes) -> None:
        if key in self._uses:
            self._enlist(key, self._strike(key) + 1)

    def _enlist(self, key: bytes, uses: int) -> None:
        self._uses[key] = uses
        self._lists.setdefault(uses, OrderedDict())[key] = None

    def _strike(self, key: bytes) -> int:
        uses = self._uses.pop(key)
        keys = self._lists[uses]
        del keys[key]
        if not keys:
            del self._lists[uses]
        return uses

"""Evict what expires next."""

from __future__ import annotations

import sys
from collections.abc import Callable

from hypercache.eviction.deadlines import Deadlines
from hypercache.eviction.policy import EvictionPolicy
from hypercache.eviction.queues import Queues

_FEW = 64  # so many outdated entries are not worth a rebuild


class SoonestExpiry(EvictionPolicy):
    """Evict the key that expires next; those that never do go last, oldest first.

    Two keys whose expiries differ by less than 1/256 of the time left count as equal.
    """

    def __init__(self, now_ms: Callable[[], float]) -> None:
        self._now_ms = now_ms
        self._empty()

    def access(self, key: bytes) -> None:
        """Do nothing."""

    def set(
        self, key: bytes, *, new: bool, size_bytes: int, expires_at_ms: int
    ) -> None:
        """Note when a key expires."""
        del size_bytes
        if not new:
            self.delete(key)
        if not expires_at_ms:
            self._lasting.append(0, key)
            return
        self._due[key] = self._deadlines.add(key, expires_at_ms)
        if len(self._deadlines) > _FEW + 2 * len(self._due):
            self._rebuild()

    def delete(self, key: bytes) -> None:
        """Take a key out."""
        if self._due.pop(key, None) is None:
            self._lasting.discard(key)

    def candidate(self) -> bytes | None:
        """Return the key that expires next."""
        while (found := self._deadlines.pop()) is not None:
            key, due_ms = found
            if self._due.get(key) == due_ms:
                del self._due[key]
                return key
        return self._lasting.pop(0)

    def clear(self) -> None:
        """Forget every key."""
        self._empty()

    def __len__(self) -> int:
        return len(self._due) + len(self._lasting)

    def overhead_bytes(self) -> int:
        """Return the memory of all tables."""
        own = self._deadlines.overhead_bytes() + self._lasting.overhead_bytes()
        return own + sys.getsizeof(self._due)

    def _empty(self) -> None:
        self._deadlines = Deadlines(self._now_ms)
        self._due: dict[bytes, int] = {}
        self._lasting = Queues(1)

    def _rebuild(self) -> None:
        """Leave out what was deleted or has another expiry by now."""
        self._deadlines = Deadlines(self._now_ms)
        for key, due_ms in self._due.items():
            self._due[key] = self._deadlines.add(key, due_ms)

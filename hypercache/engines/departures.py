"""Count what leaves a store by itself, and keep it for those who want to know."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple


class Departure(NamedTuple):
    """A key that is gone, for want of room, or because its time was over."""

    key: bytes
    expired: bool


class Departures:
    """Noted by an engine under its lock, once the write is made; read without.

    Attributes:
        expired_count: entries that were removed because they had expired.
        waiting: what was noted since somebody took it; None while nobody wants it.
    """

    def __init__(self) -> None:
        self.expired_count = 0
        self.waiting: deque[Departure] | None = None

    def note(self, evicted: Iterable[bytes], expired: Iterable[bytes]) -> None:
        """Note keys that are gone; one that is in both has expired."""
        late = set(expired)
        self.expired_count += len(late)
        if self.waiting is not None:
            self.waiting += (Departure(key, True) for key in late)
            self.waiting += (
                Departure(key, False) for key in evicted if key not in late
            )

"""Keep writes back until they are durable.

Under the policy `always` a write is staged first and published by the leader of its
group once it is on the medium, in LSN order, so that no reader sees what a crash could
still take away.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping

from hypercache.engines.slots import ABSENT, Absent, Slot

Slots = Mapping[bytes, Slot]


class StagedTable(ABC):
    """Map keys to slots; `active` holds what is published.

    Writers call everything under the engine's lock; readers look into `active`
    without one.
    """

    def __init__(self) -> None:
        self.active: dict[bytes, Slot] = {}
        self._staged: deque[tuple[int, Slots | None]] = deque()

    @abstractmethod
    def change(self, lsn: int, slots: Slots | None) -> None:
        """Publish a batch at once; None stands for a clear."""

    def stage(self, lsn: int, slots: Slots | None) -> None:
        """Keep a batch until `publish` is told that its LSN is durable."""
        self._staged.append((lsn, slots))

    def publish(self, lsn: int) -> bool:
        """Publish the staged batches up to `lsn`; tell whether a clear was there."""
        cleared = False
        while self._staged and self._staged[0][0] <= lsn:
            staged_lsn, slots = self._staged.popleft()
            self.change(staged_lsn, slots)
            cleared = cleared or slots is None
        return cleared

    def has_staged(self) -> bool:
        """Tell whether a batch waits to be published."""
        return bool(self._staged)

    def find_staged(self, key: bytes) -> tuple[int, Slot | Absent]:
        """Return LSN and slot of the newest staged change of a key, or 0, ABSENT."""
        for lsn, slots in reversed(self._staged):
            if slots is None:
                return lsn, None
            if key in slots:
                return lsn, slots[key]
        return 0, ABSENT

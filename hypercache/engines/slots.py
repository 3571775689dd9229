"""What tables in RAM hold for a key.

A slot is the value, `(value, expires_at_ms)`, or None for a key known to be absent: a
value without expiry, the common case, costs no object beside itself.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from hypercache.engines.base import Entry
from hypercache.storage import Clock

Slot: TypeAlias = bytes | tuple[bytes, int] | None


class Absent:
    """Mark the key that a table says nothing about."""


ABSENT: Final = Absent()
# Estimates: two bytes objects' headers and a dict's places; a tuple and an int.
SLOT_BYTES, EXPIRY_BYTES = 160, 88


def slot_of(value: bytes, expires_at_ms: int) -> Slot:
    """Return the slot that holds a value."""
    return (value, expires_at_ms) if expires_at_ms else value


def entry_of(slot: Slot) -> Entry | None:
    """Return the entry in a slot, expired or not."""
    if slot is None:
        return None
    return Entry(*slot) if isinstance(slot, tuple) else Entry(slot)


def slot_bytes(key: bytes, slot: Slot) -> int:
    """Estimate the memory that a key and its slot take."""
    if slot is None:
        return SLOT_BYTES + len(key)
    if isinstance(slot, tuple):
        return SLOT_BYTES + EXPIRY_BYTES + len(key) + len(slot[0])
    return SLOT_BYTES + len(key) + len(slot)


class ExpiryClock:
    """Judge expiry by the wall clock at open and the monotonic clock since.

    So a jump of the wall clock expires nothing early.
    """

    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._offset_ms = clock.wall_ms() - clock.monotonic() * 1000

    def now_ms(self) -> float:
        """Return the time in milliseconds since the epoch."""
        return self._offset_ms + self._monotonic() * 1000

    def live(self, slot: Slot) -> Entry | None:
        """Return the entry in a slot, None if it is absent or expired."""
        entry = entry_of(slot)
        if entry is None or not entry.expires_at_ms:
            return entry
        return entry if entry.expires_at_ms > self.now_ms() else None

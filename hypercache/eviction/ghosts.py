"""Remember which keys were evicted lately, without the keys.

A table of 64-bit slots: the upper half is the CRC-32 of a key, the lower half says when
it was evicted, counted in evictions, and from where. A key may be in one of two slots;
of two ghosts that want the same one the younger stays. Now and then two keys have one
CRC: then a key is taken for another that was evicted, which costs a worse decision.
"""

from __future__ import annotations

import sys
from array import array
from zlib import crc32

_FIRST_SLOTS = 64
_SLOT_BYTES = 8
_STAMPS = 1 << 31  # a stamp is counted modulo this


class Ghosts:
    """Hold what was evicted within the last `reach` evictions.

    Who evicts sets `reach` before it adds, in proportion to what it holds.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * _FIRST_SLOTS))
        self.count = 0  # evictions so far, the stamp of the last one
        self.reach = 0

    def add(self, key: bytes, source: int) -> None:
        """Note an eviction from `source`, 0 or 1."""
        if 4 * self.reach > 3 * len(self._slots):
            self._grow()
        self.count += 1
        stamp = self.count % _STAMPS
        self._place(crc32(key), stamp << 1 | source)

    def take(self, key: bytes) -> tuple[int, int] | None:
        """Forget a key; return where it was evicted from, and how long ago.

        Long ago is counted in evictions. None for a key that is not known.
        """
        tag = crc32(key)
        slots = self._slots
        at = tag % len(slots)
        for place in (at, at ^ 1):
            slot = slots[place]
            if slot >> 32 == tag and slot:
                slots[place] = 0
                age = self._age(slot)
                return (slot & 1, age) if age < self.reach else None
        return None

    def clear(self) -> None:
        """Forget all."""
        self._slots = array("Q", bytes(8 * _FIRST_SLOTS))

    def overhead_bytes(self, reach: int) -> int:
        """Return the memory of the table, or of one that is made for such a reach."""
        return max(sys.getsizeof(self._slots), _SLOT_BYTES * _slot_count(reach))

    def _place(self, tag: int, low: int) -> None:
        slots = self._slots
        at = tag % len(slots)
        one, other = slots[at], slots[at ^ 1]
        if one >> 32 != tag and (other >> 32 == tag or self._is_older(other, one)):
            at ^= 1
        slots[at] = tag << 32 | low

    def _is_older(self, slot: int, than: int) -> bool:
        if not slot or not than:
            return not slot and bool(than)
        return self._age(slot) > self._age(than)

    def _age(self, slot: int) -> int:
        return (self.count - (slot >> 1)) % _STAMPS

    def _grow(self) -> None:
        old = self._slots
        # Even, because the two places of a key are those of a pair.
        self._slots = array("Q", [0]) * _slot_count(self.reach)
        for slot in old:
            if slot and self._age(slot) < self.reach:
                self._place(slot >> 32, slot & 0xFFFFFFFF)


def _slot_count(reach: int) -> int:
    return 2 * (reach + _FIRST_SLOTS)

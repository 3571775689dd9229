"""What Python spends on an entry, as this interpreter says it.

An entry is a key, a value, and with an expiry a tuple and an int. The dict that holds
it, and what a policy notes of it, are asked for their sizes as a whole: both grow in
leaps.
"""

from __future__ import annotations

import sys

from hypercache.engines.envelope import LENGTH_BYTES, LMDB_KEY_BYTES, SHORT_KEY_BYTES
from hypercache.engines.slots import Slot

_BYTES = sys.getsizeof(b"")
# The smallest int that is no power of two of a digit; an expiry in ms is as long.
_EXPIRY = sys.getsizeof((b"", 1)) + sys.getsizeof(1 << 40)
# CPython hands out blocks of up to 512 bytes in steps of 16; larger ones are malloc's,
# which puts 8 bytes before each and rounds to 16, too.
_SMALL_BLOCK, _STEP, _MALLOC = 512, 16, 8


_SLOTS_PER_KEY = 3  # what a dict makes room for when it is made anew
_PLACE = 24  # hash, key and value in a table of keys that are not all str
_TABLE = sys.getsizeof({b"": None}) - (1 << 3) - 5 * _PLACE  # all but 8 slots, 5 places


def dict_bytes(count: int) -> int:
    """Return what a dict of so many keys takes that come and go.

    CPython makes it anew whenever its places are used up, deleted ones counted, with
    slots for three times as many keys as there are, rounded up to a power of two.
    """
    slot_bits = max(3, (_SLOTS_PER_KEY * count - 1).bit_length())
    slots = 1 << slot_bits
    width = 1 if slot_bits < 8 else 2 if slot_bits < 16 else 4 if slot_bits < 32 else 8
    return _TABLE + slots * width + (slots << 1) // 3 * _PLACE


class DictCost:
    """Tell what a dict takes for a number of keys, asked for numbers close together."""

    def __init__(self) -> None:
        self._least, self._most, self._bytes = 0, -1, 0

    def of(self, count: int) -> int:
        """Return `dict_bytes` of a number of keys."""
        if not self._least <= count <= self._most:
            slots = 1 << max(3, (_SLOTS_PER_KEY * count - 1).bit_length())
            self._least = slots // 2 // _SLOTS_PER_KEY + 1 if slots > 8 else 0
            self._most = slots // _SLOTS_PER_KEY
            self._bytes = dict_bytes(count)
        return self._bytes


def entry_bytes(key: bytes, slot: Slot) -> int:
    """Return what a key and its slot take, 0 for one that is absent."""
    if slot is None:
        return 0
    if type(slot) is tuple:
        return block_bytes(len(key)) + _value_bytes(slot[0]) + _EXPIRY
    return block_bytes(len(key)) + _value_bytes(slot)


def _value_bytes(value: object) -> int:
    if type(value) is bytes:
        return block_bytes(len(value))
    return block_bytes(sys.getsizeof(value) - _BYTES)


def stored_bytes(key: bytes, slot: Slot) -> int:
    """Return what LMDB stores for a key and its slot, but for `HEAD` of the envelope.

    What its pages add is not counted.
    """
    if slot is None:
        return 0
    length = len(slot) if isinstance(slot, bytes) else len(slot[0])
    if len(key) <= SHORT_KEY_BYTES:
        return len(key) + length
    return LMDB_KEY_BYTES + LENGTH_BYTES + len(key) + length


def block_bytes(length: int) -> int:
    """Return what CPython takes for a bytes object of a length."""
    size = _BYTES + length
    if size > _SMALL_BLOCK:
        size += _MALLOC
    return (size + _STEP - 1) // _STEP * _STEP

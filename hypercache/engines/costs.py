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

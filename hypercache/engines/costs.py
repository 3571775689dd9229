"""What Python spends on an entry, as this interpreter says it.

An entry is a key, a value, and with an expiry a tuple and an int. The dict that holds
it, and what a policy notes of it, are asked for their sizes as a whole: both grow in
leaps.
"""

from __future__ import annotations

import sys

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
        return _block(len(key)) + _block(len(slot[0])) + _EXPIRY
    return _block(len(key)) + _block(len(slot))


def _block(length: int) -> int:
    size = _BYTES + length
    if size > _SMALL_BLOCK:
        size += _MALLOC
    return (size + _STEP - 1) // _STEP * _STEP

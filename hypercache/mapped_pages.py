"""The part of the seam that gives pages of a mapped file back to the system.

What was read of a mapped file counts as memory of this process until the system wants
it back, though it is the page cache's. Given back, it stays there, and the next look
costs a fault. Linux only; elsewhere nothing is given back.
"""

from __future__ import annotations

import ctypes
import os
from typing import NamedTuple

# How much the system maps at the first look at a page: fault_around_bytes.
FAULT_BYTES = 64 * 1024
_MADV_DONTNEED = 4
_MAPS = "/proc/self/maps"


class Mapped(NamedTuple):
    """Where a file is mapped, shared with its page cache."""

    address: int
    length: int


def maybe_mapped(path: str) -> list[Mapped]:
    """Return where a file is mapped, nothing where that cannot be told."""
    try:
        wanted = os.fsencode(os.path.realpath(path))
        with open(_MAPS, "rb") as maps:
            return list(_shared(maps.read(), wanted))
    except (OSError, ValueError):
        return []


def _shared(table: bytes, path: bytes) -> list[Mapped]:
    found = []
    for line in table.splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[5] == path and fields[1][3:4] == b"s":
            low, high = (int(end, 16) for end in fields[0].split(b"-"))
            found.append(Mapped(low, high - low))
    return found


def give_back(mapped: Mapped) -> bool:
    """Give all pages of a map back; tell whether that worked.

    It must be mapped still, and shared: of other memory the content would be lost.
    """
    try:
        madvise = ctypes.CDLL(None, use_errno=True).madvise
    except (AttributeError, OSError):
        return False
    where = ctypes.c_void_p(mapped.address), ctypes.c_size_t(mapped.length)
    failed: int = madvise(*where, _MADV_DONTNEED)
    return not failed

"""Invariant: a saved filter is loaded whole or refused, and then works; memory bounded.

The checksum is made right in most inputs: what is loaded then must be saved as the
same bytes, and keep what is added to it.
"""

from __future__ import annotations

import contextlib

from crc32c import crc32c

from fuzz.feed import Feed
from hypercache.errors import (
    CorruptionError,
    FilterFullError,
    UnsupportedFormatError,
)
from hypercache.filter import CuckooFilter

_CRC_BYTES = 4


def check(data: bytes) -> None:
    """Load a filter, as it is or with its checksum made right, and use it."""
    feed = Feed(data)
    mode, content = feed.number(), feed.rest()
    if mode % 4:
        content += crc32c(content).to_bytes(_CRC_BYTES, "little")
    with contextlib.suppress(CorruptionError, UnsupportedFormatError):
        _use(CuckooFilter.from_bytes(content), content)


def _use(found: CuckooFilter, content: bytes) -> None:
    assert found.to_bytes() == content
    assert found.table_bytes < len(content)
    count = len(found)
    assert 0 <= count <= found.capacity
    with contextlib.suppress(FilterFullError):
        found.add(content)
        assert content in found
        assert found.remove(content)
    assert len(found) == count


def seeds() -> dict[str, bytes]:
    """Return filters of each width, empty and full, whole and cut."""
    inputs = {"nothing": b"\x01", "magic": b"\x01HCFLT\n\x01\x00"}
    for width, fp_rate in ((1, 0.03), (2, 0.01), (4, 1e-6)):
        empty = CuckooFilter(5, fp_rate, seed=width)
        full = CuckooFilter(20, fp_rate)
        for number in range(20):
            full.add(b"%d" % number)
        for name, made in (("empty", empty), ("full", full)):
            data = made.to_bytes()
            inputs[f"{name}-{width}"] = b"\x01" + data[:-_CRC_BYTES]
            inputs[f"{name}-{width}-cut"] = b"\x01" + data[:-9]
            inputs[f"{name}-{width}-sealed"] = b"\x00" + data
    return inputs

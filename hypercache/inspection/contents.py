"""What the frames of a log hold: ops, and the entries of a base."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import zstandard

from hypercache import ops
from hypercache.aof.base import decode_block
from hypercache.frame import KIND_BLOCK, Frame
from hypercache.ops import Clear, Delete, Op, Put, Touch

# What a frame can hold, in the order in which it is listed.
NAMES: dict[type[Op], str] = {
    Put: "put",
    Delete: "delete",
    Touch: "touch",
    Clear: "clear",
}
ENTRY = "entry"


def ops_of(frame: Frame) -> Sequence[tuple[Op, int]]:
    """Return what a frame holds, and the bytes each takes in the file.

    An entry of a base is the Put it amounts to. Of a compressed block each entry takes
    the share that it has before compression.

    Raises:
        ValueError: the payload is not what this version writes.
    """
    if frame.kind == KIND_BLOCK:
        return _entries(frame)
    return ops.decode_sized(frame.payload, frame.op_count)


def lsns_of(frame: Frame, count: int) -> Iterable[int]:
    """Return the LSNs of what a frame holds; entries have that of their base."""
    if frame.kind == KIND_BLOCK:
        return [frame.lsn - 1] * count
    return (frame.lsn,) if count == 1 else range(frame.lsn, frame.lsn + count)


def _entries(frame: Frame) -> Sequence[tuple[Op, int]]:
    block = decode_block(frame.payload, zstandard.ZstdDecompressor().decompress)
    puts = [
        Put(key, slot) if isinstance(slot, bytes) else Put(key, *slot)
        for key, slot in block.items()
    ]
    total = max(1, sum(len(put.key) + len(put.value) for put in puts))
    room = len(frame.payload)
    found: list[tuple[Op, int]] = []
    done, start = 0, 0
    for put in puts:
        done += len(put.key) + len(put.value)
        end = done * room // total
        found.append((put, end - start))
        start = end
    return found

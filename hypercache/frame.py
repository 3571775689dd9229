"""Encode and decode frames: bytes in, bytes out, no files.

The layout is specified in docs/wal_format.md; this module holds its constants and
the one decoder that the engine, the tools and recovery share.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from crc32c import crc32c

HEADER_BYTES = 32
MAX_PAYLOAD_BYTES = 1 << 30
KIND_OPS = 1
KIND_FOOTER = 2
MAGIC = 0x9EC5
MAGIC_BYTES = b"\xc5\x9e"
MAGIC_OFFSET = 30

CRC = struct.Struct("<I")
# Everything behind the CRC: length, lsn, synced_lsn, op count, kind, flags, magic.
REST = struct.Struct("<IQQIBBH")
assert CRC.size + REST.size == HEADER_BYTES

SEED_MASK = 0xFFFFFFFF


class Frame(NamedTuple):
    """What a frame says, once its checksum holds."""

    offset: int
    lsn: int
    synced_lsn: int
    op_count: int
    kind: int
    crc: int
    payload: memoryview

    @property
    def end(self) -> int:
        """Return the offset behind this frame."""
        return self.offset + HEADER_BYTES + len(self.payload)

    @property
    def next_lsn(self) -> int:
        """Return the LSN that the next frame must carry."""
        return self.lsn + self.op_count


@dataclass(frozen=True, slots=True)
class Hole:
    """Say where frames stop and why, when it is not the plain end."""

    offset: int
    reason: str


def encode(
    seed: int,
    offset: int,
    lsn: int,
    synced_lsn: int,
    op_count: int,
    kind: int,
    payload: bytes,
) -> tuple[int, bytes]:
    """Return CRC and bytes of a frame here; `seed` is the segment's header CRC."""
    rest = REST.pack(len(payload), lsn, synced_lsn, op_count, kind, 0, MAGIC) + payload
    crc = crc32c(rest, seed ^ (offset & SEED_MASK))
    return crc, CRC.pack(crc) + rest


def decode_at(data: memoryview, offset: int, seed: int) -> Frame | str:
    """Return the frame at `offset`, or the reason why there is none.

    The announced length is checked against the bytes at hand before use, so that
    no damaged header makes anybody allocate memory.
    """
    if offset + HEADER_BYTES > len(data):
        return "the file ends inside a frame header"
    length, lsn, synced_lsn, op_count, kind, flags, magic = REST.unpack_from(
        data, offset + CRC.size
    )
    if magic != MAGIC:
        return "no frame starts here"
    end = offset + HEADER_BYTES + length
    if length > MAX_PAYLOAD_BYTES or end > len(data):
        return "the file ends inside a frame"
    crc = CRC.unpack_from(data, offset)[0]
    if crc != crc32c(data[offset + CRC.size : end], seed ^ (offset & SEED_MASK)):
        return "the checksum does not match"
    if flags or kind not in (KIND_OPS, KIND_FOOTER):
        return f"unknown kind {kind} or flags {flags}"
    payload = data[offset + HEADER_BYTES : end]
    return Frame(offset, lsn, synced_lsn, op_count, kind, crc, payload)


class FrameScanner:
    """Walk the frames of one segment; afterwards tell where and why it stopped.

    `hole` is None when the frames end with the data or with nothing but zeros.
    """

    def __init__(self, data: memoryview, start: int, seed: int, lsn: int) -> None:
        self._data, self._seed = data, seed
        self.offset = start
        self.next_lsn = lsn
        self.hole: Hole | None = None

    def __iter__(self) -> Iterator[Frame]:
        while self.offset < len(self._data):
            found = decode_at(self._data, self.offset, self._seed)
            if isinstance(found, str):
                if not is_zero(self._data[self.offset :]):
                    self.hole = Hole(self.offset, found)
                return
            if found.lsn != self.next_lsn:
                reason = f"LSN {found.lsn} where {self.next_lsn} must follow"
                self.hole = Hole(self.offset, reason)
                return
            self.offset, self.next_lsn = found.end, found.next_lsn
            yield found

    def frames_behind_hole(self) -> Iterator[Frame]:
        """Find valid frames behind the hole by searching for the magic."""
        offset = self.offset
        while (offset := _next_magic(self._data, offset + 1)) >= 0:
            found = decode_at(self._data, offset, self._seed)
            if isinstance(found, Frame):
                yield found


def is_zero(data: memoryview, step: int = 1 << 20) -> bool:
    """Tell whether there are only zero bytes, without copying all of them."""
    zeros = bytes(min(step, len(data)))
    return all(
        data[at : at + step] == zeros[: len(data) - at]
        for at in range(0, len(data), step)
    )


def _next_magic(data: memoryview, offset: int, step: int = 1 << 20) -> int:
    # In pieces that overlap by a header, because a memoryview has no find().
    while offset + HEADER_BYTES <= len(data):
        piece = bytes(data[offset : offset + step + HEADER_BYTES])
        at = piece.find(MAGIC_BYTES, MAGIC_OFFSET)
        if at >= 0:
            return offset + at - MAGIC_OFFSET
        offset += step
    return -1

"""Read a file of frames from end to end, over damage and out at its other side.

Unlike the readers of the engines this one takes nothing for granted: a length that is
announced is believed only after the checksum over it holds, piece by piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hypercache.checksum import crc32c
from hypercache.frame import (
    CRC,
    HEADER,
    HEADER_BYTES,
    KIND_BLOCK,
    KIND_FOOTER,
    KIND_OPS,
    MAGIC,
    SEED_MASK,
    Frame,
    Source,
    Window,
)

_LARGE_BYTES = 4 << 20  # what is announced beyond this is summed up before it is read
PIECE_BYTES = 1 << 20
_MAX_FOOTER_BYTES = 32
_LEAST_OP_BYTES = 2  # a Clear


class Gap(NamedTuple):
    """Bytes between frames that are no frame; `zeros` if they are nothing else."""

    start: int
    end: int
    reason: str
    zeros: bool = False


class CarefulWindow(Window):
    """A window that no forged length makes large."""

    def decode_at(self, offset: int, seed: int) -> Frame | str:
        """Return the frame at `offset`, or the reason why there is none."""
        if not self.holds(offset, HEADER_BYTES):
            return "the file ends inside a frame header"
        header = HEADER.unpack_from(self.view, offset - self.base)
        crc, length, magic = header[0], header[1], header[-1]
        if magic == MAGIC and length > _LARGE_BYTES:
            if offset + HEADER_BYTES + length > self.end:
                return "the file ends inside a frame"
            start = offset + CRC.size
            total = HEADER_BYTES + length - CRC.size
            if crc != checksum(self._source, start, total, seed ^ (offset & SEED_MASK)):
                return "the checksum does not match"
        return super().decode_at(offset, seed)

    def is_plausible(self, offset: int, lsn: int) -> bool:
        """Tell whether the header of a candidate may be one: most end here."""
        header = HEADER.unpack_from(self.view, offset - self.base)
        _, length, first, synced_lsn, op_count, kind, _, _ = header
        if first < lsn or synced_lsn >= first + max(op_count, 1):
            return False
        if kind == KIND_FOOTER:
            return bool(op_count == 0 and length <= _MAX_FOOTER_BYTES)
        if kind == KIND_BLOCK:
            return bool(op_count == 0 and length > 0)
        return bool(kind == KIND_OPS and 0 < op_count * _LEAST_OP_BYTES <= length)


def frames_and_gaps(
    source: Source, start: int, seed: int, lsn: int, limit: int | None = None
) -> Iterator[Frame | Gap]:
    """Yield everything from `start` to the end of a file, or `limit`, in order.

    Frames behind a gap have no LSN below `lsn`, or below that of a frame before them.
    """
    window = CarefulWindow(source, limit, PIECE_BYTES)
    offset = start
    while offset < window.end:
        found = window.decode_at(offset, seed)
        if isinstance(found, Frame):
            offset, lsn = found.end, found.next_lsn
            yield found
            del found
            continue
        stop = _next_frame(window, offset + 1, seed, lsn)
        zeros = stop == window.end and window.is_zero_from(offset)
        yield Gap(offset, stop, found, zeros)
        offset = stop


def checksum(source: Source, offset: int, length: int, seed: int) -> int:
    """Return the CRC32C of a part of a file, without holding it."""
    total = seed
    end = offset + length
    while offset < end:
        piece = source.read_at(offset, min(PIECE_BYTES, end - offset))
        if not piece:
            break
        total = crc32c(piece, total)
        offset += len(piece)
    return total


def _next_frame(window: CarefulWindow, offset: int, seed: int, lsn: int) -> int:
    """Return where the next valid frame begins, or where the file ends."""
    while (offset := window.find_candidate(offset)) >= 0:
        if window.is_plausible(offset, lsn) and isinstance(
            window.decode_at(offset, seed), Frame
        ):
            return offset
        offset += 1
    return window.end

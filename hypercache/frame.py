"""Encode and decode frames: bytes in, bytes out, no files.

The layout is specified in docs/wal_format.md; this module holds its constants and
the one decoder that the engine, the tools and recovery share. What is read comes from
a `Source` through a window, so that memory does not grow with the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from hypercache.checksum import crc32c
from hypercache.options import MAX_LSN

HEADER_BYTES = 32
MAX_PAYLOAD_BYTES = 1 << 30
KIND_OPS = 1
KIND_FOOTER = 2
KIND_BLOCK = 3  # of a base file, see docs/aof_format.md
KINDS = frozenset({KIND_OPS, KIND_FOOTER, KIND_BLOCK})
MAGIC = 0x9EC5
MAGIC_BYTES = b"\xc5\x9e"
MAGIC_OFFSET = 30

CRC = struct.Struct("<I")
# Everything behind the CRC: length, lsn, synced_lsn, op count, kind, flags, magic.
REST = struct.Struct("<IQQIBBH")
HEADER = struct.Struct("<IIQQIBBH")
# The same without `synced_lsn`; the last three fields as one number.
RUN = struct.Struct("<IIQ8xII")
_OPS_REST = KIND_OPS | MAGIC << 16
# No window has ops enough to get from here past the highest LSN.
_RUN_LSN = MAX_LSN // 2
_PAYLOAD = slice(HEADER_BYTES - CRC.size, None)  # of what the CRC covers
assert RUN.size == HEADER_BYTES
assert CRC.size + REST.size == HEADER.size == HEADER_BYTES

SEED_MASK = 0xFFFFFFFF
WINDOW_BYTES = 1 << 18  # larger ones leave the CPU's cache


class Source(Protocol):
    """Bytes that are read at offsets: a file, or memory."""

    @property
    def size_bytes(self) -> int:
        """Return how many bytes there are."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes, fewer only where the source ends."""


class BytesSource:
    """A Source of bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self.data = memoryview(data)
        self.size_bytes = len(self.data)

    def read_at(self, offset: int, length: int) -> bytes:
        """Copy a piece."""
        return bytes(self.data[offset : offset + length])


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


class Run(NamedTuple):
    """What frames of ops that follow each other say, taken together."""

    lsn: int
    op_count: int
    crcs: int
    payloads: list[bytes]


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

    `data` is all of a file. The announced length is checked against the bytes at hand
    before use, so that no damaged header makes anybody allocate memory.
    """
    return Window(BytesSource(data)).decode_at(offset, seed)


class Window:
    """A piece of a source: moved along as needed, never longer than the source.

    It takes `step` bytes, or as many as one frame has. `end` is where the source ends:
    at `limit` at the latest, earlier when a file was cut since it was opened.
    """

    def __init__(
        self, source: Source, limit: int | None = None, step: int = WINDOW_BYTES
    ) -> None:
        size = source.size_bytes
        self.end = size if limit is None else min(size, limit)
        self.base = 0  # the offset of the first byte in `view`
        self.data = b""
        self.view = memoryview(self.data)
        self._source, self._step = source, step

    def holds(self, offset: int, length: int) -> bool:
        """Take the window to these bytes; tell whether the source has them all."""
        if offset + length > self.end:
            return False
        start = offset - self.base
        if start < 0 or start + length > len(self.data):
            self._move(offset, max(length, self._step))
        return offset + length <= self.end

    def decode_at(self, offset: int, seed: int) -> Frame | str:
        """Return the frame at `offset`, or the reason why there is none."""
        if not self.holds(offset, HEADER_BYTES):
            return "the file ends inside a frame header"
        header = HEADER.unpack_from(self.view, offset - self.base)
        crc, length, lsn, synced_lsn, op_count, kind, flags, magic = header
        if magic != MAGIC:
            return "no frame starts here"
        if length > MAX_PAYLOAD_BYTES or not self.holds(offset, HEADER_BYTES + length):
            return "the file ends inside a frame"
        start = offset - self.base
        frame = self.view[start : start + HEADER_BYTES + length]
        if crc != crc32c(frame[CRC.size :], seed ^ (offset & SEED_MASK)):
            return "the checksum does not match"
        if flags or kind not in KINDS:
            return f"unknown kind {kind} or flags {flags}"
        if lsn + op_count > MAX_LSN:
            return f"its LSN {lsn} makes no sense"
        payload = frame[HEADER_BYTES:]
        return Frame(offset, lsn, synced_lsn, op_count, kind, crc, payload)

    def is_zero_from(self, offset: int) -> bool:
        """Tell whether there are only zero bytes from here to the end."""
        while offset < self.end:
            if not self.holds(offset, 1):
                return True
            start = offset - self.base
            piece = self.data[start : start + self._step]
            if piece != bytes(len(piece)):
                return False
            offset += len(piece)
        return True

    def find_candidate(self, offset: int) -> int:
        """Return the first place from `offset` on that looks like a frame, or -1."""
        while self.holds(offset, HEADER_BYTES):
            start = offset - self.base
            stop = min(len(self.data), self.end - self.base)
            at = self.data.find(MAGIC_BYTES, start + MAGIC_OFFSET, stop)
            if at < 0:
                # A magic may lie across the border: its first byte is the last here.
                offset = self.base + stop - HEADER_BYTES + 1
                continue
            # The kind and the flags stand before the magic: most chance finds end here.
            if self.data[at - 1] == 0 and self.data[at - 2] in KINDS:
                return self.base + at - MAGIC_OFFSET
            offset = self.base + at - MAGIC_OFFSET + 1
        return -1

    def _move(self, offset: int, length: int) -> None:
        # Let go of the old piece first: one frame may fill it, and may be large.
        self.data, self.view = b"", memoryview(b"")
        wanted = min(length, self.end - offset)
        self.data = self._source.read_at(offset, wanted)
        self.view, self.base = memoryview(self.data), offset
        if len(self.data) < wanted:
            self.end = offset + len(self.data)


class FrameScanner:
    """Walk the frames of one segment; afterwards tell where and why it stopped.

    `hole` is None when the frames end with the data or with nothing but zeros. A
    payload is a view into the window and keeps that alive.
    """

    def __init__(
        self,
        source: Source | bytes | memoryview,
        start: int,
        seed: int,
        lsn: int,
        limit: int | None = None,
        step: int = WINDOW_BYTES,
    ) -> None:
        if isinstance(source, bytes | memoryview):
            source = BytesSource(source)
        self._window, self._seed = Window(source, limit, step), seed
        self.offset = start
        self.next_lsn = lsn
        self.hole: Hole | None = None

    @property
    def size_bytes(self) -> int:
        """Return where the data ends, as far as is known."""
        return self._window.end

    def __iter__(self) -> Iterator[Frame]:
        window = self._window
        while self.offset < window.end:
            found = window.decode_at(self.offset, self._seed)
            if isinstance(found, str):
                if not window.is_zero_from(self.offset):
                    self.hole = Hole(self.offset, found)
                return
            if found.lsn != self.next_lsn:
                reason = f"LSN {found.lsn} where {self.next_lsn} must follow"
                self.hole = Hole(self.offset, reason)
                return
            self.offset, self.next_lsn = found.end, found.next_lsn
            yield found
            del found  # it may be large, and the window moves on

    def maybe_run(self) -> Run | None:
        """Go over the frames of ops that the window holds, None if there are none.

        This is `Window.decode_at`, written out: a replay does little else, and each
        call or look-up saved is a twentieth of it. What stops a run is for iteration
        to say, and the run ends where an offset no longer fits the seed.
        """
        window, lsn = self._window, self.next_lsn
        if lsn > _RUN_LSN:
            return None
        data, at = window.data, self.offset - window.base
        room = min(len(data), window.end - window.base)
        base, seed = window.base & SEED_MASK, self._seed
        last = min(room - HEADER_BYTES, SEED_MASK - base)
        unpack, checksum, wanted = RUN.unpack_from, crc32c, _OPS_REST
        behind_crc, behind_header, payload = CRC.size, HEADER_BYTES, _PAYLOAD
        crcs = 0
        payloads: list[bytes] = []
        while 0 <= at <= last:
            crc, length, first, op_count, rest = unpack(data, at)
            end = at + behind_header + length
            if rest != wanted or first != lsn or end > room:
                break
            body = data[at + behind_crc : end]
            if crc != checksum(body, seed ^ (base + at)):
                break
            payloads.append(body[payload])
            crcs += crc
            lsn += op_count
            at = end
        if not payloads:
            return None
        run = Run(self.next_lsn, lsn - self.next_lsn, crcs, payloads)
        self.offset, self.next_lsn = window.base + at, lsn
        return run

    def frames_behind_hole(self) -> Iterator[Frame]:
        """Find valid frames behind the hole by searching for the magic."""
        window = self._window
        offset = self.offset + 1
        while (offset := window.find_candidate(offset)) >= 0:
            found = window.decode_at(offset, self._seed)
            if isinstance(found, Frame):
                offset = found.end
                yield found
                del found
            else:
                offset += 1

    def is_zero_from(self, offset: int) -> bool:
        """Tell whether there are only zero bytes from here to the end."""
        return self._window.is_zero_from(offset)

"""Write and read one file of frames.

The layout is specified in docs/wal_format.md. A segment does not know why it is
written, who waits for it, or what is in its frames.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgpack

from hypercache import frame
from hypercache.checksum import crc32c
from hypercache.errors import CorruptionError, UnsupportedFormatError
from hypercache.frame import (
    CRC,
    KIND_OPS,
    MAGIC,
    REST,
    BytesSource,
    Frame,
    FrameScanner,
    Run,
    Source,
    Window,
)
from hypercache.frame import HEADER_BYTES as FRAME_HEADER_BYTES
from hypercache.options import MAX_LSN
from hypercache.storage import File

SEGMENT_MAGIC = b"HCLOG\n"
VERSION = 1
HEADER_BYTES = 64
FOOTER_ROOM = 64  # more than a footer can take, kept free in a reserved file
_HEADER = struct.Struct("<6sH16sQQQQI")
_CRC = struct.Struct("<I")
_pack_rest, _pack_crc = REST.pack, CRC.pack
_DIGEST_MASK = (1 << 64) - 1
assert _HEADER.size + _CRC.size == HEADER_BYTES


class SegmentFullError(Exception):
    """Tell the log, and nobody else, to begin the next segment."""


class SealedFacts(NamedTuple):
    """What a segment's successor says about it."""

    length: int
    digest: int


NO_SEGMENT = SealedFacts(0, 0)


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """Identify a segment and name its predecessor; all zero when it has none."""

    uuid: bytes
    number: int
    first_lsn: int
    previous: SealedFacts = NO_SEGMENT

    def encode(self) -> bytes:
        """Return the 64 bytes a segment file begins with."""
        fields = (self.uuid, self.number, self.first_lsn, *self.previous, 0)
        data = _HEADER.pack(SEGMENT_MAGIC, VERSION, *fields)
        return data + _CRC.pack(crc32c(data))

    @classmethod
    def decode(cls, data: bytes, path: str) -> SegmentHeader:
        """Return the header a segment file begins with.

        Raises:
            CorruptionError: it is cut short or its checksum does not match.
            UnsupportedFormatError: it is whole but of another version.
        """
        head = data[: _HEADER.size]
        if len(data) < HEADER_BYTES or seed_of(data) != crc32c(head):
            raise CorruptionError(path, "the segment header is damaged", offset=0)
        magic, version, uuid, number, first_lsn, length, digest, _ = _HEADER.unpack(
            head
        )
        if magic != SEGMENT_MAGIC or version != VERSION:
            raise UnsupportedFormatError(path, version, f"log format {VERSION}")
        if first_lsn > MAX_LSN:
            raise CorruptionError(path, "its first LSN makes no sense", offset=0)
        return cls(uuid, number, first_lsn, SealedFacts(length, digest))


def seed_of(data: bytes) -> int:
    """Return the CRC of a segment header, which seeds all its frames."""
    seed: int = _CRC.unpack_from(data, _HEADER.size)[0]
    return seed


class SegmentWriter:
    """Append frames to a new segment, sync it, seal it.

    Not thread-safe; `sync` alone may run beside `append`.
    """

    def __init__(self, file: File, header: SegmentHeader, capacity: int) -> None:
        data = header.encode()
        file.write_at(0, data)
        self.header = header
        self.next_lsn = header.first_lsn
        self.offset = HEADER_BYTES
        self._limit = capacity - FOOTER_ROOM
        self._file = file
        self._window = file.window
        self._seed = seed_of(data)
        self._digest = 0

    @property
    def path(self) -> str:
        """Return the path of the file."""
        return self._file.path

    def append(self, payload: bytes, op_count: int, synced_lsn: int) -> int:
        """Write one frame of ops and return the LSN of its last op.

        On return the frame is in the operating system. After a failure the segment
        is as before, but for bytes behind its end: see `cut_back`.

        Raises:
            SegmentFullError: the frame does not fit; nothing was written.
        """
        offset, lsn = self.offset, self.next_lsn
        length = len(payload)
        end = offset + FRAME_HEADER_BYTES + length
        if end > self._limit:
            raise SegmentFullError
        # frame.encode, written out: its call would be a tenth of this method.
        rest = _pack_rest(length, lsn, synced_lsn, op_count, KIND_OPS, 0, MAGIC)
        rest += payload
        crc = crc32c(rest, self._seed ^ offset)
        self._window[offset:end] = _pack_crc(crc) + rest
        # No call from here on: a KeyboardInterrupt arrives only at calls, and half of
        # this update would leave a gap in the log.
        self._digest += crc
        self.offset = end
        self.next_lsn = lsn = lsn + op_count
        return lsn - 1

    def cut_back(self) -> None:
        """Remove what a failed append may have left behind the last frame."""
        self._file.truncate(self.offset)

    def sync(self) -> None:
        """Return once all frames appended before the call are on the medium."""
        self._file.sync()

    def is_linked(self) -> bool:
        """Tell whether the file still has its name."""
        return self._file.is_linked()

    def seal(self, synced_lsn: int) -> SealedFacts:
        """Write the footer, cut the file behind it, sync, close; return its facts.

        `synced_lsn` is the watermark before that sync: a crash may keep the footer and
        lose a frame before it.
        """
        digest = self._digest & _DIGEST_MASK
        lsns = LsnRange(self.header.first_lsn, self.next_lsn, synced_lsn)
        footer = footer_bytes(self._seed, self.offset, lsns, digest)
        end = self.offset + len(footer)
        self._file.write_at(self.offset, footer)
        self._file.truncate(end)
        self._file.sync()
        self._file.close()
        return SealedFacts(end, digest)

    def close(self) -> None:
        """Close the file as it is; used when a log has failed."""
        self._file.close()


class LsnRange(NamedTuple):
    """The LSNs of a segment's ops, and what of them is known to be synced."""

    first_lsn: int
    next_lsn: int
    synced_lsn: int


def footer_bytes(seed: int, offset: int, lsns: LsnRange, digest: int) -> bytes:
    """Return the frame that seals a segment."""
    first_lsn, next_lsn, synced_lsn = lsns
    payload = msgpack.packb([next_lsn - first_lsn, next_lsn - 1, digest])
    kind = frame.KIND_FOOTER
    return frame.encode(seed, offset, next_lsn, synced_lsn, 0, kind, payload)[1]


def is_only_begun(file: Source) -> bool:
    """Tell whether nothing behind the header was ever written."""
    return Window(file).is_zero_from(HEADER_BYTES)


class SegmentReader:
    """Iterate the frames of a segment but for its footer; afterwards tell how it ends.

    `sealed` is whether a footer closed it, `end` the offset behind the last frame,
    `length` that of the file, or `limit` where a writer may be at work behind it.

    Raises:
        CorruptionError: the header is damaged (at construction), or the footer
            disagrees with the frames (while iterating).
    """

    def __init__(
        self, source: Source | bytes, path: str, limit: int | None = None
    ) -> None:
        if isinstance(source, bytes):
            source = BytesSource(source)
        self.path = path
        self.length = source.size_bytes
        if limit is not None:
            self.length = min(self.length, limit)
        head = source.read_at(0, min(HEADER_BYTES, self.length))
        self.header = SegmentHeader.decode(head, path)
        self.seed = seed_of(head)
        self.sealed = False
        self.digest = 0
        self._limit = limit
        self._scanner = FrameScanner(
            source, HEADER_BYTES, self.seed, self.header.first_lsn, limit
        )

    def __iter__(self) -> Iterator[Frame]:
        for found in self._scanner:
            if found.kind == frame.KIND_FOOTER:
                self._end_with(found)
                return
            self.digest = (self.digest + found.crc) & _DIGEST_MASK
            yield found
            del found  # it may be large, and the window moves on

    def runs(self) -> Iterator[Run]:
        """Iterate the same frames, many at once where that can be done."""
        single = iter(self)
        while True:
            run = self._scanner.maybe_run()
            if run is not None:
                self.digest = (self.digest + run.crcs) & _DIGEST_MASK
                yield run
                continue
            found = next(single, None)
            if found is None:
                return
            payloads = [bytes(found.payload)]
            yield Run(found.lsn, found.op_count, found.crc, payloads)
            del found, payloads  # they may be large

    @property
    def end(self) -> int:
        """Return the offset behind the last frame read."""
        return self._scanner.offset

    @property
    def next_lsn(self) -> int:
        """Return the LSN behind the last frame read."""
        return self._scanner.next_lsn

    @property
    def hole(self) -> frame.Hole | None:
        """Return where and why the frames stop, None at a plain end."""
        return self._scanner.hole

    @property
    def facts(self) -> SealedFacts:
        """Return what the successor must say about this sealed segment."""
        return SealedFacts(self.end, self.digest)

    def sealed_at(self, end: int) -> None:
        """Note that the caller has written a footer that ends there."""
        self.sealed, self._scanner.offset = True, end

    def look_again(self, source: Source) -> None:
        """Go on behind the last frame read, in the file as it is by now.

        A writer may have been in the middle of a frame when it was read.
        """
        lsn = self._scanner.next_lsn
        self._scanner = FrameScanner(source, self.end, self.seed, lsn, self._limit)
        self.length = self._scanner.size_bytes

    def synced_lsn_behind_hole(self) -> int:
        """Return the highest watermark in valid frames behind the hole, 0 if none."""
        frames = self._scanner.frames_behind_hole()
        return max((found.synced_lsn for found in frames), default=0)

    def _end_with(self, footer: Frame) -> None:
        op_count = footer.lsn - self.header.first_lsn
        # Compared as bytes: there is one way to write a footer.
        wanted = msgpack.packb([op_count, footer.lsn - 1, self.digest])
        if footer.op_count or footer.payload != wanted:
            reason = "the footer disagrees with the frames before it"
            where = footer.offset
            raise CorruptionError(self.path, reason, offset=where, lsn=footer.lsn)
        if footer.end == self._scanner.size_bytes:
            self.sealed = True
            return
        # The footer reached the medium, the cut behind it did not: not sealed yet.
        self._scanner.offset = footer.offset
        if not self._scanner.is_zero_from(footer.end):
            reason = "there are bytes behind the footer"
            self._scanner.hole = frame.Hole(footer.offset, reason)

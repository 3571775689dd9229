"""Write and read a base: all entries up to one LSN, in compressed blocks.

The layout is specified in docs/aof_format.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgpack
import zstandard

from hypercache import frame, segment
from hypercache.aof.manifest import BaseFacts
from hypercache.errors import CorruptionError
from hypercache.frame import KIND_BLOCK, MAX_PAYLOAD_BYTES, Frame
from hypercache.options import MAX_KEY_BYTES
from hypercache.read_file import ReadFile
from hypercache.segment import LsnRange, SegmentHeader, SegmentReader
from hypercache.storage import File

BLOCK_BYTES = 256 * 1024
_LEVEL = 1  # a third of the time of level 3 for a few percent more bytes
_DIGEST_MASK = (1 << 64) - 1
_BEST_RATIO = 128 * 1024 // 4  # a block of zstd has 128 KiB, and takes 4 bytes or more

# What a block maps a key to: the value, or the value and its expiry.
BlockSlot = bytes | tuple[bytes, int]
Block = dict[bytes, BlockSlot]


class BaseWriter:
    """Write a base into a new file; `finish` makes it whole and durable."""

    def __init__(self, file: File, uuid: bytes, number: int, lsn: int) -> None:
        header = SegmentHeader(uuid, number, lsn + 1).encode()
        file.write_at(0, header)
        self._file, self._number, self._lsn = file, number, lsn
        self._seed = segment.seed_of(header)
        self._offset = segment.HEADER_BYTES
        self._digest = 0
        self._entry_count = 0
        self._block: Block = {}
        self._block_bytes = 0
        self._compress = zstandard.ZstdCompressor(level=_LEVEL).compress

    def add(self, key: bytes, slot: BlockSlot) -> None:
        """Add one entry, whose key was not added before."""
        self._block[key] = slot
        value = slot if isinstance(slot, bytes) else slot[0]
        self._block_bytes += len(key) + len(value)
        if self._block_bytes >= BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the entries added so far as a block."""
        if self._block:
            payload = self._compress(msgpack.packb(self._block))
            self.add_block(payload, len(self._block))
            self._block, self._block_bytes = {}, 0

    def add_block(self, payload: bytes, entry_count: int) -> None:
        """Write a block that is encoded already."""
        self._write(self._lsn + 1, KIND_BLOCK, payload)
        self._entry_count += entry_count

    def finish(self) -> BaseFacts:
        """Write the footer and sync; return what the manifest must say."""
        self.flush()
        lsns = LsnRange(self._lsn + 1, self._lsn + 1, self._lsn)
        footer = segment.footer_bytes(self._seed, self._offset, lsns, self._digest)
        self._file.write_at(self._offset, footer)
        self._file.sync()
        length_bytes = self._offset + len(footer)
        return BaseFacts(
            self._number, self._lsn, self._entry_count, length_bytes, self._digest
        )

    def _write(self, lsn: int, kind: int, payload: bytes) -> None:
        crc, data = frame.encode(
            self._seed, self._offset, lsn, self._lsn, 0, kind, payload
        )
        self._file.write_at(self._offset, data)
        self._offset += len(data)
        self._digest = (self._digest + crc) & _DIGEST_MASK


class BaseReader:
    """Read the base that a manifest names, block by block.

    Raises:
        CorruptionError: it is not that base (at construction), or a block is damaged
            (while reading).
    """

    def __init__(self, file: ReadFile, uuid: bytes, facts: BaseFacts) -> None:
        self.path, self._facts = file.path, facts
        self._reader = SegmentReader(file, file.path)
        header = self._reader.header
        if header.uuid != uuid or header.number != facts.number:
            raise CorruptionError(file.path, "the base belongs to another store")
        if header.first_lsn != facts.lsn + 1:
            reason = "the base ends at another LSN than the manifest says"
            raise CorruptionError(file.path, reason, lsn=header.first_lsn - 1)
        # Bounded by what the size in its header says, which is checked first.
        self._decompress = zstandard.ZstdDecompressor().decompress

    def frames(self) -> Iterator[Frame]:
        """Yield the frames of all blocks; afterwards the whole base is verified."""
        yield from self._reader
        reader, facts = self._reader, self._facts
        if not reader.sealed:
            reason = reader.hole.reason if reader.hole else "the base has no footer"
            raise CorruptionError(self.path, reason, offset=reader.end)
        if (reader.end, reader.digest) != (facts.length_bytes, facts.digest):
            raise CorruptionError(self.path, "the manifest names another base")

    def blocks(self) -> Iterator[Block]:
        """Yield the entries, block by block."""
        entry_count = 0
        for found in self.frames():
            block = self.decode(found)
            entry_count += len(block)
            yield block
        self.check_count(entry_count)

    def decode(self, found: Frame) -> Block:
        """Return the entries of a block."""
        try:
            block = decode_block(found.payload, self._decompress)
        except ValueError as error:
            reason = f"bad block: {error}"
            raise CorruptionError(self.path, reason, offset=found.offset) from error
        return block

    def check_count(self, entry_count: int) -> None:
        """Make sure that so many entries are what the manifest says."""
        if entry_count != self._facts.entry_count:
            reason = f"{entry_count} entries where {self._facts.entry_count} belong"
            raise CorruptionError(self.path, reason)


def decode_block(payload: memoryview | bytes, decompress: Any) -> Block:
    """Return the entries in the payload of a block.

    Raises:
        ValueError: the payload is not what `BaseWriter` writes.
    """
    try:
        size = zstandard.frame_content_size(payload)
        most = min(MAX_PAYLOAD_BYTES + BLOCK_BYTES, len(payload) * _BEST_RATIO)
        if not 0 < size <= most:
            raise ValueError(f"it would take {size} bytes")
        data = decompress(payload, allow_extra_data=False)
        # An array takes its memory before its items are seen.
        block = msgpack.unpackb(data, use_list=False, max_array_len=2)
    except (zstandard.ZstdError, msgpack.UnpackException, TypeError) as error:
        raise ValueError(str(error) or "it is no msgpack") from error
    if not isinstance(block, dict) or not _is_sound(block):
        raise ValueError("no map of keys to values")
    return block


def _is_sound(block: dict[Any, Any]) -> bool:
    try:
        b"".join(block)  # the fastest way to ask whether all are bytes
    except TypeError:
        return False
    if not all(block) or len(max(block, key=len, default=b"")) > MAX_KEY_BYTES:
        return False
    kinds = set(map(type, block.values()))
    return kinds <= {bytes} or (
        kinds <= {bytes, tuple} and all(map(_is_slot, block.values()))
    )


def _is_slot(slot: Any) -> bool:
    if type(slot) is bytes:
        return True
    return list(map(type, slot)) == [bytes, int] and slot[1] >= 0


def entries(blocks: Iterable[Block]) -> Iterator[tuple[bytes, BlockSlot]]:
    """Yield the entries of blocks one by one."""
    for block in blocks:
        yield from block.items()

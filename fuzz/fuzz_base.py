"""Invariant: a base is the entries of its blocks, or CorruptionError; memory bounded.

All checksums, the digest and the manifest are right; what zstd and msgpack find inside
is the input's. Entries that are taken could have been written.
"""

from __future__ import annotations

import struct

import msgpack
import zstandard

from fuzz.feed import Feed, block
from hypercache import ops
from hypercache.aof.base import BaseReader, BaseWriter
from hypercache.errors import CorruptionError
from hypercache.paths import StorePaths
from hypercache.testing.simulated_disk import SimDisk

_UUID = bytes(range(16))
_PATH = StorePaths("/store").bases.segment(1)
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_RAW, _PACKED, _LYING = range(3)


def check(data: bytes) -> None:
    """Write the blocks of the input into a base, and read it back."""
    feed = Feed(data)
    disk = SimDisk({"/store": None, "/store/aof": None})
    file = disk.create(_PATH, mapped=False)
    writer = BaseWriter(file, _UUID, 1, 100)
    counted = 0
    while feed.more:
        count, how = feed.number(), feed.number()
        writer.add_block(_payload(how % 3, feed), count)
        counted += count
    facts = writer.finish()
    assert facts.entry_count == counted
    with disk.open_read(_PATH) as opened:
        try:
            for found in BaseReader(opened, _UUID, facts).blocks():
                for key, slot in found.items():
                    value, expires_at_ms = (
                        (slot, 0) if isinstance(slot, bytes) else slot
                    )
                    ops.check_key(key)
                    ops.check_value(key, value)
                    assert expires_at_ms in range(1 << 64)
        except CorruptionError as error:
            assert error.path == _PATH  # noqa: PT017  (this is no test)


def _payload(how: int, feed: Feed) -> bytes:
    if how == _RAW:
        return feed.block()
    if how == _PACKED:
        return zstandard.ZstdCompressor(level=1).compress(feed.block())
    size, packed = feed.number(8), _PACK(feed.block())
    # A frame with 8 bytes of content size, whatever is in its blocks.
    _, header_bytes = 0, zstandard.frame_header_size(packed)
    head = _ZSTD_MAGIC + b"\xe0" + struct.pack("<Q", size)
    return head + packed[header_bytes:]


_PACK = zstandard.ZstdCompressor(level=1).compress


def seeds() -> dict[str, bytes]:
    """Return blocks as they are written, and hostile ones."""
    sound = msgpack.packb({b"a": b"1", b"b": (b"2", 1 << 42), b"c": b"x" * 500})
    twice = b"\x82\xc4\x01a\xc4\x011\xc4\x01a\xc4\x012"
    types = msgpack.packb({b"a": [b"1", b"2"], b"b": b"", b"": 7})
    bomb = _PACK(bytes(1 << 20))

    def packed(count: int, content: bytes) -> bytes:
        return bytes([count, _PACKED]) + block(content)

    def lying(size: int, content: bytes) -> bytes:
        return bytes([3, _LYING]) + struct.pack("<Q", size) + block(content)

    return {
        "sound": packed(3, sound),
        "two": packed(3, sound) + packed(1, msgpack.packb({b"d": b""})),
        "raw": bytes([3, _RAW]) + block(_PACK(sound)),
        "two-in-one": bytes([3, _RAW]) + block(_PACK(sound) + _PACK(sound)),
        "twice": packed(1, twice),
        "types": packed(3, types),
        "nested": packed(1, b"\x81\xc4\x01a" + b"\xdd\x00\x00\xff\xff" * 200),
        "no-map": packed(1, msgpack.packb([1, 2])),
        "expiries": packed(1, msgpack.packb({b"a": (b"", -1)})),
        "bomb": bytes([1, _RAW]) + block(bomb),
        "gigabyte": lying(1 << 30, sound),
        "too-little": lying(3, sound),
        "everything": lying((1 << 64) - 1, sound),
        "nothing": lying(0, b""),
    }

"""Invariant: an envelope is what was wrapped, or None; nothing raised; memory bounded.

The checksum is made right in most inputs: what unwrap then takes must be what wrap
writes for the entry found.
"""

from __future__ import annotations

import struct

from crc32c import crc32c

from fuzz.feed import Feed, block
from hypercache.engines import envelope

_CRC = struct.Struct("<I")


def check(data: bytes) -> None:
    """Unwrap an envelope under a key, and wrap an entry."""
    feed = Feed(data)
    mode, key = feed.number(), feed.block()
    if mode % 4 == 0:
        _check_round_trip(key or b"k", feed)
        return
    content = feed.rest()
    if mode % 4 > 1 and len(content) >= _CRC.size:
        body = content[_CRC.size :]
        content = _CRC.pack(crc32c(body, crc32c(key))) + body
    envelope.summarize(content)
    found = envelope.unwrap(key, content)
    if found is not None and envelope.stored_key(found.key) == key:
        assert envelope.wrap(*found) == content


def _check_round_trip(key: bytes, feed: Feed) -> None:
    expires_at_ms, lsn = feed.number(8), feed.number(8)
    entry = key, feed.rest(), expires_at_ms, lsn
    wrapped = envelope.wrap(*entry)
    lmdb_key = envelope.stored_key(key)
    assert len(lmdb_key) <= envelope.LMDB_KEY_BYTES
    assert envelope.unwrap(lmdb_key, wrapped) == entry
    assert envelope.summarize(wrapped).expires == (expires_at_ms > 0)


def seeds() -> dict[str, bytes]:
    """Return envelopes of short and long keys, whole and cut."""
    short = envelope.wrap(b"key", b"value", 1 << 42, 7)
    long_key = b"k" * 600
    long = envelope.wrap(long_key, b"value", 0, 8)
    name = block(envelope.stored_key(long_key))
    return {
        "short": b"\x01" + block(b"key") + short,
        "long": b"\x01" + name + long,
        "long-cut": b"\x02" + name + long[:22],
        "flags": b"\x02" + block(b"key") + short[:4] + b"\xff" + short[5:],
        "empty": b"\x02" + block(b"") + short[:10],
        "wrap": b"\x00" + block(b"key") + bytes(16) + b"value",
        "wrap-long": b"\x00" + block(long_key) + b"\xff" * 16,
    }

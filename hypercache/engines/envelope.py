"""Wrap values for LMDB, which checks nothing of what it stores. Pure.

Envelope: `crc32c:u32 flags:u8 expires_at_ms:u64 lsn:u64`, then for a long key
`key_length:u16 key`, then the value. The CRC covers the LMDB key and all behind the
CRC field. Keys over `SHORT_KEY_BYTES` are stored under their first bytes and a hash,
which sorts them behind every short key with that prefix; the whole key is in the
envelope, because two of them may share a prefix and only the reader can order them.
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

from hypercache.checksum import crc32c

LMDB_KEY_BYTES = 511
HASH_BYTES = 16
SHORT_KEY_BYTES = LMDB_KEY_BYTES - HASH_BYTES

_CRC = struct.Struct("<I")
HEAD = struct.Struct("<IBQQ")
# Of an envelope with a short key: what is behind the CRC field and before the value.
pack_short, pack_crc = struct.Struct("<BQQ").pack, _CRC.pack
unpack_head = HEAD.unpack_from
_BODY, _VALUE = _CRC.size, HEAD.size
_LENGTH = struct.Struct("<H")
LENGTH_BYTES = _LENGTH.size
_LONG_KEY = 1
_DIGEST_FACTOR = 0x9E3779B97F4A7C15  # odd, so that every CRC bit reaches the sum
DIGEST_MASK = (1 << 64) - 1


Buffer = bytes | memoryview


class Stored(NamedTuple):
    """What an envelope holds, once its checksum holds."""

    key: bytes
    value: bytes
    expires_at_ms: int
    lsn: int


class Head(NamedTuple):
    """What an envelope says of its entry but for the value, unverified."""

    key: bytes
    lsn: int
    expires_at_ms: int


class Summary(NamedTuple):
    """What the bookkeeping needs to know of an envelope, unverified."""

    digest: int
    expires: bool


def stored_key(key: bytes) -> bytes:
    """Return the LMDB key of a key."""
    if len(key) <= SHORT_KEY_BYTES:
        return key
    tail = hashlib.blake2b(key, digest_size=HASH_BYTES).digest()
    return key[:SHORT_KEY_BYTES] + tail


def is_long(lmdb_key: bytes) -> bool:
    """Tell whether an LMDB key stands for a long key."""
    return len(lmdb_key) == LMDB_KEY_BYTES


def wrap(key: bytes, value: bytes, expires_at_ms: int, lsn: int) -> bytes:
    """Return the envelope of one entry."""
    lmdb_key = stored_key(key)
    flags, name = 0, b""
    if is_long(lmdb_key):
        flags, name = _LONG_KEY, _LENGTH.pack(len(key)) + key
    head = HEAD.pack(0, flags, expires_at_ms, lsn)[_CRC.size :]
    body = b"".join((head, name, value))
    return _CRC.pack(crc32c(body, crc32c(lmdb_key))) + body


def unwrap(lmdb_key: bytes, data: bytes) -> Stored | None:
    """Return what an envelope holds, None when `wrap` did not write it."""
    if len(data) < HEAD.size:
        return None
    view = memoryview(data)
    crc, flags, expires_at_ms, lsn = HEAD.unpack_from(data)
    if crc32c(view[_CRC.size :], crc32c(lmdb_key)) != crc:
        return None
    if not flags:
        return Stored(lmdb_key, data[HEAD.size :], expires_at_ms, lsn)
    start = HEAD.size + _LENGTH.size
    if flags != _LONG_KEY or not is_long(lmdb_key) or len(data) < start:
        return None
    end = start + _LENGTH.unpack_from(data, HEAD.size)[0]
    if len(data) < end:
        return None
    return Stored(data[start:end], data[end:], expires_at_ms, lsn)


def maybe_value(lmdb_key: bytes, data: bytes) -> tuple[bytes, int] | None:
    """Return value and expiry of the envelope of a short key.

    None where `unwrap` has to say what it is. Written out, because every get of an
    entry that is not in RAM comes here.
    """
    if len(data) < HEAD.size:
        return None
    crc, flags, expires_at_ms, _ = unpack_head(data)
    if flags or crc32c(data[_BODY:], crc32c(lmdb_key)) != crc:
        return None
    return data[_VALUE:], expires_at_ms


def maybe_head(lmdb_key: Buffer, data: Buffer) -> Head | None:
    """Return what an envelope says of its entry; None where it cannot say it."""
    if len(data) < HEAD.size:
        return None
    _, flags, expires_at_ms, lsn = unpack_head(data)
    if not flags:
        return Head(bytes(lmdb_key), lsn, expires_at_ms)
    start = HEAD.size + _LENGTH.size
    if len(data) < start:
        return None
    length = _LENGTH.unpack_from(data, HEAD.size)[0]
    return Head(bytes(data[start : start + length]), lsn, expires_at_ms)


def summarize(data: bytes) -> Summary:
    """Return an envelope's share in the digest of its store.

    The LSN is unique to an entry, so a lost, doubled or outdated one moves the sum.
    """
    if len(data) < HEAD.size:
        return Summary(0, False)
    crc, _, expires_at_ms, lsn = unpack_head(data)
    return Summary(digest_of(crc, lsn), expires_at_ms > 0)


def digest_of(crcs: int, lsns: int) -> int:
    """Return the share of one envelope, or from sums that of many."""
    return (crcs * _DIGEST_FACTOR + lsns) & DIGEST_MASK

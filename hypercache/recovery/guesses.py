"""Guess at what damaged bytes have held; whatever comes from here is only possible."""

from __future__ import annotations

import re
from collections.abc import Iterator

import zstandard

from hypercache import ops
from hypercache.frame import HEADER, HEADER_BYTES, KIND_BLOCK, KIND_OPS, Source
from hypercache.options import MAX_KEY_BYTES
from hypercache.recovery.findings import MAX_KEYS, LostKey

_MOST_BYTES = 4 << 20  # of damaged bytes that are looked into
_PIECE_BYTES = 1 << 16
# An array that begins with a kind of op and a bin; then the length of the key.
_OP = re.compile(rb"[\x92\x93\x94][\x01\x02\x03](?:\xc4(.)|\xc5(..))", re.DOTALL)
_BIN = re.compile(rb"(?:\xc4(.)|\xc5(..))", re.DOTALL)
_BIN_HEADS = (0xC4, 0xC5, 0xC6, 0x92)  # of what follows a key in a block


def keys_of_frames(
    source: Source, start: int, end: int, lsns: range | None
) -> tuple[LostKey, ...]:
    """Return the keys that ops in damaged bytes seem to have.

    `lsns` are those of the ops that are missing; where they are as many as the keys,
    each key has its own.
    """
    data = source.read_at(start, min(end - start, _MOST_BYTES))
    if data[HEADER_BYTES - 4 : HEADER_BYTES - 3] == bytes([KIND_BLOCK]):
        return tuple(LostKey(key) for key in _block_keys(data))
    keys = _first_frame(data) or _keys_after(data, _OP)
    if lsns is not None and len(lsns) == len(keys):
        return tuple(
            LostKey(key, lsn)
            for key, lsn in list(zip(keys, lsns, strict=True))[:MAX_KEYS]
        )
    return tuple(LostKey(key) for key in dict.fromkeys(keys[:MAX_KEYS]))


def _first_frame(data: bytes) -> list[bytes]:
    """Return the keys of the frame that begins here, if its ops can be read."""
    if len(data) < HEADER_BYTES:
        return []
    _, length, _, _, op_count, kind, _, _ = HEADER.unpack_from(data)
    if kind != KIND_OPS or HEADER_BYTES + length != len(data):
        return []
    try:
        found = ops.decode(data[HEADER_BYTES:], op_count)
    except ValueError:
        return []
    return [op.key for op in found if not isinstance(op, ops.Clear)]


def _keys_after(data: bytes, pattern: re.Pattern[bytes]) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while len(found) < MAX_KEYS and (match := pattern.search(data, at)):
        at, key = match.end(), _key_at(data, match)
        if key is None:
            at = match.start() + 1
        else:
            found.append(key)
            at += len(key)
    return found


def _key_at(data: bytes, match: re.Match[bytes]) -> bytes | None:
    length = int.from_bytes(match[1] or match[2], "big")
    key = data[match.end() : match.end() + length]
    return key if 0 < length == len(key) <= MAX_KEY_BYTES else None


def _block_keys(data: bytes) -> list[bytes]:
    """Return the keys in what can be decompressed of a block of a base."""
    room = bytearray()
    for piece in _decompressed(data[HEADER_BYTES:]):
        room += piece
        if len(room) > _MOST_BYTES:
            break
    text = bytes(room[:_MOST_BYTES])
    keys: list[bytes] = []
    # A map: its head, then key and value in turns; a value is skipped by its length.
    for match in iter_bins(text):
        keys.append(match)
        if len(keys) == MAX_KEYS:
            break
    return keys


def iter_bins(text: bytes) -> Iterator[bytes]:
    """Yield the keys of a msgpack map of which the end may be missing."""
    at = _map_head(text)
    while 0 < at < len(text):
        key, at = _bin(text, at)
        if key is None or not 0 < len(key) <= MAX_KEY_BYTES or at >= len(text):
            return
        if text[at] not in _BIN_HEADS:
            return
        yield key
        if text[at] == 0x92:
            _, at = _bin(text, at + 1)
            at = _behind_number(text, at)
        else:
            _, at = _bin(text, at)


def _map_head(text: bytes) -> int:
    if not text:
        return -1
    if text[0] & 0xF0 == 0x80:
        return 1
    return {0xDE: 3, 0xDF: 5}.get(text[0], -1)


def _bin(text: bytes, at: int) -> tuple[bytes | None, int]:
    size = {0xC4: 1, 0xC5: 2, 0xC6: 4}.get(text[at] if at < len(text) else 0)
    if size is None:
        return None, len(text)
    start = at + 1 + size
    end = start + int.from_bytes(text[at + 1 : start], "big")
    return (text[start:end] if end <= len(text) else None), end


def _behind_number(text: bytes, at: int) -> int:
    head = text[at] if at < len(text) else 0
    return at + 1 + {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}.get(head, 0)


def _decompressed(data: bytes) -> Iterator[bytes]:
    """Yield what comes before the damage; a little may stand for very much."""
    reader = zstandard.ZstdDecompressor(max_window_size=_MOST_BYTES).stream_reader(data)
    try:
        while piece := reader.read(_PIECE_BYTES):
            yield piece
    except (zstandard.ZstdError, ValueError):
        return

"""What a cache knows of an entry beside its value, stored in front of it.

docs/value_format.md is the authority. A record is no entry: the cache keeps it for
itself under a key of `reserved`, and no read shows it.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import msgpack

from hypercache.errors import DeserializationError

MARKER = b"\xc1"
ATTRIBUTED = MARKER + b"\x02"
RECORD = MARKER + b"\x03"
_SIZE = struct.Struct("<I")
_BEGIN = len(ATTRIBUTED) + _SIZE.size


class Attributes(NamedTuple):
    """What was known of an entry when it was stored.

    Attributes:
        tags: each tag with its generation at that time.
        fresh_until_ms: absolute; from then on the value is only shown where a stale one
            is asked for. 0 if it stays fresh until it expires.
        made_in_ms: how long it took to make the value, 0 if that was not measured.
    """

    tags: tuple[tuple[bytes, bytes], ...] = ()
    fresh_until_ms: int = 0
    made_in_ms: int = 0


class Attributed(NamedTuple):
    """Attributes and the stored form of the value behind them."""

    attributes: Attributes
    stored: bytes


class Record(NamedTuple):
    """What the cache keeps for itself."""

    payload: bytes


def attributed(attributes: Attributes, stored: bytes) -> bytes:
    """Return a stored form with attributes in front of it."""
    tags = [part for tag in attributes.tags for part in tag]
    packed: bytes = msgpack.packb(
        [tags, attributes.fresh_until_ms, attributes.made_in_ms]
    )
    return ATTRIBUTED + _SIZE.pack(len(packed)) + packed + stored


def record(payload: bytes) -> bytes:
    """Return the stored form of a record."""
    return RECORD + payload


def parse(data: bytes) -> Attributed | Record | None:
    """Return what a stored form has in front, None if that is neither of these.

    Raises:
        DeserializationError: this version did not write it.
    """
    if data[:2] == RECORD:
        return Record(data[2:])
    if data[:2] != ATTRIBUTED:
        return None
    end = len(data)
    try:
        end = _BEGIN + _SIZE.unpack_from(data, len(ATTRIBUTED))[0]
        found = _attributes(msgpack.unpackb(data[_BEGIN:end]))
    except (ValueError, TypeError, struct.error, msgpack.UnpackException):
        found = None
    if found is None or data[end : end + 2] in (ATTRIBUTED, RECORD):
        raise DeserializationError(
            f"the attributes of a stored value of {len(data)} bytes cannot be read; "
            "run `hypercache check` on the cache"
        )
    return Attributed(found, data[end:])


def _attributes(packed: Any) -> Attributes | None:
    parts, fresh_until_ms, made_in_ms = packed
    if not isinstance(parts, list) or len(parts) % 2:
        return None
    sound = all(type(part) is bytes for part in parts)
    if not sound or type(fresh_until_ms) is not int or type(made_in_ms) is not int:
        return None
    tags = tuple(zip(parts[::2], parts[1::2], strict=True))
    return Attributes(tags, fresh_until_ms, made_in_ms)

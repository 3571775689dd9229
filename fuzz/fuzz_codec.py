"""Invariant: a stored value is a value or DeserializationError; memory bounded.

What a serializer takes comes back as the same value of the same types; what it does
not take is SerializationError.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from fuzz.feed import Feed
from hypercache.attributes import Attributed, Record, attributed
from hypercache.codec import Codec
from hypercache.errors import DeserializationError, SerializationError

_CODECS = {
    (name, compress_min_bytes): Codec(name, compress_min_bytes, level=1)
    for name in ("msgpack", "json", "bytes")
    for compress_min_bytes in (None, 0)
}
_KINDS = list(_CODECS)
_MAX_DEPTH = 40  # deeper than tuples may nest
_UUID = UUID(int=1 << 100)


def check(data: bytes) -> None:
    """Decode the input, or encode the value that it describes."""
    feed = Feed(data)
    kind, mode = feed.pick(_KINDS), feed.number()
    codec = _CODECS[kind]
    if mode % 2:
        try:
            value = _value(feed, _MAX_DEPTH)
        except RecursionError:
            return  # Python itself makes no set of two equal values that nest so deeply
        _check_value(codec, value)
        return
    try:
        value = codec.decode(feed.rest())
        if isinstance(value, Attributed):
            _check_attributed(codec, value)
            value = codec.decode(value.stored)
    except DeserializationError:
        return
    if not isinstance(value, Record):
        _check_value(codec, value)


def _check_attributed(codec: Codec, found: Attributed) -> None:
    again = attributed(found.attributes, found.stored)
    assert codec.split(again) == found
    assert isinstance(found.stored, bytes)


def _check_value(codec: Codec, value: object) -> None:
    try:
        stored = codec.encode(value)
    except SerializationError:
        return
    is_json = codec.serializer_name == "json"
    assert _form(codec.decode(stored), is_json) == _form(value, is_json)


def _value(feed: Feed, depth: int) -> object:
    make = feed.pick(_SCALARS if depth == 0 else _MAKERS)
    return make(feed, depth - 1)


def _items(feed: Feed, depth: int) -> list[object]:
    return [_value(feed, depth) for _ in range(feed.number() % 4)]


def _hashables(feed: Feed, depth: int) -> list[Any]:
    return [each for each in _items(feed, depth) if _is_hashable(each)]


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _dict(feed: Feed, depth: int) -> dict[object, object]:
    return {key: _value(feed, depth) for key in _hashables(feed, depth)}


def _nested(feed: Feed, depth: int) -> object:
    value, kind = _value(feed, depth), feed.pick((list, tuple))
    for _ in range(feed.number() * feed.pick((0, 1, 1, 5))):
        value = kind((value,))
    return value


def _datetime(feed: Feed, _: int) -> object:
    zone = feed.pick((None, UTC, timezone(timedelta(microseconds=feed.number(4)))))
    micros = timedelta(microseconds=feed.number(7))
    return (datetime(1, 1, 1, tzinfo=zone) + micros).replace(fold=feed.number() % 2)


def _time(feed: Feed, _: int) -> object:
    zone = feed.pick(
        (None, UTC, timezone(timedelta(seconds=-(feed.number(2) % 86400))))
    )
    return time(feed.number() % 24, feed.number() % 60, tzinfo=zone)


def _decimal(feed: Feed, _: int) -> Decimal:
    special = feed.pick(("NaN", "sNaN", "-Infinity", "-0E+5", ""))
    number = (feed.number() % 2, (1, 2, feed.number() % 10), feed.integer() % 10**6)
    return Decimal(special) if special else Decimal(number)


_SCALARS: list[Callable[[Feed, int], object]] = [
    lambda feed, _: feed.integer(),
    lambda feed, _: feed.integer() ** (1 + feed.number() % 30),
    lambda feed, _: feed.take(feed.number()),
    lambda feed, _: feed.take(feed.number()).decode("utf-8", "surrogateescape"),
    lambda feed, _: feed.pick((None, True, False, "", b"", b"\xc1", b"\xc1\x00")),
    lambda feed, _: struct.unpack("<d", feed.take(8).ljust(8, b"\0"))[0],
    lambda feed, _: date.fromordinal(1 + feed.number(3) % 3_652_059),
    lambda feed, _: timedelta(feed.number(2), feed.number(4), feed.number(4)),
    lambda feed, _: UUID(bytes=feed.take(16).ljust(16, b"\0")),
    lambda feed, _: bytearray(feed.take(4)),
    _datetime,
    _time,
    _decimal,
]
_MAKERS: list[Callable[[Feed, int], object]] = [
    *_SCALARS,
    _items,
    lambda feed, depth: tuple(_items(feed, depth)),
    lambda feed, depth: set(_hashables(feed, depth)),
    lambda feed, depth: frozenset(_hashables(feed, depth)),
    _dict,
    _nested,
]


def _form(value: Any, is_json: bool) -> object:
    """Return a value as something that compares exactly, without recursion."""
    todo = [value]
    done: list[object] = []
    while todo:
        part = todo.pop()
        if type(part) is bytearray:
            part = bytes(part)  # as documented
        kind = type(part)
        if kind is tuple and is_json:
            kind = list
        done.append(kind)
        if kind in (list, tuple):
            done.append(len(part))
            todo += part
        elif kind is dict:
            done.append(len(part))
            todo += part.keys()
            todo += part.values()
        elif kind in (set, frozenset):
            done.append(sorted(_digest(_form(each, is_json)) for each in part))
        else:
            done.append(_scalar_form(part))
    return done


def _digest(form: object) -> str:
    # Text of text of text would grow with every level.
    return hashlib.sha256(repr(form).encode("utf-8", "surrogatepass")).hexdigest()


def _scalar_form(part: Any) -> object:
    if type(part) is float:
        return "nan" if part != part else struct.pack("<d", part)
    offset = part.utcoffset() if isinstance(part, datetime | time) else None
    return repr(part.replace(tzinfo=None)) + repr(offset) if offset else repr(part)


def seeds() -> dict[str, bytes]:
    """Return stored values of all kinds, damaged ones, and values to store."""
    values: list[object] = [
        {"a": [1, 2.5, None, True], b"b": "text", 3: {"nested": []}},
        (1, {2, 3}, frozenset({"x"}), 1 << 80, -(1 << 70)),
        [Decimal("1.50"), _UUID, date(2024, 2, 29), timedelta(-1, 5, 7)],
        [datetime(2024, 1, 2, 3, 4, 5, 6, UTC), time(1, 2, 3, fold=1)],
        "s" * 400,
        b"\xc1\x01",
    ]
    found = {}
    for index, (name, least) in enumerate(_KINDS):
        for number, value in enumerate(values):
            try:
                stored = _CODECS[name, least].encode(value)
            except SerializationError:
                continue
            kind = "plain" if least is None else "zstd"
            found[f"{name}-{kind}-{number}"] = bytes([index, 0]) + stored
    hostile = {
        "arrays": b"\xdd\xff\xff\xff\xff" * 20,
        "lists": b"\x91" * 1200,
        "maps": b"\xdf\x00\x0f\xff\xff" * 20,
        "tuples": _tuples(40),
        "text": b"\xdb\xff\xff\xff\xffabc",
        "ext": b"\xc9\xff\xff\xff\xff\x05",
        "decimal": b"\xc7\x04\x051E+9",
        "timestamp": b"\xc7\x0c\xff" + b"\xff" * 12,
        "zstd": b"\xc1\x01\x28\xb5\x2f\xfd\xa0\x00\x00\x00\x40\x01\x00\x00",
    }
    found |= {f"hostile-{name}": b"\0\0" + data for name, data in hostile.items()}
    makers = bytes(range(256)) * 2
    return found | {
        f"value-{maker}": bytes([0, 1, maker]) + makers[maker * 7 :][:60]
        for maker in range(len(_MAKERS))
    }


def _tuples(depth: int) -> bytes:
    data = b"\x90"
    for _ in range(depth):
        data = b"\xc7" + bytes([len(data), 1]) + data
        data = b"\x91" + data
    return data

"""Scalars that msgpack has no type for, as ext payloads: a format on disk.

Knows one value at a time and must not know how values nest (`packing` does) or where
bytes go. Integers are big-endian; `offset` is the UTC offset in microseconds, 8 bytes
signed, and is there only when the value is aware.

    code  type       payload
    1     tuple      the items as one msgpack array
    2     set        the same, in any order
    3     frozenset  the same, in any order
    4     int        two's complement, for what does not fit in 64 bits only
    5     Decimal    str(value) in upper case, ASCII
    6     UUID       its 16 bytes
    7     datetime   year 2, month 1, day 1, hour 1, minute 1, second 1,
                     microsecond 4, fold 1, offset 8 or nothing: 12 or 20 bytes
    8     date       year 2, month 1, day 1
    9     time       hour 1, minute 1, second 1, microsecond 4, fold 1,
                     offset 8 or nothing: 8 or 16 bytes
    10    timedelta  days 4 signed, seconds 4, microseconds 4, as normalised by Python

Codes up to 63 are ours: one this version does not know is refused, never guessed. 64
to 127 belong to the caller, who packs and gets a `msgpack.ExtType`; -1 is msgpack's
own Timestamp.

A time zone is kept as its UTC offset and comes back as `datetime.timezone`: the same
instant, offset and fold; no zone name and no rules. (A ZoneInfo time in a gap or an
overlap equals nothing outside its zone, by PEP 495; its `timestamp()` is still kept.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from struct import Struct
from typing import TYPE_CHECKING, Any

from msgpack import ExtType

if TYPE_CHECKING:
    from decimal import Decimal
    from uuid import UUID

TUPLE, SET, FROZENSET, INT, DECIMAL, UUID_, DATETIME, DATE, TIME, TIMEDELTA = range(
    1, 11
)
FIRST_CALLER_CODE = 64

_NAIVE_DATETIME = Struct(">HBBBBBIB")
_AWARE_DATETIME = Struct(">HBBBBBIBq")
_NAIVE_TIME = Struct(">BBBIB")
_AWARE_TIME = Struct(">BBBIBq")
_DATE = Struct(">HBB")
_TIMEDELTA = Struct(">iII")
assert (_NAIVE_DATETIME.size, _AWARE_DATETIME.size) == (12, 20)
assert (_NAIVE_TIME.size, _AWARE_TIME.size) == (8, 16)
assert (_DATE.size, _TIMEDELTA.size) == (4, 12)

_MICROSECOND = timedelta(microseconds=1)
_SMALLEST_INT_BYTES = 9


def encode_scalar(value: object) -> ExtType | None:
    """Return the ext that stands for a value, or None where the table has none.

    Raises:
        ValueError: the value's tzinfo has no offset for it.
    """
    kind = type(value)
    encode = _ENCODERS.get(kind) or _late_encoder(kind)
    return encode(value) if encode else None


def decode_scalar(code: int, data: bytes) -> object:
    """Return the value of an ext that is no container.

    Raises:
        Exception: of any class, where the payload is not what `encode_scalar` writes.
    """
    if code >= FIRST_CALLER_CODE:
        return ExtType(code, data)
    decode = _DECODERS.get(code)
    if decode is None:
        raise ValueError(f"ext code {code} is unknown to this version")
    return decode(data)


def _late_encoder(kind: type) -> Callable[[Any], ExtType] | None:
    """Look among types whose modules are slow to import.

    A value of such a type exists only where its module has been imported already.
    """
    modules = sys.modules
    if kind is getattr(modules.get("decimal"), "Decimal", None):
        return _encode_decimal
    if kind is getattr(modules.get("uuid"), "UUID", None):
        return _encode_uuid
    return None


def _encode_int(value: int) -> ExtType:
    size = value.bit_length() // 8 + 1
    return ExtType(INT, value.to_bytes(size, "big", signed=True))


def _decode_int(data: bytes) -> int:
    if len(data) < _SMALLEST_INT_BYTES:
        raise ValueError(f"a big int of {len(data)} bytes")
    return int.from_bytes(data, "big", signed=True)


def _encode_decimal(value: Decimal) -> ExtType:
    # The context of the moment chooses between "e" and "E": upper() undoes that.
    return ExtType(DECIMAL, str(value).upper().encode("ascii"))


def _decode_decimal(data: bytes) -> Decimal:
    from decimal import Decimal

    text = data.decode("ascii")
    value = Decimal(text)
    # Decimal takes blanks and underscores, and a context that does not trap makes
    # NaN of garbage.
    if str(value).upper() != text:
        raise ValueError(f"{text[:40]!r} is not the text of a Decimal")
    return value


def _encode_uuid(value: UUID) -> ExtType:
    return ExtType(UUID_, value.bytes)


def _decode_uuid(data: bytes) -> UUID:
    from uuid import UUID

    return UUID(bytes=data)


def _encode_datetime(value: datetime) -> ExtType:
    fields = (value.year, value.month, value.day, *_clock_fields(value))
    return _with_offset(DATETIME, value, _NAIVE_DATETIME, _AWARE_DATETIME, fields)


def _decode_datetime(data: bytes) -> datetime:
    layout = _NAIVE_DATETIME if len(data) == _NAIVE_DATETIME.size else _AWARE_DATETIME
    year, month, day, hour, minute, second, micros, fold, *offset = layout.unpack(data)
    zone = _zone(*offset)
    return datetime(
        year, month, day, hour, minute, second, micros, tzinfo=zone, fold=fold
    )


def _encode_time(value: time) -> ExtType:
    fields = _clock_fields(value)
    return _with_offset(TIME, value, _NAIVE_TIME, _AWARE_TIME, fields)


def _decode_time(data: bytes) -> time:
    layout = _NAIVE_TIME if len(data) == _NAIVE_TIME.size else _AWARE_TIME
    hour, minute, second, micros, fold, *offset = layout.unpack(data)
    return time(hour, minute, second, micros, tzinfo=_zone(*offset), fold=fold)


def _clock_fields(value: datetime | time) -> tuple[int, ...]:
    return value.hour, value.minute, value.second, value.microsecond, value.fold


def _with_offset(
    code: int,
    value: datetime | time,
    naive: Struct,
    aware: Struct,
    fields: tuple[int, ...],
) -> ExtType:
    if value.tzinfo is None:
        return ExtType(code, naive.pack(*fields))
    offset = value.utcoffset()
    # Stored as naive it would come back as another kind of value.
    if offset is None:
        raise ValueError(
            f"its tzinfo {type(value.tzinfo).__name__} gives no UTC offset"
        )
    return ExtType(code, aware.pack(*fields, offset // _MICROSECOND))


def _zone(offset_us: int | None = None) -> timezone | None:
    if offset_us is None:
        return None
    return timezone(timedelta(microseconds=offset_us))


def _encode_date(value: date) -> ExtType:
    return ExtType(DATE, _DATE.pack(value.year, value.month, value.day))


def _decode_date(data: bytes) -> date:
    return date(*_DATE.unpack(data))


def _encode_timedelta(value: timedelta) -> ExtType:
    fields = value.days, value.seconds, value.microseconds
    return ExtType(TIMEDELTA, _TIMEDELTA.pack(*fields))


def _decode_timedelta(data: bytes) -> timedelta:
    fields = _TIMEDELTA.unpack(data)
    value = timedelta(*fields)
    if (value.days, value.seconds, value.microseconds) != fields:
        raise ValueError(f"a timedelta of {fields} is not normalised")
    return value


_ENCODERS: dict[type, Callable[[Any], ExtType]] = {
    int: _encode_int,
    datetime: _encode_datetime,
    date: _encode_date,
    time: _encode_time,
    timedelta: _encode_timedelta,
}

# Kinds that have an encoder here, as far as their modules are loaded.
SCALARS = frozenset(_ENCODERS)

_DECODERS: dict[int, Callable[[bytes], object]] = {
    INT: _decode_int,
    DECIMAL: _decode_decimal,
    UUID_: _decode_uuid,
    DATETIME: _decode_datetime,
    DATE: _decode_date,
    TIME: _decode_time,
    TIMEDELTA: _decode_timedelta,
}

"""The ops of a log and their msgpack encoding, as docs/wal_format.md has it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple, TypeAlias

import msgpack

from hypercache.errors import LimitError
from hypercache.options import MAX_KEY_BYTES, MAX_VALUE_BYTES

PUT, DELETE, TOUCH, CLEAR = 1, 2, 3, 4


class Put(NamedTuple):
    """Store a value; `expires_at_ms` 0 means never."""

    key: bytes
    value: bytes
    expires_at_ms: int = 0


class Delete(NamedTuple):
    """Remove a key, present or not."""

    key: bytes


class Touch(NamedTuple):
    """Change the expiry of a key that is present."""

    key: bytes
    expires_at_ms: int


class Clear(NamedTuple):
    """Remove every key; always alone in its batch."""


class Puts(NamedTuple):
    """Puts of values that never expire, in order."""

    keys: tuple[bytes, ...]
    values: tuple[bytes, ...]


KeyOp: TypeAlias = Put | Delete | Touch
Op: TypeAlias = KeyOp | Clear
Unpacked: TypeAlias = Puts | Sequence[Op]

# autoreset is the default: pack() returns bytes and forgets. One packer serves one
# thread at a time, so each log owns one and calls it under its lock.
Packer = msgpack.Packer
# Without a call in Python, which would be most of the time.
_as_put = partial(tuple.__new__, Put)
_ARRAY_HEAD, _ARRAY_32 = struct.Struct(">BI"), 0xDD
_LONG_BIN = b"\xc6"  # with it begin keys and values of over 65,535 bytes
_MAX_FIELDS = 4


def encode(packer: msgpack.Packer, ops: Iterable[Op]) -> bytes:
    """Return the payload of a frame with these ops."""
    return _packed(packer, list(map(_array, ops)))


def encode_puts(packer: msgpack.Packer, values: Mapping[bytes, bytes]) -> bytes:
    """Return the payload of a frame with puts of values that never expire."""
    return _packed(packer, list(zip(repeat(PUT), values, values.values())))


def _packed(packer: msgpack.Packer, arrays: list[Any]) -> bytes:
    # One array of them all, without its head: a third of the time of one by one.
    whole: bytes = packer.pack(arrays)
    return whole[_head_bytes(len(arrays)) :]


def _head_bytes(count: int) -> int:
    """Return how long msgpack's head of an array of so many is."""
    if count < 1 << 4:
        return 1
    return 3 if count < 1 << 16 else 5


def decode(payload: bytes | memoryview, count: int) -> Sequence[Op]:
    """Return the `count` ops of a payload.

    Raises:
        ValueError: the payload is not what `encode` writes.
    """
    return as_ops(unpack(payload, count))


def unpack(payload: bytes | memoryview, count: int) -> Unpacked:
    """Return the `count` ops of one payload or of several in a row.

    Raises:
        ValueError: there are more or fewer, or one is no op.
    """
    try:
        # One array of them all: a quarter of the time of asking for one by one.
        whole = b"".join((_ARRAY_HEAD.pack(_ARRAY_32, count), payload))
        # An array takes its memory before its items are seen: none is longer than this.
        longest = max(_MAX_FIELDS, min(count, len(payload)))
        arrays = msgpack.unpackb(whole, use_list=False, max_array_len=longest)
    except (msgpack.UnpackException, ValueError, TypeError, struct.error) as error:
        raise ValueError(f"no {count} ops: {error}") from error
    return _maybe_puts(arrays, _LONG_BIN in whole) or _ops(arrays)


def as_ops(unpacked: Unpacked) -> Sequence[Op]:
    """Return what `unpack` returned as ops."""
    if not isinstance(unpacked, Puts):
        return unpacked
    return list(map(_as_put, zip(*unpacked, repeat(0))))


def without_first(unpacked: Unpacked, count: int) -> Unpacked:
    """Return the ops but for the first `count`."""
    if isinstance(unpacked, Puts):
        return Puts(unpacked.keys[count:], unpacked.values[count:])
    return unpacked[count:]


def _maybe_puts(arrays: tuple[Any, ...], may_be_long: bool) -> Puts | None:
    # Nearly all logs are this, and it takes a tenth of looking at ops one by one.
    try:
        kinds, keys, values = zip(*arrays, strict=True)
        if set(kinds) != {PUT} or set(map(type, arrays)) != {tuple}:
            return None
    except (TypeError, ValueError):
        return None
    if not set(map(type, keys)) == {bytes} == set(map(type, values)):
        return None
    if not all(keys) or (may_be_long and max(map(len, keys)) > MAX_KEY_BYTES):
        return None
    return Puts(keys, values)


def _ops(arrays: tuple[Any, ...]) -> Sequence[Op]:
    try:
        return list(map(_op, arrays))
    except TypeError as error:
        raise ValueError(f"no ops: {error}") from error


def decode_sized(payload: bytes | memoryview, count: int) -> Sequence[tuple[Op, int]]:
    """Return the ops of a payload, each with the bytes it takes there.

    Raises:
        ValueError: the payload is not what `encode` writes.
    """
    found = decode(payload, count)
    if count == 1:
        return ((found[0], len(payload)),)
    unpacker = msgpack.Unpacker(max_buffer_size=max(1, len(payload)))
    unpacker.feed(payload)
    ends = [0]
    for _ in found:
        unpacker.skip()
        ends.append(unpacker.tell())
    return [
        (op, end - start) for op, start, end in zip(found, ends, ends[1:], strict=False)
    ]


def check_key(key: bytes) -> None:
    """Refuse a key out of range.

    Raises:
        LimitError: the key is empty or longer than 65,535 bytes.
    """
    if not 0 < len(key) <= MAX_KEY_BYTES:
        raise LimitError(
            f"a key has 1 to {MAX_KEY_BYTES} bytes, this one has {len(key)}"
            f" ({key[:32]!r}{'...' if len(key) > 32 else ''})"
        )


def check_value(key: bytes, value: object) -> None:
    """Refuse a value out of range.

    What never leaves RAM may be something else than bytes, see `Codec.in_ram`.

    Raises:
        LimitError: the value is longer than 512 MiB.
    """
    if isinstance(value, bytes) and len(value) > MAX_VALUE_BYTES:
        raise LimitError(
            f"the value for key {key[:64]!r} has {len(value)} bytes once encoded; the "
            f"limit is {MAX_VALUE_BYTES}: split it or keep it in a file of its own"
        )


def check_expiry(key: bytes, expires_at_ms: int) -> None:
    """Refuse an expiry out of range.

    Raises:
        LimitError: it is negative or takes more than 63 bits.
    """
    if not 0 <= expires_at_ms < 1 << 63:
        raise LimitError(
            f"the expiry of key {key[:64]!r} is {expires_at_ms}; it must be "
            "milliseconds since the epoch, or 0 for never"
        )


def _array(op: Op) -> tuple[object, ...]:
    if isinstance(op, Put):  # not by `match`, which takes twice as long
        key, value, expires_at_ms = op
        return (PUT, key, value, expires_at_ms) if expires_at_ms else (PUT, key, value)
    match op:
        case Delete():
            return (DELETE, *op)
        case Touch():
            return (TOUCH, *op)
        case Clear():
            return (CLEAR,)


def _op(array: Any) -> Op:
    # Not `match`, which takes three times as long, and replay does little else.
    if type(array) is not tuple:
        raise ValueError("no op: it is no array")
    kind, *fields = array
    if kind == PUT:
        key, value, expires_at_ms = fields if len(fields) == 3 else (*fields, 0)
        if type(value) is bytes:
            return Put(_key(key), value, _time(expires_at_ms))
    elif kind == DELETE and len(fields) == 1:
        return Delete(_key(fields[0]))
    elif kind == TOUCH and len(fields) == 2:
        return Touch(_key(fields[0]), _time(fields[1]))
    elif array == (CLEAR,):
        return Clear()
    raise ValueError(f"no op of kind {kind}")


def _key(key: object) -> bytes:
    if type(key) is bytes and 0 < len(key) <= MAX_KEY_BYTES:
        return key
    raise ValueError("a key of another type or length")


def _time(expires_at_ms: object) -> int:
    if type(expires_at_ms) is int and expires_at_ms >= 0:
        return expires_at_ms
    raise ValueError("an expiry of another type or range")


def check_puts(values: Mapping[bytes, bytes]) -> None:
    """Refuse keys and values out of range, as `check_key` and `check_value` do.

    Raises:
        LimitError: one of them is.
    """
    key_lengths = list(map(len, values))
    if not key_lengths:
        return
    longest_value = max(map(len, values.values()))
    if not (min(key_lengths) > 0 and max(key_lengths) <= MAX_KEY_BYTES) or (
        longest_value > MAX_VALUE_BYTES
    ):
        for key, value in values.items():
            check_key(key)
            check_value(key, value)

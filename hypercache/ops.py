"""The ops of a log and their msgpack encoding, as docs/wal_format.md has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
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


KeyOp: TypeAlias = Put | Delete | Touch
Op: TypeAlias = KeyOp | Clear

# autoreset is the default: pack() returns bytes and forgets. One packer serves one
# thread at a time, so each log owns one and calls it under its lock.
Packer = msgpack.Packer
_make = tuple.__new__
# Ops as they are in the log: kind, key, and what else the kind has.
Arrays: TypeAlias = list[tuple[Any, ...]]
_kind_of, key_of, value_of = itemgetter(0), itemgetter(1), itemgetter(2)


def encode(packer: msgpack.Packer, ops: Iterable[Op]) -> bytes:
    """Return the payload of a frame with these ops."""
    return b"".join(packer.pack(_array(op)) for op in ops)


def decode(payload: bytes | memoryview, count: int) -> Sequence[Op]:
    """Return the `count` ops of a payload.

    Raises:
        ValueError: the payload is not what `encode` writes.
    """
    return from_arrays(unpack(payload, count))


def unpack(payload: bytes | memoryview, count: int) -> Arrays:
    """Return the arrays of the `count` ops in one payload or several in a row.

    Raises:
        ValueError: there are more or fewer, or one is no op.
    """
    unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=max(1, len(payload)))
    unpacker.feed(payload)
    try:
        arrays: Arrays = list(unpacker)
        whole = unpacker.tell() == len(payload)
    except (msgpack.UnpackException, TypeError) as error:
        raise ValueError(f"no ops: {error}") from error
    if len(arrays) != count or not whole:
        raise ValueError(f"{len(arrays)} ops where the header has {count}")
    if not are_plain_puts(arrays):
        from_arrays(arrays)
    return arrays


def are_plain_puts(arrays: Arrays) -> bool:
    """Tell whether all are puts of a key and a value that never expires.

    Nearly all are, and this takes a tenth of looking at them one by one.
    """
    return (
        set(map(type, arrays)) <= {tuple}
        and set(map(len, arrays)) <= {3}
        and set(map(_kind_of, arrays)) <= {PUT}
        and set(map(type, map(key_of, arrays))) <= {bytes}
        and set(map(type, map(value_of, arrays))) <= {bytes}
    )


def from_arrays(arrays: Arrays) -> Sequence[Op]:
    """Return the ops that arrays stand for.

    Raises:
        ValueError: one is no op.
    """
    if are_plain_puts(arrays):
        return [_make(Put, (key, value, 0)) for _, key, value in arrays]
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


def check_value(key: bytes, value: bytes) -> None:
    """Refuse a value out of range.

    Raises:
        LimitError: the value is longer than 512 MiB.
    """
    if len(value) > MAX_VALUE_BYTES:
        raise LimitError(
            f"the value for key {key[:64]!r} has {len(value)} bytes once encoded; the "
            f"limit is {MAX_VALUE_BYTES}: split it or keep it in a file of its own"
        )


def _array(op: Op) -> tuple[object, ...]:
    match op:
        case Put(key, value, 0):
            return (PUT, key, value)
        case Put():
            return (PUT, *op)
        case Delete():
            return (DELETE, *op)
        case Touch():
            return (TOUCH, *op)
        case Clear():
            return (CLEAR,)


def _op(array: Any) -> Op:
    # Not `match`, which takes three times as long, and replay does little else.
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
    if type(key) is bytes:
        return key
    raise ValueError("a key of another type")


def _time(expires_at_ms: object) -> int:
    if type(expires_at_ms) is int:
        return expires_at_ms
    raise ValueError("an expiry of another type")

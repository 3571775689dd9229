"""The ops of a log and their msgpack encoding, as docs/wal_format.md has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

import msgpack

from hypercache.errors import LimitError
from hypercache.frame import MAX_PAYLOAD_BYTES
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


def encode(packer: msgpack.Packer, ops: Iterable[Op]) -> bytes:
    """Return the payload of a frame with these ops."""
    return b"".join(packer.pack(_array(op)) for op in ops)


def decode(payload: bytes | memoryview) -> Iterator[Op]:
    """Yield the ops of a payload.

    Raises:
        ValueError: the payload is not what `encode` writes.
    """
    unpacker = msgpack.Unpacker(
        use_list=False, max_buffer_size=MAX_PAYLOAD_BYTES, raw=True
    )
    unpacker.feed(payload)
    for array in unpacker:
        yield _op(array)
    if unpacker.tell() != len(payload):
        raise ValueError("the payload ends inside an op")


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


def _op(array: object) -> Op:
    match array:
        case (1, bytes(key), bytes(value)):
            return Put(key, value)
        case (1, bytes(key), bytes(value), int(expires_at_ms)):
            return Put(key, value, expires_at_ms)
        case (2, bytes(key)):
            return Delete(key)
        case (3, bytes(key), int(expires_at_ms)):
            return Touch(key, expires_at_ms)
        case (4,):
            return Clear()
    raise ValueError("unknown op")

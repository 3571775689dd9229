"""What clients see of stored values: bytes, whatever serializer a store has."""

from __future__ import annotations

from hypercache.codec import Codec
from hypercache.errors import SerializationError
from hypercache.server.errors import WrongTypeError


def as_bytes(value: object) -> bytes:
    """Return what a client reads of a Python value.

    Raises:
        WrongTypeError: it is neither bytes, text, a number nor a truth value.
    """
    if type(value) is bytes:
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, bool):
        return b"1" if value else b"0"
    if isinstance(value, int | float):
        return repr(value).encode()
    raise WrongTypeError


def encoded(codec: Codec, data: bytes) -> bytes:
    """Return the stored form of what a client sent.

    Raises:
        WrongTypeError: the store keeps text, and this is none.
    """
    if codec.serializer_name != "json":
        return codec.encode(data)
    try:
        return codec.encode(data.decode())
    except (UnicodeDecodeError, SerializationError) as error:
        raise WrongTypeError from error

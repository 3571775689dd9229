"""Serializers: the built-in ones by name, and any object with dumps and loads.

Each turns a value into bytes and back. Whatever goes wrong inside one comes out as
SerializationError or DeserializationError. `packing` holds the default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hypercache.errors import ConfigError, SerializationError
from hypercache.failures import cannot_decode, cannot_encode, unsupported
from hypercache.packing import MsgpackSerializer

_MAX_JSON_DEPTH = 256
_JSON_SCALARS = frozenset({str, int, float, bool, type(None)})
_JSON_KINDS = frozenset({str, int, float, list, tuple, dict})


class Serializer(Protocol):
    """What a cache needs of a serializer; `pickle` would do, if passed by hand."""

    def dumps(self, value: object, /) -> bytes:
        """Return the bytes that stand for a value."""

    def loads(self, data: bytes, /) -> object:
        """Return the value that such bytes stand for."""


class NamedSerializer(Serializer, Protocol):
    """A serializer with a name, and only HyperCache's errors."""

    @property
    def name(self) -> str:
        """Return the name that goes into messages and into the store."""


class JsonSerializer:
    """Encode what JSON has, as compact UTF-8; a tuple comes back as a list.

    Anything else that JSON would change without a word is refused: keys that are not
    str, subclasses, NaN and infinity, lone surrogates.
    """

    name = "json"

    def __init__(self) -> None:
        from json import JSONDecoder, JSONEncoder

        self._encode = JSONEncoder(
            ensure_ascii=False,
            check_circular=False,  # _check_json bounds the depth
            allow_nan=False,
            separators=(",", ":"),
        ).encode
        self._decode: Callable[[str], object] = JSONDecoder(
            parse_constant=_refuse_constant
        ).decode

    def dumps(self, value: object) -> bytes:
        """Return the value as JSON.

        Raises:
            SerializationError: JSON has no way to write it.
        """
        try:
            return self._checked_encode(value)
        except Exception as error:
            encode = self._checked_encode
            raise cannot_encode(self.name, value, error, encode=encode) from error

    def loads(self, data: bytes) -> object:
        """Return the value of a JSON text.

        Raises:
            DeserializationError: the bytes are not JSON in UTF-8.
        """
        try:
            return self._decode(data.decode())
        except Exception as error:
            raise cannot_decode(self.name, data, error) from error

    def _checked_encode(self, value: object) -> bytes:
        _check_json(value, _MAX_JSON_DEPTH)
        return self._encode(value).encode()


class BytesSerializer:
    """Take bytes and give the same object back."""

    name = "bytes"

    def dumps(self, value: object) -> bytes:
        """Return the value itself.

        Raises:
            SerializationError: it is not bytes.
        """
        if type(value) is bytes:
            return value
        raise cannot_encode(self.name, value, TypeError(_bytes_advice(value)))

    def loads(self, data: bytes) -> object:
        """Return the stored bytes."""
        return data


class CustomSerializer:
    """Give a caller's serializer a name, and our errors for whatever it raises."""

    name = "custom"

    def __init__(self, inner: Serializer) -> None:
        for method in ("dumps", "loads"):
            if not callable(getattr(inner, method, None)):
                raise ConfigError(f"serializer {inner!r} has no method {method}()")
        self._inner = inner
        own_name = getattr(inner, "__name__", type(inner).__qualname__)
        self._title = f"{self.name} ({own_name})"

    def dumps(self, value: object) -> bytes:
        """Return what the caller's serializer makes of the value, as bytes.

        Raises:
            SerializationError: it raised something, or returned no bytes.
        """
        try:
            data: object = self._inner.dumps(value)
        except Exception as error:
            raise cannot_encode(self._title, value, error) from error
        if type(data) is bytes:
            return data
        if isinstance(data, (bytes, bytearray, memoryview)):
            return bytes(data)
        raise SerializationError(
            f"the {self._title} serializer made {type(data).__name__} of a value of "
            f"type {type(value).__name__}; its dumps() must return bytes"
        )

    def loads(self, data: bytes) -> object:
        """Return what the caller's serializer makes of the bytes.

        Raises:
            DeserializationError: it raised something.
        """
        try:
            return self._inner.loads(data)
        except Exception as error:
            raise cannot_decode(self._title, data, error) from error


BuiltIn = MsgpackSerializer | JsonSerializer | BytesSerializer
BUILT_IN: dict[str, type[BuiltIn]] = {
    kind.name: kind for kind in (MsgpackSerializer, JsonSerializer, BytesSerializer)
}


def find_serializer(choice: str | Serializer) -> NamedSerializer:
    """Return the built-in serializer of a name, or the caller's own, wrapped.

    Raises:
        ConfigError: no such name, or no dumps and loads.
    """
    if isinstance(choice, BuiltIn):
        return choice
    if not isinstance(choice, str):
        return CustomSerializer(choice)
    if choice not in BUILT_IN:
        names = ", ".join(repr(name) for name in BUILT_IN)
        raise ConfigError(
            f"unknown serializer {choice!r}: use one of {names}, or an object with "
            "dumps and loads"
        )
    return BUILT_IN[choice]()


def _check_json(value: object, depth_left: int) -> None:
    """Refuse what JSONEncoder would write as something else."""
    if type(value) in _JSON_SCALARS:
        return
    if not depth_left:
        raise ValueError(f"over {_MAX_JSON_DEPTH} levels of nesting")
    if type(value) is dict:
        for key, part in value.items():
            if type(key) is not str:
                raise TypeError(f"JSON keys are str, one here is {type(key).__name__}")
            _check_json(part, depth_left - 1)
    elif type(value) is list or type(value) is tuple:
        for part in value:
            _check_json(part, depth_left - 1)
    else:
        raise unsupported(value, _JSON_KINDS)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _bytes_advice(value: object) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "it would come back as plain bytes, so wrap it in bytes() first"
    return "it takes bytes only"

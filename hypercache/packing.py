"""Python values as msgpack, and back as the same types.

Knows how values nest; `exttypes` knows the ext codes and their payloads. What msgpack
holds natively is packed natively, all of it in one C call. A tuple, set or frozenset
is an ext whose payload is msgpack again: one more call, one level deeper.

Types come back exactly, so a subclass is refused. Two exceptions that the C packer
hides from us: a bytearray or memoryview comes back as bytes, and an ExtType that the
caller packs with a code of ours (below 64) is read as ours.

Depth is bounded here because C bounds it badly: a packer recurses on the C stack (250
bytes a level, 1,024 levels, anew for each ext) and an unpacker puts 40 KiB there.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from msgpack import ExtType, Packer, Unpacker, unpackb
from msgpack.exceptions import StackError

from hypercache.exttypes import (
    FROZENSET,
    SCALARS,
    SET,
    TUPLE,
    decode_scalar,
    encode_scalar,
)
from hypercache.failures import cannot_decode, cannot_encode, unsupported

# Tuples and sets inside each other: 1.3 MiB of stack to unpack.
MAX_EXT_DEPTH = 32

# Where so many tuples and sets are inside each other, what is in them is measured
# before it is packed. Without that, 32 of them with lists between take 8 MiB of stack.
_MEASURED_EXT_DEPTH = 4
_MAX_MEASURED_DEPTH = 256

# The unpacker gives up at 1,025 levels and the packer one later. So many levels do
# not fit in fewer bytes than this, so that small values need no second look.
_SHALLOW_BYTES = 1024

# A Packer begins with 256 KiB unless told otherwise; this grows as needed.
_BUFFER_BYTES = 512

_NESTING = frozenset({dict, list, tuple, set, frozenset})
_KINDS = _NESTING | SCALARS | {int, float, str, bytes}
_CODES: dict[type, int] = {tuple: TUPLE, set: SET, frozenset: FROZENSET}
_CONTAINERS: dict[int, Any] = {code: kind for kind, code in _CODES.items()}


class MsgpackSerializer:
    """Encode the types of `exttypes` and what msgpack has; the default."""

    name = "msgpack"

    def dumps(self, value: object) -> bytes:
        """Return the value as msgpack.

        Raises:
            SerializationError: the value, or a part of it, would not come back.
        """
        # A Packer per call costs 0.05 us more than one per thread. That one would keep
        # the largest buffer it ever needed, and break when a signal handler or a
        # finalizer stores something while it packs.
        try:
            packer = Packer(
                default=_pack_ext, strict_types=True, buf_size=_BUFFER_BYTES
            )
            data: bytes = packer.pack(value)
            if len(data) > _SHALLOW_BYTES:
                _check_depth(value, data)
        except UnicodeEncodeError:
            return self._dumps_surrogates(value)
        except Exception as error:
            raise self._refused(value, error) from error
        return data

    def loads(self, data: bytes) -> object:
        """Return the value of what `dumps` returned.

        Raises:
            DeserializationError: the bytes are not what `dumps` returns.
        """
        try:
            return unpackb(
                data,
                ext_hook=_unpack_ext,
                strict_map_key=False,
                unicode_errors="surrogatepass",
            )
        except Exception as error:
            raise cannot_decode(self.name, data, error) from error

    def _dumps_surrogates(self, value: object) -> bytes:
        """Pack text that UTF-8 proper does not have: slower, so only when met."""
        try:
            return _WITH_SURROGATES.pack(value)
        except Exception as error:
            raise self._refused(value, error) from error

    def _refused(self, value: object, error: Exception) -> Exception:
        encode = _WITH_SURROGATES.pack
        return cannot_encode(self.name, value, error, encode=encode)


class _Encoder:
    """Pack what lies inside so many tuples and sets."""

    __slots__ = ("_deeper", "_depth", "_unicode_errors")

    def __init__(self, unicode_errors: str, depth: int = 0) -> None:
        self._unicode_errors = unicode_errors
        self._depth = depth
        self._deeper: _Encoder | None = None
        if depth < MAX_EXT_DEPTH:
            self._deeper = _Encoder(unicode_errors, depth + 1)

    def pack(self, value: object) -> bytes:
        packer = Packer(
            default=self.ext,
            strict_types=True,
            unicode_errors=self._unicode_errors,
            buf_size=_BUFFER_BYTES,
        )
        data: bytes = packer.pack(value)
        if len(data) > _SHALLOW_BYTES:
            _check_depth(value, data)
        return data

    def ext(self, value: object) -> ExtType:
        """Return the ext for what msgpack does not have; the packer's default hook."""
        code = _CODES.get(type(value))
        if code is not None:
            return ExtType(code, self._pack_items(list(value)))  # type: ignore[call-overload]
        found = encode_scalar(value)
        if found is None:
            raise unsupported(value, _KINDS)
        return found

    def _pack_items(self, items: list[object]) -> bytes:
        if self._deeper is None:
            raise ValueError(f"over {MAX_EXT_DEPTH} tuples or sets inside each other")
        if self._depth == _MEASURED_EXT_DEPTH:
            _measure(items)
        return self._deeper.pack(items)


class _Decoder:
    """Unpack what lies inside so many tuples and sets."""

    __slots__ = ("_deeper",)

    def __init__(self, depth: int = 0) -> None:
        self._deeper = _Decoder(depth + 1) if depth < MAX_EXT_DEPTH else None

    def ext(self, code: int, data: bytes) -> object:
        """Return the value of an ext; the unpacker's hook."""
        container = _CONTAINERS.get(code)
        if container is None:
            return decode_scalar(code, data)
        if self._deeper is None:
            raise ValueError(f"over {MAX_EXT_DEPTH} tuples or sets inside each other")
        items = self._deeper.unpack(data)
        if type(items) is not list:
            raise ValueError(f"ext code {code} holds no array")
        return container(items)

    def unpack(self, data: bytes) -> object:
        return unpackb(
            data,
            ext_hook=self.ext,
            strict_map_key=False,
            unicode_errors="surrogatepass",
        )


def _check_depth(value: object, data: bytes) -> None:
    """Refuse what was packed but is too deep to be unpacked."""
    if type(value) is not dict and type(value) is not list:
        return
    unpacker = Unpacker(None, max_buffer_size=len(data))
    unpacker.feed(data)
    try:
        unpacker.skip()
    except StackError as error:
        raise ValueError(f"over {_SHALLOW_BYTES} levels of nesting") from error


def _measure(items: list[object]) -> None:
    """Refuse what is too deep to be packed from here; ends on a cycle, too."""
    layer: list[Any] = [items]
    for _ in range(_MAX_MEASURED_DEPTH):
        layer = _next_layer(layer)
        if not layer:
            return
    raise ValueError(
        f"over {_MAX_MEASURED_DEPTH} levels of nesting, and that inside "
        f"{_MEASURED_EXT_DEPTH} tuples or sets"
    )


def _next_layer(layer: list[Any]) -> list[Any]:
    """Return the containers inside these, each once however often it is shared."""
    parts = chain.from_iterable(
        chain(part, part.values()) if type(part) is dict else part for part in layer
    )
    return list({id(part): part for part in parts if type(part) in _NESTING}.values())


_WITH_SURROGATES = _Encoder("surrogatepass")
_pack_ext = _Encoder("strict").ext
_unpack_ext = _Decoder().ext

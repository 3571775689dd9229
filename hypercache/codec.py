"""What is stored of a value: the serializer's bytes, compressed where that pays.

    stored  = plain | MARKER kind payload

The kinds are in docs/value_format.md. MARKER is the one byte that msgpack never uses;
JSON text never begins with it either. A store may hold both forms whatever its setting
is now. Knows no keys, no expiry and no checksums: those belong to the records around
the value.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hypercache.attributes import (
    MARKER,
    Attributed,
    Attributes,
    Record,
    attributed,
    parse,
)
from hypercache.errors import ConfigError, DeserializationError
from hypercache.failures import cannot_decode
from hypercache.packing import MsgpackSerializer
from hypercache.serializers import (
    BytesSerializer,
    CustomSerializer,
    Serializer,
    find_serializer,
)

if TYPE_CHECKING:
    from zstandard import ZstdCompressor, ZstdDecompressor

ESCAPED = MARKER + b"\x00"
COMPRESSED = MARKER + b"\x01"
MAX_DECOMPRESSED_BYTES = 1024**3

# Of these exact types msgpack takes every value, and gives the same back.
UNCHANGEABLE: frozenset[type] = frozenset({str, bytes, int, float, bool})

# A compressed value must be this much smaller, or it is not worth its decompression.
_WORTH_RATIO = 0.9

# No zstd frame does better: a block of at most 128 KiB takes at least 4 bytes. So a
# small frame cannot make us reserve a gigabyte by claiming to hold one.
_BEST_RATIO = 128 * 1024 // 4


class Packed(bytes):
    """The stored form of a value, where others are kept as they are."""

    __slots__ = ()


class Codec:
    """Turn values into stored bytes and back; safe to share between threads.

    Attributes:
        encode: return the stored form of a value; raises SerializationError.
        decode: return the value of a stored form, or an Attributed or a Record; raises
            DeserializationError.
        serializer_name: "msgpack", "json", "bytes" or "custom".
        kept: the types of stored forms that are the values themselves.
        pack: return the bytes of the stored form of a value.
        form: the type of all other stored forms.
    """

    kept: frozenset[type] = frozenset()
    form: type[bytes] = bytes

    encode: Callable[[object], bytes]
    pack: Callable[[object], bytes]
    decode: Callable[[bytes], object]

    def __init__(
        self,
        serializer: str | Serializer = "msgpack",
        compress_min_bytes: int | None = None,
        *,
        level: int = 3,
    ) -> None:
        _check("compress_min_bytes", compress_min_bytes, low=0, none_allowed=True)
        _check("level", level, low=1, high=22)
        chosen = find_serializer(serializer)
        self.serializer_name = chosen.name
        self._dumps, self._loads = chosen.dumps, chosen.loads
        self._min_bytes = compress_min_bytes or 0
        self._zstd = _Zstd(level)
        # Chosen once: each call saved here is saved on every set and get.
        self.encode, self.decode = self._encode_plain, self._decode
        if compress_min_bytes is not None:
            self.encode = self._encode_compressed
        elif isinstance(chosen, BytesSerializer):
            self.encode = self._encode_bytes
        elif not isinstance(chosen, CustomSerializer):
            self.encode = chosen.dumps  # never begins with MARKER
        if isinstance(chosen, BytesSerializer):
            self.decode = self._decode_bytes
        self.pack = self.encode

    def in_ram(self) -> Codec:
        """Return a codec for values that never leave RAM.

        What cannot be changed needs no copy: with msgpack and without compression it is
        kept as it is, and a hit returns it at once. All else is `Packed`.
        """
        if self.serializer_name != MsgpackSerializer.name or self._min_bytes:
            return self
        kept = copy.copy(self)
        packed, unpack = self.encode, self.decode

        def encode(value: object) -> Any:
            return value if type(value) in UNCHANGEABLE else Packed(packed(value))

        def decode(data: Any) -> object:
            if type(data) is not Packed:
                return data
            return kept.split(data) or unpack(data)

        kept.encode, kept.decode = encode, decode
        kept.pack, kept.kept = packed, UNCHANGEABLE
        kept.form = Packed
        return kept

    def with_attributes(self, value: object, attributes: Attributes) -> bytes:
        """Return the stored form of a value with attributes in front of it."""
        return self.form(attributed(attributes, self.pack(value)))

    def split(self, data: bytes) -> Attributed | Record | None:
        """Return what a stored form has in front of a value, None for nothing.

        Raises:
            DeserializationError: this version did not write it.
        """
        if type(data) is not self.form or data[:1] != MARKER:
            return None
        found = parse(data)
        if isinstance(found, Attributed):
            return Attributed(found.attributes, self.form(found.stored))
        return found

    def _encode_bytes(self, value: object) -> bytes:
        if type(value) is bytes and value[:1] != MARKER:
            return value
        return self._encode_plain(value)

    def _encode_plain(self, value: object) -> bytes:
        data = self._dumps(value)
        return ESCAPED + data if data[:1] == MARKER else data

    def _encode_compressed(self, value: object) -> bytes:
        data = self._dumps(value)
        if self._min_bytes <= len(data) <= MAX_DECOMPRESSED_BYTES:
            packed = COMPRESSED + self._zstd.compress(data)
            if len(packed) <= len(data) * _WORTH_RATIO:
                return packed
        return ESCAPED + data if data[:1] == MARKER else data

    def _decode_bytes(self, data: bytes) -> object:
        if data[:1] != MARKER:
            return data
        return self.split(data) or self._unwrap(data)

    def _decode(self, data: bytes) -> object:
        if data[:1] == MARKER:
            found = self.split(data)
            if found is not None:
                return found
            data = self._unwrap(data)
        return self._loads(data)

    def _unwrap(self, data: bytes) -> bytes:
        """Return the serializer's bytes of a stored form that begins with MARKER."""
        kind, payload = data[:2], data[2:]
        if kind == ESCAPED and payload[:1] == MARKER:
            return payload
        if kind != COMPRESSED:
            raise DeserializationError(
                f"a stored value of {len(data)} bytes begins with {kind.hex()}, which "
                "this version does not write; run `hypercache check` on the cache"
            )
        try:
            return self._zstd.decompress(payload)
        except Exception as error:
            raise cannot_decode("zstd", data, error) from error


class _Zstd:
    """Lend every call a compressor of its own, made or made before.

    zstandard's objects serve one thread at a time and take 15 us to make. Pools, as
    list.pop and list.append are atomic; zstandard is imported when first needed.
    """

    def __init__(self, level: int) -> None:
        self._level = level
        self._compressors: list[ZstdCompressor] = []
        self._decompressors: list[ZstdDecompressor] = []

    def compress(self, data: bytes) -> bytes:
        try:
            compressor = self._compressors.pop()
        except IndexError:
            from zstandard import ZstdCompressor

            compressor = ZstdCompressor(level=self._level)
        frame = compressor.compress(data)
        self._compressors.append(compressor)
        return frame

    def decompress(self, frame: bytes) -> bytes:
        from zstandard import ZstdDecompressor, frame_content_size

        size = frame_content_size(frame)
        if not 0 < size <= min(MAX_DECOMPRESSED_BYTES, len(frame) * _BEST_RATIO):
            raise ValueError(f"a frame of {len(frame)} bytes claims to hold {size}")
        try:
            decompressor = self._decompressors.pop()
        except IndexError:
            decompressor = ZstdDecompressor()
        data = decompressor.decompress(frame, allow_extra_data=False)
        self._decompressors.append(decompressor)
        return data


def _check(
    name: str,
    value: object,
    *,
    low: int,
    high: int | None = None,
    none_allowed: bool = False,
) -> None:
    if value is None and none_allowed:
        return
    span = f"an int from {low}" + (f" to {high}" if high is not None else " up")
    wanted = span + (" or None" if none_allowed else "")
    if type(value) is not int or value < low or (high is not None and value > high):
        raise ConfigError(f"{name} must be {wanted}, not {value!r}")

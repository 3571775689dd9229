"""A filter as bytes, and back: docs/filter_format.md. Pure."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from hypercache.checksum import crc32c
from hypercache.cuckoo import CODES, PLACE_COUNT, Table
from hypercache.errors import CorruptionError, UnsupportedFormatError

_MAGIC = b"HCFLT\n"
_VERSION = 1
_START = Struct("<6sH")
_HEADER = Struct("<6sHQdIIQ")
_CRC = Struct("<I")
assert _HEADER.size == 40
_ADVICE = "nothing was loaded: make a new filter and add its items again"


class Saved(NamedTuple):
    """What a filter is made of."""

    capacity: int
    fp_rate: float
    table: Table


def dump(saved: Saved) -> bytes:
    """Return the bytes of a filter."""
    capacity, fp_rate, table = saved
    shape = table.seed, table.width, table.bucket_count
    header = _HEADER.pack(_MAGIC, _VERSION, capacity, fp_rate, *shape)
    data = header + table.to_bytes()
    return data + _CRC.pack(crc32c(data))


def load(data: bytes, path: str) -> Saved:
    """Return what `dump` was given; `path` is for the error.

    Raises:
        UnsupportedFormatError: another version of the format.
        CorruptionError: damaged, cut, or something else.
    """
    if len(data) < _START.size:
        raise _corruption(path, f"it has {len(data)} bytes, too few for a filter")
    magic, version = _START.unpack_from(data)
    if magic != _MAGIC:
        raise _corruption(path, "it is no saved filter")
    if version != _VERSION:
        raise UnsupportedFormatError(path, version, str(_VERSION))
    body, crc = data[: -_CRC.size], data[-_CRC.size :]
    if len(body) < _HEADER.size or _CRC.pack(crc32c(body)) != crc:
        raise _corruption(path, "it is damaged or cut: the checksum does not match")
    return _parse(body, path)


def _parse(body: bytes, path: str) -> Saved:
    _, _, capacity, fp_rate, seed, width, bucket_count = _HEADER.unpack_from(body)
    content = body[_HEADER.size :]
    # The length first: what a header may make us allocate is what it came with.
    if width not in CODES or len(content) != PLACE_COUNT * bucket_count * width:
        raise _corruption(path, "its length is not what its header says")
    sound = bucket_count >= 2 and bucket_count % 2 == 0 and 0 < fp_rate < 1
    if not sound or not 1 <= capacity <= PLACE_COUNT * bucket_count:
        raise _corruption(path, "its header makes no sense")
    table = Table(bucket_count, width, seed)
    table.fill(content)
    if table.count > capacity:
        raise _corruption(path, f"it holds {table.count} items, above its capacity")
    return Saved(capacity, fp_rate, table)


def _corruption(path: str, reason: str) -> CorruptionError:
    return CorruptionError(path, reason, advice=_ADVICE)

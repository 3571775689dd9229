"""Read and write the small checksummed files STORE and CHECKPOINT.

The format is in docs/wal_format.md: a line of JSON and its CRC32C in hex.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypercache.checksum import crc32c
from hypercache.errors import CorruptionError
from hypercache.options import MAX_LSN
from hypercache.storage import Storage

_MAX_BYTES = 1 << 20  # a sound one has a few hundred
_MAX_NUMBER = (1 << 63) - 1
_MAX_DIGEST = (1 << 64) - 1


def write(storage: Storage, path: str, fields: Mapping[str, object]) -> None:
    """Replace the file; on return it is on the medium, whole."""
    line = json.dumps(fields, sort_keys=True).encode()
    storage.replace(path, b"%s\n%08x\n" % (line, crc32c(line)))


def maybe_read(storage: Storage, path: str) -> dict[str, Any] | None:
    """Return the fields, None where there is no file.

    Raises:
        CorruptionError: the checksum does not match, or it is no JSON object.
    """
    info = storage.info(path)
    if info is None:
        return None
    if info.size_bytes > _MAX_BYTES:
        raise CorruptionError(path, f"it has {info.size_bytes} bytes", offset=0)
    line, _, rest = storage.read(path).partition(b"\n")
    if rest != b"%08x\n" % crc32c(line):
        raise CorruptionError(path, "the checksum does not match", offset=0)
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorruptionError(path, f"it is no JSON: {error}", offset=0) from error
    if not isinstance(fields, dict):
        raise CorruptionError(path, "it holds no fields", offset=0)
    return fields


def check_values(
    path: str, fields: Mapping[str, Any], least: Mapping[str, Any]
) -> None:
    """Make sure that these fields are flags and numbers like the least they can be.

    Raises:
        CorruptionError: one is missing, of another type or out of range.
    """
    for name, low in least.items():
        value: Any = fields.get(name)
        if type(value) is not type(low) or not low <= value <= _highest(name):
            raise CorruptionError(path, f"its field {name} makes no sense", offset=0)


def _highest(name: str) -> int:
    if name.endswith("lsn"):
        return MAX_LSN
    return _MAX_DIGEST if name == "digest" else _MAX_NUMBER

"""Read and write the small checksummed files STORE and CHECKPOINT.

The format is in docs/wal_format.md: a line of JSON and its CRC32C in hex.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from crc32c import crc32c

from hypercache.errors import CorruptionError
from hypercache.storage import Storage


def write(storage: Storage, path: str, fields: Mapping[str, object]) -> None:
    """Replace the file; on return it is on the medium, whole."""
    line = json.dumps(fields, sort_keys=True).encode()
    storage.replace(path, b"%s\n%08x\n" % (line, crc32c(line)))


def maybe_read(storage: Storage, path: str) -> dict[str, Any] | None:
    """Return the fields, None where there is no file.

    Raises:
        CorruptionError: the checksum does not match, or it is no JSON object.
    """
    if storage.info(path) is None:
        return None
    line, _, rest = storage.read(path).partition(b"\n")
    if rest != b"%08x\n" % crc32c(line):
        raise CorruptionError(path, "the checksum does not match", offset=0)
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise CorruptionError(path, f"it is no JSON: {error}", offset=0) from error
    if not isinstance(fields, dict):
        raise CorruptionError(path, "it holds no fields", offset=0)
    return fields

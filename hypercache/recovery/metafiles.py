"""Read the metafiles of a damaged store: whole, with one byte put right, or not."""

from __future__ import annotations

import dataclasses
import json
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hypercache import metafile
from hypercache.aof import manifest as manifests
from hypercache.aof.manifest import Manifest
from hypercache.checksum import crc32c
from hypercache.engines.identity import FORMAT, READY, Identity
from hypercache.errors import CorruptionError, UnsupportedFormatError
from hypercache.recovery.findings import Finding, Kind
from hypercache.storage import Storage
from hypercache.wal.checkpoint import Marker

_MOST_BYTES = 1 << 14
# What a metafile is made of: a byte put right is one of these.
_ALPHABET = bytes(range(0x20, 0x7F))
_TAIL, _TAIL_BYTES = re.compile(rb"\n[0-9a-f]{8}\n"), 10
# What a change of the last byte makes of a CRC, and which change that was.
_STEPS = [crc32c(bytes([change])) ^ crc32c(b"\0") for change in range(256)]
_BY_TOP = {step >> 24: change for change, step in enumerate(_STEPS)}
assert len(_BY_TOP) == len(_STEPS)
_Fields = dict[str, Any]
_LIMIT = 1 << 63


@dataclass(frozen=True, slots=True)
class Metafile:
    """A metafile as it was found; `fields` are None where nothing can be told."""

    fields: _Fields | None
    exists: bool
    reason: str = ""
    size_bytes: int = 0

    @property
    def whole(self) -> bool:
        """Tell whether nothing is wrong with it."""
        return self.fields is not None and not self.reason


def read(storage: Storage, path: str, is_sound: Callable[[_Fields], bool]) -> Metafile:
    """Return what a metafile says, with a single damaged byte put right."""
    info = storage.info(path)
    if info is None:
        return Metafile(None, False, "the file is missing")
    size_bytes = info.size_bytes
    if size_bytes > _MOST_BYTES:
        return Metafile(None, True, "it is far too long", size_bytes)
    data = storage.read(path)
    fields = _parsed(data)
    if fields is not None:
        if is_sound(fields):
            return Metafile(fields, True, "", size_bytes)
        return Metafile(None, True, "it has unexpected fields", size_bytes)
    repaired = _repaired(data, is_sound)
    reason = "the checksum does not match"
    if repaired is not None:
        reason = "one byte of it is damaged, the checksum tells which"
    return Metafile(repaired, True, reason, size_bytes)


def finding(found: Metafile, name: str, extra: str) -> Finding | None:
    """Return what is wrong with a metafile, None if nothing is."""
    if found.whole:
        return None
    reason = found.reason if found.fields is not None else f"{found.reason}; {extra}"
    kept = found.exists and 0 < found.size_bytes <= _MOST_BYTES
    return Finding(
        Kind.METAFILE if found.exists else Kind.MISSING_FILE,
        name,
        reason,
        0 if found.exists else None,
        found.size_bytes,
        kept=kept,
    )


def identity_is_sound(fields: _Fields) -> bool:
    """Tell whether these are the fields of a STORE.

    Raises:
        UnsupportedFormatError: of a later version.
    """
    if fields.get("format") != FORMAT:
        raise UnsupportedFormatError("STORE", fields.get("format"), str(FORMAT))
    try:
        found = Identity(**fields)
        return len(found.uuid_bytes) == 16 and isinstance(found.engine, str)
    except (TypeError, ValueError):
        return False


def marker_is_sound(fields: _Fields) -> bool:
    """Tell whether these are the fields of a CHECKPOINT."""
    least = dataclasses.asdict(Marker(lmdb_mtime_ns=-_LIMIT))
    try:
        if fields.keys() != least.keys():
            return False
        metafile.check_values("", fields, least)
        return _is_range(Marker(**fields))
    except CorruptionError:
        return False


def manifest_is_sound(fields: _Fields) -> bool:
    """Tell whether these are the fields of a MANIFEST."""
    try:
        return _is_range(manifests.from_fields(fields, ""))
    except CorruptionError:
        return False


def is_ready(fields: _Fields | None) -> bool:
    """Tell whether the creation of a store was completed, as far as is known."""
    return fields is None or fields.get("state") == READY


def _is_range(found: Marker | Manifest) -> bool:
    return 0 < found.first_segment <= found.active_segment + 1


def _parsed(data: bytes) -> _Fields | None:
    line, _, rest = data.partition(b"\n")
    if rest != b"%08x\n" % crc32c(line):
        return None
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _repaired(data: bytes, is_sound: Callable[[_Fields], bool]) -> _Fields | None:
    """Return the fields after the one change of a byte that makes the file whole."""
    line, tail = data[:-_TAIL_BYTES], data[-_TAIL_BYTES:]
    right = b"\n%08x\n" % crc32c(line)
    whole: list[bytes] = []
    if len(tail) == len(right) and sum(map(operator.ne, tail, right)) == 1:
        whole.append(line + right)
    if _TAIL.fullmatch(tail):
        difference = crc32c(line) ^ int(tail[1:-1], 16)
        for at, change in _changes(difference, len(line)):
            byte = line[at] ^ change
            if byte in _ALPHABET:
                whole.append(line[:at] + bytes([byte]) + line[at + 1 :] + tail)
    for each in whole:
        fields = _parsed(each)
        if fields is not None and is_sound(fields):
            return fields
    return None


def _changes(difference: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield the places where a byte, and the XOR of it, makes that difference of CRCs.

    Trying them all would take minutes for a file of hostile length. A CRC is linear:
    what a change makes of it depends only on how many bytes follow, and going back
    over one of them leaves one value.
    """
    for at in reversed(range(length)):
        change = _BY_TOP[difference >> 24]
        if _STEPS[change] == difference:
            yield at, change
        difference = ((difference ^ _STEPS[change]) << 8 & 0xFFFFFFFF) | change

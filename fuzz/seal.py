"""Make checksums right again, or a fuzzer would test nothing but the checksums."""

from __future__ import annotations

import json
import struct
from typing import NamedTuple

import msgpack
from crc32c import crc32c

from hypercache import segment
from hypercache.frame import (
    CRC,
    HEADER,
    HEADER_BYTES,
    KIND_FOOTER,
    MAGIC,
    MAGIC_BYTES,
    MAGIC_OFFSET,
    SEED_MASK,
)
from hypercache.segment import NO_SEGMENT, SealedFacts

# Its first LSN; length and digest of the segment before it.
_NEIGHBOURS = struct.Struct("<QQQ")
_FIRST_LSN_OFFSET = 32
_MASK_64 = (1 << 64) - 1


class Sealed(NamedTuple):
    """A segment, and what the next one must say of it."""

    data: bytes
    next_lsn: int
    facts: SealedFacts


def metafile(data: bytes) -> bytes:
    """Return a metafile with the same first line and its checksum."""
    line = data.partition(b"\n")[0]
    return b"%s\n%08x\n" % (line, crc32c(line))


def frames(data: bytes, start: int, seed: int, first_lsn: int | None) -> Sealed:
    """Make lengths and checksums of all that looks like a frame right.

    A frame ends where the next one begins, the last one where it says. With
    `first_lsn`, LSNs and footers are made right, too.
    """
    pieces, digest, next_lsn = [data[:start]], 0, first_lsn or 0
    end = last = start
    for begin, stop in _spans(data, start):
        fields = list(HEADER.unpack_from(data, begin))
        payload = data[begin + HEADER_BYTES : stop]
        if first_lsn is not None:
            fields[2] = next_lsn & _MASK_64
            if fields[5] == KIND_FOOTER:
                payload = msgpack.packb([next_lsn - first_lsn, next_lsn - 1, digest])
        crc, piece = _frame(fields, payload, seed ^ (end & SEED_MASK))
        if fields[5] != KIND_FOOTER:
            digest = (digest + crc) & _MASK_64
        next_lsn += fields[4]
        end += len(piece)
        pieces.append(piece)
        last = stop
    pieces.append(data[last:])
    return Sealed(b"".join(pieces), next_lsn, SealedFacts(end, digest))


def log_segment(data: bytes, after: Sealed | None, *, chained: bool) -> Sealed:
    """Make the checksums of a segment right.

    With `chained`, also what it says of itself and of the one before it.
    """
    if len(data) < segment.HEADER_BYTES:
        return Sealed(data, 0, NO_SEGMENT)
    head = bytearray(data[: segment.HEADER_BYTES])
    if chained and after is not None:
        first_lsn = after.next_lsn & _MASK_64
        _NEIGHBOURS.pack_into(head, _FIRST_LSN_OFFSET, first_lsn, *after.facts)
    seed = crc32c(head[:-4])
    CRC.pack_into(head, len(head) - 4, seed)
    first_lsn = _NEIGHBOURS.unpack_from(head, _FIRST_LSN_OFFSET)[0]
    rest = bytes(head) + data[len(head) :]
    return frames(rest, len(head), seed, max(1, first_lsn) if chained else None)


def manifest(data: bytes, base: Sealed | None) -> bytes:
    """Return the manifest with its checksum, naming this base if it names one."""
    line = data.partition(b"\n")[0]
    try:
        fields = json.loads(line)
        if base is not None:
            fields["base"]["length_bytes"], fields["base"]["digest"] = base.facts
        line = json.dumps(fields, sort_keys=True).encode()
    except (ValueError, TypeError, KeyError, RecursionError):
        pass  # as hostile as before
    return metafile(line)


def _spans(data: bytes, start: int) -> list[tuple[int, int]]:
    begins, at = [], start + MAGIC_OFFSET
    while (at := data.find(MAGIC_BYTES, at)) >= 0:
        begins.append(at - MAGIC_OFFSET)
        at += HEADER_BYTES
    if not begins or begins[0] != start:
        return []
    length = HEADER.unpack_from(data, begins[-1])[1]
    last = min(len(data), begins[-1] + HEADER_BYTES + length)
    return list(zip(begins, [*begins[1:], last], strict=True))


def _frame(fields: list[int], payload: bytes, seed: int) -> tuple[int, bytes]:
    fields[1], fields[7] = len(payload), MAGIC
    rest = HEADER.pack(*fields)[CRC.size :] + payload
    crc = crc32c(rest, seed)
    return crc, CRC.pack(crc) + rest

"""Find the seed of a file of frames, also where its header is damaged.

The seed is the checksum of the header. A frame's own checksum is a bijection of its
seed, so every undamaged frame gives it away; two that agree prove it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hypercache.checksum import crc32c
from hypercache.frame import CRC, HEADER, HEADER_BYTES, SEED_MASK, Frame, Source
from hypercache.recovery.scan import PIECE_BYTES, CarefulWindow
from hypercache.segment import HEADER_BYTES as SEGMENT_HEADER_BYTES
from hypercache.segment import SegmentHeader, seed_of

_MOST_BYTES = 1 << 20  # of a frame that the seed is computed from
_MOST_FRAMES = 64
_BITS = 32


def find_seed(source: Source, expected: SegmentHeader | None) -> int | None:
    """Return the seed of the frames in a file with a damaged header, or None."""
    head = source.read_at(0, SEGMENT_HEADER_BYTES)
    places = list(_places(source))
    for seed in _likely(head, expected):
        if any(_verifies(source, place, seed) for place in places):
            return seed
    votes = Counter(_seed_from(*body) for body in _bodies(source, places))
    for seed, count in votes.most_common(1):
        if count > 1:
            return seed
    return None


def _likely(head: bytes, expected: SegmentHeader | None) -> Iterator[int]:
    """Yield what the header says of itself: one of its two parts may be whole."""
    if len(head) == SEGMENT_HEADER_BYTES:
        yield seed_of(head)
        yield crc32c(head[: -CRC.size])
    if expected is not None:
        yield seed_of(expected.encode())


def _places(source: Source) -> Iterator[int]:
    window = CarefulWindow(source, step=PIECE_BYTES)
    offset = SEGMENT_HEADER_BYTES
    for _ in range(_MOST_FRAMES):
        offset = window.find_candidate(offset)
        if offset < 0:
            return
        if window.is_plausible(offset, 0):
            yield offset
        offset += 1


def _verifies(source: Source, offset: int, seed: int) -> bool:
    window = CarefulWindow(source, step=PIECE_BYTES)
    return isinstance(window.decode_at(offset, seed), Frame)


def _bodies(source: Source, places: list[int]) -> Iterator[tuple[int, int, bytes]]:
    for offset in places:
        head = source.read_at(offset, HEADER_BYTES)
        crc, length = HEADER.unpack(head)[:2]
        if length <= _MOST_BYTES:
            body = source.read_at(offset + CRC.size, HEADER_BYTES - CRC.size + length)
            yield offset, crc, body


def _seed_from(offset: int, crc: int, body: bytes) -> int:
    """Return the only seed under which these bytes have this checksum."""
    zero: int = crc32c(body, 0)
    # The checksum is linear in the seed over GF(2): solve for it bit by bit.
    rows = [(crc32c(body, 1 << bit) ^ zero, 1 << bit) for bit in range(_BITS)]
    wanted, seed = crc ^ zero, 0
    for at in reversed(range(_BITS)):
        mask = 1 << at
        pivot = next((row for row in rows if row[0] & mask), None)
        if pivot is None:
            continue
        rows.remove(pivot)
        rows = [
            (row[0] ^ pivot[0], row[1] ^ pivot[1]) if row[0] & mask else row
            for row in rows
        ]
        if wanted & mask:
            wanted, seed = wanted ^ pivot[0], seed ^ pivot[1]
    return seed ^ (offset & SEED_MASK)

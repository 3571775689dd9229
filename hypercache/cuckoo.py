"""A table of fingerprints in buckets of four, two of them for each key.

The cuckoo filter of Fan, Andersen, Kaminsky and Mitzenmacher (CoNEXT 2014), with two
differences. The other bucket of a fingerprint comes from a subtraction instead of XOR,
which works for any even number of buckets. And room is made along the shortest path,
found before anything is moved and gone from its free end, as in MemC3 (Fan, Andersen
and Kaminsky, NSDI 2013): where there is no path nothing has changed, and a reader
without a lock never finds a fingerprint in neither place.

The hash and the order of the table are a format: docs/filter_format.md.
"""

from __future__ import annotations

import sys
from array import array
from typing import TypeAlias
from zlib import crc32

from hypercache.checksum import crc32c

PLACE_COUNT = 4  # in a bucket
CODES = {1: "B", 2: "H", 4: "I"}  # array codes by the width of a fingerprint
_MIX = 0x9E3779B1
_SEARCH_COUNT = 4000  # buckets looked at for a path: loads above 0.95

Place: TypeAlias = "array[int]"
_Step: TypeAlias = "tuple[Place, int, _Step | None]"


class Table:
    """Hold up to `4 * bucket_count` fingerprints of `width` bytes.

    Who reads without the lock of those who write notes `erased_count` first: a miss
    means something only if it is still the same.
    """

    def __init__(self, bucket_count: int, width: int, seed: int) -> None:
        self.bucket_count, self.width, self.seed = bucket_count, width, seed
        self.count = 0
        self.erased_count = 0
        self._highest = (1 << 8 * width) - 1
        empty = bytes(bucket_count * width)
        self._places = tuple(array(CODES[width], empty) for _ in range(PLACE_COUNT))

    def holds(self, key: bytes) -> bool:
        """Tell whether the fingerprint of a key is in one of its buckets."""
        buckets = self.bucket_count
        # As _place does it, and the second bucket only where the first has it not.
        mark = crc32(key) % self._highest + 1
        at = (crc32c(key, self.seed) * _MIX >> 16) % buckets
        one, two, three, four = self._places
        if one[at] == mark or two[at] == mark or three[at] == mark or four[at] == mark:
            return True
        at = ((mark * _MIX | 1) - at) % buckets
        return (
            one[at] == mark or two[at] == mark or three[at] == mark or four[at] == mark
        )

    def add(self, key: bytes) -> bool:
        """Put one more fingerprint of a key in; False, and no change, without room."""
        mark, first, second = self._place(key)
        path = self._maybe_free(first) or self._maybe_free(second)
        path = path or self._maybe_path(mark, first, second)
        if path is None:
            return False
        # First, so that an interrupt further down leaves no more than is counted.
        self.count += 1
        place, bucket = self._shift(*path)
        place[bucket] = mark
        return True

    def remove(self, key: bytes) -> bool:
        """Take one fingerprint of a key out; False if there is none."""
        mark, first, second = self._place(key)
        for bucket in (first, second):
            for place in self._places:
                if place[bucket] == mark:
                    self.erased_count += 1
                    place[bucket] = 0
                    self.count -= 1
                    return True
        return False

    def to_bytes(self) -> bytes:
        """Return the table, place by place."""
        return b"".join(_little_endian(place).tobytes() for place in self._places)

    def fill(self, data: bytes) -> None:
        """Take over what `to_bytes` returned for a table of this shape."""
        size = self.bucket_count * self.width
        parts = (data[at : at + size] for at in range(0, len(data), size))
        code = CODES[self.width]
        self._places = tuple(_little_endian(array(code, part)) for part in parts)
        empty_count = sum(place.count(0) for place in self._places)
        self.count = PLACE_COUNT * self.bucket_count - empty_count

    def _place(self, key: bytes) -> tuple[int, int, int]:
        """Return the fingerprint of a key, and its two buckets."""
        mark = crc32(key) % self._highest + 1
        # A CRC alone is linear: keys that count up would fill few buckets.
        first = (crc32c(key, self.seed) * _MIX >> 16) % self.bucket_count
        return mark, first, self._other(mark, first)

    def _other(self, mark: int, bucket: int) -> int:
        # Odd, so that the other bucket is another one.
        return ((mark * _MIX | 1) - bucket) % self.bucket_count

    def _maybe_free(self, bucket: int, before: _Step | None = None) -> _Step | None:
        for place in self._places:
            if not place[bucket]:
                return place, bucket, before
        return None

    def _maybe_path(self, mark: int, first: int, second: int) -> _Step | None:
        """Return a free place and, from that end, the places to move towards it."""
        starts = (first, second)
        if all(place[at] == mark for at in starts for place in self._places):
            return None
        # Breadth first: a bucket's first visit is its shortest, so none repeats.
        queue: list[tuple[int, _Step | None]] = [(at, None) for at in starts]
        for bucket, before in queue:
            for place in self._places:
                step = place, bucket, before
                other = self._other(place[bucket], bucket)
                free = self._maybe_free(other, step)
                if free is not None:
                    return free
                queue.append((other, step))
            if len(queue) > _SEARCH_COUNT:
                break
        return None

    def _shift(
        self, place: Place, bucket: int, step: _Step | None
    ) -> tuple[Place, int]:
        """Move what is on a path towards its free end; return what may be taken."""
        while step is not None:
            source, at, step = step
            place[bucket] = source[at]
            # Before the source is overwritten: see the promise to readers.
            self.erased_count += 1
            place, bucket = source, at
        return place, bucket


def _little_endian(place: Place) -> Place:
    if sys.byteorder == "big":
        place = place[:]
        place.byteswap()
    return place

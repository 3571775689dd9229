"""Find out what of a log is live, in memory that does not grow with the log.

Live are the ops that a compaction would have to keep: each key's last Put (or entry of
a base) that no Delete and no Clear follows and that has not expired. A Touch moves the
expiry of the Put before it, and is dead itself.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from hypercache.ops import Clear, Delete, Op, Put, Touch

BUCKET_COUNT = 1024
# 12 bytes each; by far the most of the memory that an inspection takes.
RECORD_COUNT = 3_500_000

# The hash of a key, and what the op does: below, or twice the bytes plus 4, and odd
# when it has expired.
_RECORD = struct.Struct("<qI")
_pack = _RECORD.pack
_DELETE, _TOUCH_EXPIRED, _TOUCH = 0, 1, 2
_FIRST_PUT = 4


class LiveBytes:
    """Add up the live bytes of as many keys as memory allows.

    Keys are told apart by a hash of 64 bits. They fall into buckets by that hash. A
    run covers the buckets from `first` up to `stop`; when there are more keys than
    there is room, `stop` moves down, and a further run begins there.
    """

    def __init__(
        self, now_ms: int, first: int = 0, record_count: int = RECORD_COUNT
    ) -> None:
        self.first, self.stop = first, BUCKET_COUNT
        self._now_ms = now_ms
        self._record_count = record_count
        # Records wait in pieces of one size, which leave no gaps in the heap.
        piece_count = max(1, min(256, record_count // BUCKET_COUNT))
        self._piece_bytes = piece_count * _RECORD.size
        self._clear()

    def add(self, op: Op, stored_bytes: int) -> None:
        """Take note of the next op."""
        if type(op) is Put:
            word = (stored_bytes << 1) + _FIRST_PUT
            if 0 < op.expires_at_ms <= self._now_ms:
                word += 1
        elif type(op) is Delete:
            word = _DELETE
        elif type(op) is Touch:
            expired = 0 < op.expires_at_ms <= self._now_ms
            word = _TOUCH_EXPIRED if expired else _TOUCH
        else:
            self._clear()
            return
        number = hash(op.key)
        bucket = number % BUCKET_COUNT
        if self.first <= bucket < self.stop:
            self._tails[bucket] += _pack(number, word)
            if len(self._tails[bucket]) >= self._piece_bytes:
                self._put_away(bucket)

    def total(self) -> int:
        """Return the live bytes of the keys in the buckets covered."""
        return sum(
            (word - _FIRST_PUT) >> 1
            for bucket in range(self.first, self.stop)
            for word in self._settled(bucket).values()
            if not word & 1
        )

    def _clear(self) -> None:
        self._pieces: list[list[bytes]] = [[] for _ in range(BUCKET_COUNT)]
        self._tails = [bytearray() for _ in range(BUCKET_COUNT)]
        self._bytes = 0
        self._room_bytes = self._record_count * _RECORD.size

    def _put_away(self, bucket: int) -> None:
        tail = self._tails[bucket]
        self._pieces[bucket].append(bytes(tail))
        self._bytes += len(tail)
        tail.clear()
        if self._bytes >= self._room_bytes:
            self._make_room()

    def _make_room(self) -> None:
        for bucket in range(self.first, self.stop):
            words = self._settled(bucket)
            self._drop(bucket)
            records = b"".join(map(_pack, words.keys(), words.values()))
            step = self._piece_bytes
            whole = len(records) - len(records) % step
            self._pieces[bucket] = [
                records[at : at + step] for at in range(0, whole, step)
            ]
            self._tails[bucket] += records[whole:]
            self._bytes += whole
        limit = self._record_count * _RECORD.size
        # With little room left the same work would be due again at once.
        while self._bytes > limit * 3 // 4 and self.stop - self.first > 1:
            self.stop -= 1
            self._drop(self.stop)
        self._room_bytes = max(limit, self._bytes * 3 // 2)

    def _drop(self, bucket: int) -> None:
        self._bytes -= sum(map(len, self._pieces[bucket]))
        self._pieces[bucket] = []
        self._tails[bucket].clear()

    def _settled(self, bucket: int) -> dict[int, int]:
        """Return the last word of each key that is not deleted."""
        words: dict[int, int] = {}
        pieces: list[bytes | bytearray] = [*self._pieces[bucket], self._tails[bucket]]
        for piece in pieces:
            for number, word in _RECORD.iter_unpack(piece):
                if word >= _FIRST_PUT:
                    words[number] = word
                elif word == _DELETE:
                    words.pop(number, None)
                elif number in words:
                    words[number] = (words[number] & ~1) | (word == _TOUCH_EXPIRED)
        return words


_KEY_BYTES = 16 << 20  # a key may have 64 KiB


class BigKey(NamedTuple):
    """A live key and the size of its value."""

    key: bytes
    value_bytes: int
    lsn: int
    expires_at_ms: int


class BiggestKeys:
    """Keep the keys with the largest live values.

    Remembers `room` of them. A key that is not among them has at most `_floor` bytes;
    `complete` tells whether enough keys above that were left at the end.
    """

    def __init__(self, now_ms: int, count: int = 10, room: int = 2000) -> None:
        self._now_ms, self._count, self._room = now_ms, count, room
        self._floor = 0
        self._keys: dict[bytes, BigKey] = {}
        self._key_bytes = 0  # at least those of the keys remembered

    @property
    def complete(self) -> bool:
        """Tell whether no larger key can be missing."""
        alive = [big for big in self._alive() if big.value_bytes >= self._floor]
        return self._floor == 0 or len(alive) >= self._count

    def add(self, op: Op, lsn: int) -> None:
        """Take note of the next op."""
        if type(op) is Put:
            size, floor = len(op.value), self._floor
            if (
                size > floor
                or op.key in self._keys
                or (size == floor and len(self._keys) < self._room // 2)
            ):
                self._keys[op.key] = BigKey(op.key, size, lsn, op.expires_at_ms)
                self._key_bytes += len(op.key)
                if len(self._keys) > self._room or self._key_bytes > _KEY_BYTES:
                    self._shrink()
        elif type(op) is Clear:
            self._keys.clear()
            self._floor = 0
        elif type(op) is Delete:
            self._keys.pop(op.key, None)
        elif type(op) is Touch and op.key in self._keys:
            known = self._keys[op.key]
            self._keys[op.key] = known._replace(expires_at_ms=op.expires_at_ms)

    def largest(self) -> list[BigKey]:
        """Return the largest ones first, of equal ones the oldest."""
        return self._alive()[: self._count]

    def _alive(self) -> list[BigKey]:
        alive = [
            big
            for big in self._keys.values()
            if not 0 < big.expires_at_ms <= self._now_ms
        ]
        return sorted(alive, key=lambda big: (-big.value_bytes, big.lsn))

    def _shrink(self) -> None:
        by_size = sorted(
            self._keys.values(), key=lambda big: (-big.value_bytes, big.lsn)
        )
        self._key_bytes = sum(len(big.key) for big in by_size)
        if len(by_size) > self._room or self._key_bytes > _KEY_BYTES:
            kept = by_size[: len(by_size) // 2]
            self._floor = max(self._floor, by_size[len(kept)].value_bytes)
            self._keys = {big.key: big for big in kept}
            self._key_bytes = sum(map(len, self._keys))

"""References to sampled keys, in the order in which they came: 8 to 32 bytes each."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple

HIT, MISS, DELETE, SET, _SET_TO_EXPIRE = range(5)
NOTHING_STORED = -1
HASH_BITS = -8  # the others say which of the kinds it is
_OPERANDS = (0, 0, 0, 1, 3)  # words that follow, by kind


class Totals(NamedTuple):
    """What a cache has counted by now, over all keys."""

    reads: int
    misses: int


class Reference(NamedTuple):
    """What was done with a key; `key` stands for it.

    `size_bytes` is -1 where nothing was stored, `now_ms` when something was stored last
    that expires.
    """

    kind: int
    key: int
    size_bytes: int
    expires_at_ms: int
    now_ms: int


class Mark(NamedTuple):
    """How many words there were when a cache had counted so much."""

    word_count: int
    totals: Totals


class Window:
    """Hold references of one part of all keys, those whose hash has no bit of a mask.

    Any number of threads may add: each reference is one call in C, which no other
    thread interrupts where there is a GIL.
    """

    def __init__(self, mask: int, totals: Totals) -> None:
        self.mask = mask
        self.marks = [Mark(0, totals)]
        self._words = array("q")
        self.note_hit = self._words.append  # with HASH_BITS of a hash

    def __len__(self) -> int:
        return len(self._words)

    def note_miss(self, key_hash: int) -> None:
        """Note a read in vain."""
        self._words.append(_word(key_hash, MISS))

    def note_delete(self, key_hash: int) -> None:
        """Note that a key was deleted by a caller."""
        self._words.append(_word(key_hash, DELETE))

    def note_set(self, key_hash: int, size_bytes: int) -> None:
        """Note that a key was stored that does not expire."""
        self._words.extend((_word(key_hash, SET), size_bytes))

    def note_expiring(
        self, key_hash: int, size_bytes: int, expires_at_ms: int, now_ms: float
    ) -> None:
        """Note that a key was stored that does."""
        word = _word(key_hash, _SET_TO_EXPIRE)
        self._words.extend((word, size_bytes, expires_at_ms, int(now_ms)))

    def mark(self, totals: Totals) -> None:
        """Note what the cache has counted by now."""
        self.marks.append(Mark(len(self._words), totals))

    def middle(self) -> Mark:
        """Return the last mark that lies in the first half."""
        half = self.marks[-1].word_count // 2
        return max(mark for mark in self.marks if mark.word_count <= half)

    def references(self) -> Iterator[tuple[int, Reference]]:
        """Yield where each reference begins, and the reference, up to the last mark."""
        words, at, now_ms = self._words[: self.marks[-1].word_count], 0, 0
        while at < len(words):
            kind, key = words[at] & ~HASH_BITS, words[at] & HASH_BITS
            operands = words[at + 1 : at + 1 + _OPERANDS[kind]]
            if len(operands) < _OPERANDS[kind]:
                return  # a mark came between the words of a reference
            size_bytes, expires_at_ms = NOTHING_STORED, 0
            if kind == SET:
                size_bytes = operands[0]
            elif kind == _SET_TO_EXPIRE:
                kind, (size_bytes, expires_at_ms, now_ms) = SET, operands
            yield at, Reference(kind, key, size_bytes, expires_at_ms, now_ms)
            at += 1 + len(operands)


def _word(key_hash: int, kind: int) -> int:
    return key_hash & HASH_BITS | kind

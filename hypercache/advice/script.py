"""Turn a window of references into what is played in a miniature cache."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hypercache.advice.window import (
    DELETE,
    HIT,
    MISS,
    NOTHING_STORED,
    SET,
    Reference,
    Window,
)

_KEY_BYTES = 8


class Step(NamedTuple):
    """A read or a write; `size_bytes` of -1 stores nothing, a write then deletes.

    What a read finds absent is stored, as it was in the real cache.
    """

    key: bytes
    size_bytes: int
    is_read: bool


class Script(NamedTuple):
    """What is played before reads are counted, and then.

    Attributes:
        opening: the first half, and before it what was in the cache already.
        counted: the second half.
        missed_count: reads of the second half that missed in the real cache.
        reference_count: how many references there are in both.
    """

    opening: Sequence[Step]
    counted: Sequence[Step]
    missed_count: int
    reference_count: int


def script(window: Window, each_bytes: float, usual_bytes: float) -> Script:
    """Return a window as steps.

    `each_bytes` is what an entry takes beside its size, `usual_bytes` the size that is
    taken for one that is not known.
    """
    middle, opening_count = window.middle().word_count, 0
    references: list[Reference] = []
    for place, reference in window.references():
        opening_count += place < middle
        references.append(reference)
    missed = sum(reference.kind == MISS for reference in references[opening_count:])
    told = _told(references)
    writer = _Writer(told, each_bytes, usual_bytes)
    opening = writer.found_first() + writer.steps(told[:opening_count])
    counted = writer.steps(told[opening_count:])
    return Script(opening, counted, missed, sum(map(bool, told)))


def _told(references: Sequence[Reference]) -> list[Reference | None]:
    """Put what was stored behind a miss into the miss, and correct expiries.

    An entry that is found when it should have expired was given more time.
    """
    told: list[Reference | None] = list(references)
    last: dict[int, int] = {}  # where the last miss or set of a key is
    for at, reference in enumerate(references):
        key = reference.key
        before = told[last[key]] if key in last else None
        if reference.kind == HIT:
            if before is not None and 0 < before.expires_at_ms <= reference.now_ms:
                told[last[key]] = before._replace(expires_at_ms=0)
        elif reference.kind == DELETE:
            last.pop(key, None)
        elif reference.kind == SET and before and before.kind == MISS:
            if before.size_bytes == NOTHING_STORED:
                told[last[key]] = reference._replace(kind=MISS)
                told[at] = None
            else:
                last[key] = at
        else:
            last[key] = at
    return told


class _Writer:
    """Write steps; knows what each key takes by now, and when it expires."""

    def __init__(
        self, told: Sequence[Reference | None], each_bytes: float, usual_bytes: float
    ) -> None:
        self._each_bytes, self._usual_bytes = each_bytes, usual_bytes
        self._sizes: dict[int, int] = {}
        self._found_first: list[int] = []
        self._ends: dict[int, int] = {}
        self._due: list[tuple[int, int]] = []
        seen = set()
        for reference in filter(None, told):
            key, size_bytes = reference.key, reference.size_bytes
            if reference.kind == HIT and key not in seen:
                self._found_first.append(key)
            seen.add(key)
            if size_bytes >= 0:
                self._sizes.setdefault(key, size_bytes)

    def found_first(self) -> list[Step]:
        """Return the writes of what was in the cache, what is asked for soon last."""
        return [self._step(key, is_read=False) for key in reversed(self._found_first)]

    def steps(self, told: Sequence[Reference | None]) -> list[Step]:
        """Return the steps of some references, the next ones at each call."""
        return [step for reference in told if reference for step in self._of(reference)]

    def _of(self, reference: Reference) -> Iterator[Step]:
        kind, key, size_bytes, expires_at_ms, now_ms = reference
        while self._due and self._due[0][0] <= now_ms:
            end_ms, late = heapq.heappop(self._due)
            if self._ends.get(late) == end_ms:
                yield _nothing(late, is_read=False)
        if size_bytes >= 0:
            self._sizes[key] = size_bytes
            self._ends[key] = expires_at_ms
            if expires_at_ms:
                heapq.heappush(self._due, (expires_at_ms, key))
        if kind == DELETE or (kind == MISS and size_bytes < 0):
            yield _nothing(key, is_read=kind == MISS)
        else:
            yield self._step(key, is_read=kind != SET)

    def _step(self, key: int, *, is_read: bool) -> Step:
        size_bytes = self._sizes.get(key, self._usual_bytes) + self._each_bytes
        return Step(_key(key), int(size_bytes), is_read)


def _nothing(key: int, *, is_read: bool) -> Step:
    return Step(_key(key), NOTHING_STORED, is_read)


def _key(key: int) -> bytes:
    return key.to_bytes(_KEY_BYTES, "little", signed=True)

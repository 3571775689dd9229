"""What an adaptive policy knows of time, which it counts in evictions.

Both tables note a moment only when a cache has turned over by 1/64 since the last one,
so that they stay small whatever the size of the cache.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque

_GRAINS = 64
_MOST_MARKS = 4 * _GRAINS


class Turn:
    """Tell how long the head of a queue has been in it, to about 1/64 of a cache."""

    def __init__(self) -> None:
        self._entered = 0
        self._marks: deque[tuple[int, int]] = deque()  # entered by then, moment

    def note(self, moment: int, room: int) -> None:
        """Note that something enters the queue; moments are counted in evictions."""
        if not self._marks or moment - self._marks[-1][1] > room // _GRAINS:
            self._marks.append((self._entered, moment))
        self._entered += 1

    def age(self, moment: int, length: int) -> float:
        """Return the age of the head of the queue, which has this length."""
        marks, left = self._marks, self._entered - length
        while len(marks) > 1 and marks[1][0] <= left:
            marks.popleft()
        return moment - marks[0][1] if length else math.inf


class History:
    """Tell how many evictions of a queue, 0 or 1, lie behind a moment."""

    def __init__(self) -> None:
        self._moments: list[int] = []
        self._counts: list[int] = []  # evictions of queue 1 up to that moment
        self._count = 0

    def note(self, moment: int, source: int, room: int) -> None:
        """Note an eviction; each is a moment of its own."""
        self._count += source
        if self._moments and moment - self._moments[-1] <= room // _GRAINS:
            return
        self._moments.append(moment)
        self._counts.append(self._count)
        if len(self._moments) > _MOST_MARKS:
            del self._moments[: _MOST_MARKS // 2], self._counts[: _MOST_MARKS // 2]

    def depth(self, moment: int, source: int, age: int) -> int:
        """Return how many evictions of a queue there were in the last `age`, 1 up."""
        at = max(0, bisect_right(self._moments, moment - age) - 1)
        since = self._count - (self._counts[at] if self._counts else 0)
        return max(1, since if source else age - since)

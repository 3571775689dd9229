"""Turn an input into choices: from its front, and zeros when it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")
# Where formats and languages change their minds.
_EDGES = tuple(
    edge
    for bits in (0, 1, 7, 8, 15, 16, 31, 32, 63, 64)
    for edge in ((1 << bits) - 1, 1 << bits, -(1 << bits), -(1 << bits) - 1)
)


class Feed:
    """Hand out the bytes of an input."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def more(self) -> bool:
        """Tell whether there are bytes left."""
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        """Return so many bytes, fewer at the end."""
        piece = self._data[self._at : self._at + count]
        self._at += len(piece)
        return piece

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._data))

    def number(self, size: int = 1) -> int:
        """Return the number in so many bytes."""
        return int.from_bytes(self.take(size), "little")

    def pick(self, choices: Sequence[_T]) -> _T:
        """Return one of the choices."""
        return choices[self.number() % len(choices)]

    def block(self) -> bytes:
        """Return as many bytes as the next two bytes say."""
        return self.take(self.number(2))

    def integer(self) -> int:
        """Return a number of any size, often one at an edge."""
        size = self.number() % 16
        if size < 10:
            return int.from_bytes(self.take(size), "little", signed=True)
        return self.pick(_EDGES)


def block(data: bytes) -> bytes:
    """Return what `Feed.block` takes for these bytes."""
    return len(data).to_bytes(2, "little") + data

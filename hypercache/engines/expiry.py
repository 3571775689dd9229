"""Find entries that have expired, a bounded number at a time.

In RAM an index tells which keys are due. Of what lies in LMDB there is none, as it
would grow with the store: there a hand goes round, and each step looks at a few heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from hypercache.engines.envelope import Head
from hypercache.engines.slots import Slot
from hypercache.eviction.deadlines import Deadlines

SWEPT_AT_ONCE = 256
_FEW = 64  # so many outdated entries are not worth a rebuild
_SHARE = 8  # nor is one in so many
_KEY_BYTES = 64  # roughly


class Due(NamedTuple):
    """Keys that may have expired, and whether there are no more for now."""

    keys: list[bytes]
    done: bool


class Finder(Protocol):
    """Find what has expired."""

    def due(self, limit: int) -> Due:
        """Return keys that may have expired, looking at no more than so many."""


class Heads(Protocol):
    """What is used of a store on disk."""

    def heads(self, start: bytes, count: int) -> list[Head]:
        """Return the first entries at or behind a key, at most so many."""

    def is_gone(self, key: bytes) -> bool:
        """Tell whether a key was deleted, and LMDB does not know it yet."""


class ExpiryIndex:
    """Know when the keys of a table are due; called under the engine's lock.

    Attributes:
        outdated_count: entries with an expiry that went before they were due, as far
            as somebody counts them. The index still has their keys.
    """

    def __init__(self, now_ms: Callable[[], float]) -> None:
        self._now_ms = now_ms
        self.outdated_count = 0
        self._deadlines = Deadlines(now_ms)

    def __len__(self) -> int:
        return len(self._deadlines)

    def note(self, key: bytes, slot: Slot) -> None:
        """Note when a key is due, if ever."""
        if isinstance(slot, tuple):
            self._deadlines.add(key, slot[1])

    def due(self, limit: int) -> Due:
        """Take out the keys that are due by now, at most so many."""
        keys: list[bytes] = []
        now_ms = self._now_ms()
        while len(keys) < limit:
            first_ms = self._deadlines.first_ms()
            found = self._deadlines.pop() if _is_past(first_ms, now_ms) else None
            if found is None:
                return Due(keys, True)
            keys.append(found[0])
        return Due(keys, False)

    def is_past(self, slot: Slot) -> bool:
        """Tell whether what is in a slot has expired."""
        return isinstance(slot, tuple) and slot[1] <= self._now_ms()

    def fit(self, count: int, table: Iterable[tuple[bytes, Slot]]) -> None:
        """Leave out what is overwritten by now, if most of it is.

        `count` is the number of keys of the table that may have an expiry.
        """
        known = len(self._deadlines)
        if known > _FEW + 2 * count or self.outdated_count > _FEW + known // _SHARE:
            self.clear()
            for key, slot in table:
                self.note(key, slot)

    def clear(self) -> None:
        """Forget every key."""
        self._deadlines, self.outdated_count = Deadlines(self._now_ms), 0

    def overhead_bytes(self) -> int:
        """Return the memory of the index, with keys that nobody else has."""
        outdated_bytes = self.outdated_count * _KEY_BYTES
        return self._deadlines.overhead_bytes() + outdated_bytes


class ExpiryHand:
    """Go round the entries of a store on disk."""

    def __init__(self, below: Heads, now_ms: Callable[[], float]) -> None:
        self._below, self._now_ms = below, now_ms
        self._at = b""

    def due(self, limit: int) -> Due:
        """Look at so many entries; the round is `done` when the last one was seen."""
        found = self._below.heads(self._at, limit)
        done = len(found) < limit
        self._at = b"" if done else found[-1].key + b"\0"
        now_ms, is_gone = self._now_ms(), self._below.is_gone
        return Due(
            [
                head.key
                for head in found
                if 0 < head.expires_at_ms <= now_ms and not is_gone(head.key)
            ],
            done,
        )


class Listed:
    """Hand out keys that are known already, then what another finds."""

    def __init__(self, keys: list[bytes], then: Finder) -> None:
        self._keys, self._then = keys, then

    def due(self, limit: int) -> Due:
        """Return the next keys, at most so many."""
        if not self._keys:
            return self._then.due(limit)
        keys, self._keys = self._keys[:limit], self._keys[limit:]
        return Due(keys, False)


def _is_past(due_ms: int | None, now_ms: float) -> bool:
    return due_ms is not None and due_ms <= now_ms

"""Turn what was read of a store into the entries that it has.

The input is gone through twice, so that not more than the keys is held in memory: the
first time tells which op gave each key its value, the second time takes the values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hypercache.ops import Delete, Op, Put, Touch

Item = tuple[int, Op]  # an op with its LSN


class EntryPut(NamedTuple):
    """An entry as the put that makes it, with the LSN of its last change."""

    lsn: int
    put: Put


class Entries:
    """Know which of the items make up the store; `lsn` is their highest LSN."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.lsn = 0
        self._made_by: dict[bytes, int] = {}
        self._touched: dict[bytes, tuple[int, int]] = {}
        for ordinal, (lsn, op) in enumerate(items):
            self.lsn = max(self.lsn, lsn)
            self._apply(ordinal, lsn, op)

    def __len__(self) -> int:
        return len(self._made_by)

    def among(self, items: Iterable[Item]) -> Iterator[EntryPut]:
        """Yield the entries from the same items, gone through once more."""
        for ordinal, (lsn, op) in enumerate(items):
            if type(op) is not Put or self._made_by.get(op.key) != ordinal:
                continue
            touched = self._touched.get(op.key)
            if touched is None:
                yield EntryPut(lsn, op)
            else:
                yield EntryPut(touched[0], Put(op.key, op.value, touched[1]))

    def _apply(self, ordinal: int, lsn: int, op: Op) -> None:
        if type(op) is Put:
            self._made_by[op.key] = ordinal
            self._touched.pop(op.key, None)
        elif type(op) is Delete:
            self._made_by.pop(op.key, None)
            self._touched.pop(op.key, None)
        elif type(op) is Touch:
            if op.key in self._made_by:
                self._touched[op.key] = lsn, op.expires_at_ms
        else:
            self._made_by.clear()
            self._touched.clear()

"""Reduce the ops of a log to the last one of each key."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable
from itertools import count, islice
from typing import cast

from hypercache.log_reader import Extent, LogReader, Progress
from hypercache.ops import Clear, Delete, KeyOp, Op, Put, Puts, Touch, as_ops
from hypercache.paths import LogPaths
from hypercache.storage import Storage

OpsByKey = dict[bytes, tuple[int, KeyOp]]
Numbered = Iterable[tuple[int, KeyOp]]


class NetOps:
    """The last op of each key in a log, with its LSN; it may be read bit by bit.

    Attributes:
        by_key: a Touch of a key put before became part of that Put.
        in_order: the first keys of `by_key`, those that were sorted so far.
        cleared_lsn: the LSN of the last clear, 0 for none; nothing before it is left.
        reached_lsn: the last LSN that was read.
        read_bytes: how much of the log the last `read` has read so far.
    """

    def __init__(self, storage: Storage, paths: LogPaths, uuid: bytes) -> None:
        self._place = storage, paths, uuid
        self._seen: tuple[Extent, Progress] | None = None
        self.by_key: OpsByKey = {}
        self.in_order: list[bytes] = []
        self.cleared_lsn = self.reached_lsn = self.read_bytes = 0

    def read(self, extent: Extent) -> Generator[int, None, None]:
        """Read what an extent, all sealed, has behind what was read before.

        Yields `read_bytes` now and then, so that the caller can pause.

        Raises:
            CorruptionError: a segment is damaged.
        """
        # A clean log is one whose last segment must be sealed, too.
        extent = dataclasses.replace(extent, clean=True)
        reader = LogReader(*self._place, extent)
        if self._seen is not None and _begin_alike(self._seen[0], extent):
            reader.go_on_behind(self._seen[1])
        else:
            self.by_key, self.in_order, self.cleared_lsn = {}, [], 0
        for first_lsn, unpacked in reader.unpacked():
            numbered = zip(count(first_lsn), as_ops(unpacked), strict=False)
            if isinstance(unpacked, Puts):  # nearly always; puts need no look back
                entries = zip(unpacked.keys, cast("Numbered", numbered), strict=False)
                self.by_key.update(entries)
            else:
                self._add(numbered)
            self.read_bytes = reader.read_bytes
            yield self.read_bytes
        self.reached_lsn = reader.next_lsn - 1
        self._seen = extent, reader.progress

    def sort(self, run_count: int) -> Generator[int, None, None]:
        """Sort the keys read so far into `in_order`, so many in one step."""
        keys = islice(self.by_key, len(self.in_order), None)
        while run := list(islice(keys, run_count)):
            self.in_order += run
            # What is in order already is merged, which takes a tenth of a sort.
            self.in_order.sort()
            yield self.read_bytes

    def _add(self, numbered: Iterable[tuple[int, Op]]) -> None:
        for lsn, op in numbered:
            if isinstance(op, Clear):
                self.cleared_lsn = lsn
                self.by_key.clear()
                self.in_order.clear()
            else:
                before = self.by_key.get(op.key)
                last = _combined(before[1] if before else None, op)
                self.by_key[op.key] = (lsn, last)


def _begin_alike(one: Extent, other: Extent) -> bool:
    begins = (one.floor_lsn, one.first_segment), (other.floor_lsn, other.first_segment)
    return begins[0] == begins[1] and one.active_segment <= other.active_segment


def _combined(before: KeyOp | None, op: KeyOp) -> KeyOp:
    match before, op:
        case Put(key, value, _), Touch(_, expires_at_ms):
            return Put(key, value, expires_at_ms)
        case Delete(), Touch():
            return before
    return op

"""Fold sealed segments into the store below the log, step by step.

What a helper process or a tool would run to make a checkpoint is this same code; it
needs nothing of the engine but the files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

from hypercache.ops import Clear, Delete, KeyOp, Put, Touch
from hypercache.paths import StorePaths
from hypercache.storage import Storage
from hypercache.wal.checkpoint import Marker
from hypercache.wal.reader import WalReader


class FoldTarget(Protocol):
    """What a checkpoint needs of the store below."""

    def fold(self, ops: Sequence[tuple[int, KeyOp]], reached_lsn: int | None) -> None:
        """Apply ops with their LSNs in one synced transaction."""

    def clear(self, reached_lsn: int) -> None:
        """Remove every entry in one synced transaction."""


def fold(
    storage: Storage,
    paths: StorePaths,
    uuid: bytes,
    marker: Marker,
    target: FoldTarget,
    batch_count: int,
) -> Iterator[int]:
    """Fold the segments of the marker, all sealed; yield the LSN they reach.

    Yields after each transaction, so that the caller can pause or stop there: what is
    folded by then is folded again by the next try, to the same end.

    Raises:
        CorruptionError: a segment is damaged; nothing of it was folded.
    """
    # A clean log is one whose last segment must be sealed, too.
    sealed = dataclasses.replace(marker, clean=True)
    reader = WalReader(storage, paths, uuid, sealed)
    cleared_lsn, net = net_ops(reader)
    reached_lsn = reader.next_lsn - 1
    if cleared_lsn:
        target.clear(cleared_lsn)
        yield reached_lsn
    # In key order, so that LMDB touches each page once.
    waiting = iter(sorted(net.values(), key=lambda item: item[1].key))
    while batch := list(islice(waiting, batch_count)):
        target.fold(batch, None)
        yield reached_lsn
    target.fold([], reached_lsn)
    yield reached_lsn


def net_ops(reader: WalReader) -> tuple[int, dict[bytes, tuple[int, KeyOp]]]:
    """Return the LSN of the last clear (0: none) and the last op of each key after it.

    A Touch of a key put before becomes part of that Put.
    """
    cleared_lsn = 0
    net: dict[bytes, tuple[int, KeyOp]] = {}
    for lsn, op in reader.replay():
        if isinstance(op, Clear):
            cleared_lsn = lsn
            net.clear()
            continue
        before = net.get(op.key)
        net[op.key] = (lsn, _combined(before[1] if before else None, op))
    return cleared_lsn, net


def _combined(before: KeyOp | None, op: KeyOp) -> KeyOp:
    match before, op:
        case Put(key, value, _), Touch(_, expires_at_ms):
            return Put(key, value, expires_at_ms)
        case Delete(), Touch():
            return before
    return op

"""Fold sealed segments into the store below the log, step by step.

What a helper process or a tool would run to make a checkpoint is this same code; it
needs nothing of the engine but the files.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import islice
from typing import Protocol

from hypercache.log_reader import Extent
from hypercache.net_ops import NetOps
from hypercache.ops import KeyOp

_BATCHES_IN_RUN = 50


class FoldTarget(Protocol):
    """What a checkpoint needs of the store below."""

    def fold(self, ops: Sequence[tuple[int, KeyOp]], reached_lsn: int | None) -> None:
        """Apply ops with their LSNs in one synced transaction."""

    def clear(self, reached_lsn: int) -> None:
        """Remove every entry in one synced transaction."""


def fold(
    net: NetOps, extent: Extent, target: FoldTarget, batch_count: int
) -> Generator[int, None, int]:
    """Fold the segments of an extent, all sealed; return the LSN they reach.

    `net` may have read some of them before. Yields after each transaction and now and
    then before, so that the caller can pause or stop there: what is folded by then is
    folded again by the next try, to the same end.

    Raises:
        CorruptionError: a segment is damaged; nothing of it was folded.
    """
    yield from net.read(extent)
    if net.cleared_lsn:
        target.clear(net.cleared_lsn)
        yield net.read_bytes
    # In key order, so that LMDB touches each page once.
    yield from net.sort(batch_count * _BATCHES_IN_RUN)
    keys = iter(net.in_order)
    while batch := list(map(net.by_key.__getitem__, islice(keys, batch_count))):
        target.fold(batch, None)
        yield net.read_bytes
    target.fold([], net.reached_lsn)
    return net.reached_lsn

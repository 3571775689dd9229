"""Fold sealed segments into the store below the log, step by step.

What a helper process or a tool would run to make a checkpoint is this same code; it
needs nothing of the engine but the files.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from typing import Protocol

from hypercache.log_reader import LogReader
from hypercache.net_ops import NetOps, net_ops
from hypercache.ops import KeyOp
from hypercache.paths import StorePaths
from hypercache.storage import Storage
from hypercache.wal.checkpoint import Marker

_BATCHES_IN_RUN = 50


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
) -> Generator[int, None, int]:
    """Fold the segments of the marker, all sealed; return the LSN they reach.

    Yields after each transaction and now and then before, so that the caller can
    pause or stop there: what is folded by then is folded again by the next try, to
    the same end.

    Raises:
        CorruptionError: a segment is damaged; nothing of it was folded.
    """
    # A clean log is one whose last segment must be sealed, too.
    sealed = dataclasses.replace(marker.extent, clean=True)
    reader = LogReader(storage, paths.wal_log, uuid, sealed)
    cleared_lsn, net = yield from net_ops(reader)
    reached_lsn = reader.next_lsn - 1
    if cleared_lsn:
        target.clear(cleared_lsn)
        yield reader.read_bytes
    # In key order, so that LMDB touches each page once.
    keys = yield from _sorted_keys(net, batch_count * _BATCHES_IN_RUN, reader)
    while batch := [net[key] for key in islice(keys, batch_count)]:
        target.fold(batch, None)
        yield reader.read_bytes
    target.fold([], reached_lsn)
    return reached_lsn


def _sorted_keys(
    net: NetOps, run_count: int, reader: LogReader
) -> Generator[int, None, Iterator[bytes]]:
    """Return the keys in order, sorted in runs so that no step takes long."""
    keys, runs = iter(net), []
    while run := sorted(islice(keys, run_count)):
        runs.append(run)
        yield reader.read_bytes
    # One sort costs a third of a merge, and one run is the rule in a helper process.
    return iter(runs[0]) if len(runs) == 1 else heapq.merge(*runs)

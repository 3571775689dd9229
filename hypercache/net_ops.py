"""Reduce the ops of a log to the last one of each key."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import count
from typing import cast

from hypercache.log_reader import LogReader
from hypercache.ops import Clear, Delete, KeyOp, Op, Put, Puts, Touch, as_ops

NetOps = dict[bytes, tuple[int, KeyOp]]
Numbered = Iterable[tuple[int, KeyOp]]


def net_ops(reader: LogReader) -> Generator[int, None, tuple[int, NetOps]]:
    """Return the LSN of the last clear (0: none) and the last op of each key after it.

    A Touch of a key put before becomes part of that Put. Yields now and then how many
    bytes were read, so that the caller can pause.
    """
    cleared_lsn = 0
    net: NetOps = {}
    for first_lsn, unpacked in reader.unpacked():
        numbered = zip(count(first_lsn), as_ops(unpacked), strict=False)
        if isinstance(unpacked, Puts):  # nearly always, and puts need no look back
            net.update(zip(unpacked.keys, cast("Numbered", numbered), strict=False))
        else:
            cleared_lsn = _add(net, numbered) or cleared_lsn
        yield reader.read_bytes
    return cleared_lsn, net


def _add(net: NetOps, numbered: Iterable[tuple[int, Op]]) -> int:
    """Add ops one by one; return the LSN of the last clear, 0 without one."""
    cleared_lsn = 0
    for lsn, op in numbered:
        if isinstance(op, Clear):
            cleared_lsn = lsn
            net.clear()
        else:
            before = net.get(op.key)
            net[op.key] = (lsn, _combined(before[1] if before else None, op))
    return cleared_lsn


def _combined(before: KeyOp | None, op: KeyOp) -> KeyOp:
    match before, op:
        case Put(key, value, _), Touch(_, expires_at_ms):
            return Put(key, value, expires_at_ms)
        case Delete(), Touch():
            return before
    return op

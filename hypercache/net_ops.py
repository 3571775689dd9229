"""Reduce the ops of a log to the last one of each key."""

from __future__ import annotations

from collections.abc import Generator

from hypercache.log_reader import LogReader
from hypercache.ops import Clear, Delete, KeyOp, Put, Touch

NetOps = dict[bytes, tuple[int, KeyOp]]


def net_ops(reader: LogReader) -> Generator[int, None, tuple[int, NetOps]]:
    """Return the LSN of the last clear (0: none) and the last op of each key after it.

    A Touch of a key put before becomes part of that Put. Yields now and then how many
    bytes were read, so that the caller can pause.
    """
    cleared_lsn = 0
    net: NetOps = {}
    for first_lsn, run in reader.runs():
        for lsn, op in enumerate(run, start=first_lsn):
            if type(op) is Put:  # nearly every op, and it needs no look back
                net[op.key] = lsn, op
            elif isinstance(op, Clear):
                cleared_lsn = lsn
                net.clear()
            else:
                before = net.get(op.key)
                net[op.key] = (lsn, _combined(before[1] if before else None, op))
        yield reader.read_bytes
    return cleared_lsn, net


def _combined(before: KeyOp | None, op: KeyOp) -> KeyOp:
    match before, op:
        case Put(key, value, _), Touch(_, expires_at_ms):
            return Put(key, value, expires_at_ms)
        case Delete(), Touch():
            return before
    return op

"""Decode the ops of a frame that verifies, and say so where it holds none."""

from __future__ import annotations

from collections.abc import Iterator

from hypercache import ops
from hypercache.frame import Frame
from hypercache.ops import Op
from hypercache.recovery.findings import Finding, Kind, Loss
from hypercache.recovery.segments import Survey


def ops_of(
    found: Frame, each: Survey, floor_lsn: int, bad: list[Finding]
) -> Iterator[tuple[int, Op]]:
    """Yield the ops of a frame above the floor; a bad payload goes to `bad`."""
    if found.next_lsn - 1 <= floor_lsn:
        return
    try:
        decoded = ops.decode(found.payload, found.op_count)
    except ValueError as error:
        bad.append(
            Finding(
                Kind.PAYLOAD,
                each.name,
                f"bad payload: {error}",
                found.offset,
                found.end - found.offset,
                max(found.lsn, floor_lsn + 1),
                found.next_lsn - 1,
                loss=Loss.CERTAIN,
                kept=True,
            )
        )
        return
    for lsn, op in enumerate(decoded, start=found.lsn):
        if lsn > floor_lsn:
            yield lsn, op

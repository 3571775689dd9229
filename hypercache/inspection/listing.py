"""List the ops of a log one by one, with their places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hypercache.frame import KIND_BLOCK, Frame
from hypercache.inspection.contents import ENTRY, NAMES, lsns_of, ops_of
from hypercache.inspection.layout import Layout, LogFile, Problem
from hypercache.inspection.walk import FileWalk, LogWalk
from hypercache.log_reader import TornTail
from hypercache.ops import Clear, Delete, Op, Put
from hypercache.storage import Storage


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which ops to list; None asks for all."""

    key: bytes | None = None
    from_lsn: int | None = None
    to_lsn: int | None = None

    def covers(self, first_lsn: int, last_lsn: int) -> bool:
        """Tell whether some of these LSNs are wanted."""
        return (self.from_lsn is None or self.from_lsn <= last_lsn) and (
            self.to_lsn is None or first_lsn <= self.to_lsn
        )


class Line(NamedTuple):
    """One op, or one entry of a base.

    `frame_ops` is how many there are in its frame. Of what an op does not have the
    fields are None; an expiry of 0 means never.
    """

    file: LogFile
    offset: int
    lsn: int
    op: str
    key: bytes | None
    value_bytes: int | None
    stored_bytes: int
    frame_bytes: int
    frame_ops: int
    expires_at_ms: int | None


class Listing:
    """Iterate the ops that are wanted, and whatever is wrong, in the log's order.

    A file is yielded before what it holds. Problems are yielded where they stand, the
    others at the end; afterwards `log` knows how the log is.
    """

    def __init__(self, storage: Storage, layout: Layout, wanted: Wanted) -> None:
        self.log = LogWalk(storage, layout)
        self._wanted = wanted

    def __iter__(self) -> Iterator[LogFile | Line | Problem | TornTail]:
        shown: set[int] = set()
        for walk in self.log.walks():
            yield walk.file
            for found in walk:
                if isinstance(found, Problem):
                    shown.add(id(found))
                    yield found
                else:
                    yield from self._lines(walk, found)
                del found
            if walk.torn is not None:
                yield walk.torn
        yield from (each for each in self.log.problems if id(each) not in shown)

    def _lines(self, walk: FileWalk, frame: Frame) -> Iterator[Line]:
        block = frame.kind == KIND_BLOCK
        first = frame.lsn - 1 if block else frame.lsn
        if not self._wanted.covers(first, max(first, frame.next_lsn - 1)):
            return
        try:
            sized = ops_of(frame)
        except ValueError as error:
            reason = f"bad payload: {error}"
            walk.problems.append(
                Problem(walk.file.path, reason, frame.offset, frame.lsn)
            )
            return
        for (op, stored_bytes), lsn in zip(
            sized, lsns_of(frame, len(sized)), strict=True
        ):
            if self._wanted.covers(lsn, lsn) and self._is_wanted(op):
                name = ENTRY if block else NAMES[type(op)]
                place = (walk.file, frame.offset, lsn, name)
                length_bytes = frame.end - frame.offset
                sizes = (stored_bytes, length_bytes, len(sized))
                yield _line(op, place, sizes)

    def _is_wanted(self, op: Op) -> bool:
        key = self._wanted.key
        return key is None or isinstance(op, Clear) or op.key == key


def _line(
    op: Op, place: tuple[LogFile, int, int, str], sizes: tuple[int, int, int]
) -> Line:
    key = None if isinstance(op, Clear) else op.key
    value_bytes = len(op.value) if isinstance(op, Put) else None
    expires_at_ms = None if isinstance(op, Clear | Delete) else op.expires_at_ms
    return Line(*place, key, value_bytes, *sizes, expires_at_ms)

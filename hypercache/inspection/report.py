"""What an inspection has found, for people and for programs."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from hypercache.inspection.layout import Kind, Problem
from hypercache.inspection.live import BigKey
from hypercache.inspection.walk import FileWalk, LogWalk


class State(enum.StrEnum):
    """How a log is: the worst that was found."""

    CLEAN = "clean"
    TORN = "torn"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class FileReport:
    """One file; LSNs are those of its frames, None where it has none.

    `is_read` is False for a file that was skipped because of its header.
    """

    name: str
    role: str
    size_bytes: int
    mtime_ms: int
    is_read: bool = False
    is_sealed: bool = False
    frame_count: int = 0
    first_lsn: int | None = None
    last_lsn: int | None = None


@dataclass(frozen=True, slots=True)
class Bytes:
    """Where the bytes of the files went; the parts add up to `total`.

    Attributes:
        live: what a compaction would have to keep, None where it cannot be told.
        dead: ops that later ones, an expiry or a clear have overtaken.
        overhead: headers of files and frames, and footers.
        unused: preallocated space behind the last frame.
        torn: the torn tail.
        damaged: what cannot be read.
        leftover: files that are no part of the log, or not yet.
    """

    total: int
    live: int | None
    dead: int | None
    overhead: int
    unused: int
    torn: int
    damaged: int
    leftover: int


@dataclass(frozen=True, slots=True)
class Range:
    """The lowest and the highest of some numbers, None where there were none."""

    first: int | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A whole log.

    Attributes:
        floor_lsn: ops up to this one are kept elsewhere: in LMDB, or in the base.
        lsns: those of the ops that were read.
        written_ms: the times at which the files were last changed.
        expires_ms: the expiries that the ops carry.
        biggest_keys: the live keys with the largest values, the largest first.
    """

    kind: Kind
    directory: str
    state: State
    verdict: str
    files: tuple[FileReport, ...]
    frame_count: int
    op_counts: dict[str, int]
    bytes: Bytes
    floor_lsn: int | None
    lsns: Range
    written_ms: Range
    expires_ms: Range
    biggest_keys: tuple[BigKey, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def state_of(log: LogWalk) -> State:
    """Return how a log is that was walked to its end."""
    if log.problems:
        return State.DAMAGED
    return State.TORN if log.torn is not None else State.CLEAN


def verdict_of(log: LogWalk) -> str:
    """Return one line about the end of a log that was walked to its end."""
    if log.problems:
        more = len(log.problems) - 1
        behind = f" (and {more} more)" if more else ""
        return f"corruption at {where(log.problems[0])}{behind}"
    if log.torn is not None:
        tail = log.torn
        return (
            f"torn tail at offset {tail.offset} of {tail.path} ({tail.reason}): cut "
            "at the next open, nothing acknowledged as synced is in it"
        )
    return _end_of(log.last)


def where(problem: Problem) -> str:
    """Return a problem as a line: the place, then the reason."""
    parts = [problem.path]
    parts += [f"offset {problem.offset}"] if problem.offset is not None else []
    parts += [f"LSN {problem.lsn}"] if problem.lsn is not None else []
    return f"{', '.join(parts)}: {problem.reason}"


def _end_of(last: FileWalk | None) -> str:
    if last is None:
        return "clean: there are no segments"
    if last.sealed:
        return f"clean: sealed, ends at LSN {last.next_lsn - 1}"
    return f"open: ends at LSN {last.next_lsn - 1}"

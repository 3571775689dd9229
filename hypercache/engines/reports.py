"""What an engine says of itself: the problems it found, and its numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where; None where it is not known."""

    path: str
    reason: str
    offset: int | None = None
    lsn: int | None = None
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check` found; `ok` when nothing is wrong."""

    problems: tuple[Problem, ...] = ()
    entry_count: int = 0

    @property
    def ok(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.problems


def merged(reports: Iterable[CheckReport]) -> CheckReport:
    """Return several reports as one."""
    found = list(reports)
    problems = tuple(problem for each in found for problem in each.problems)
    return CheckReport(problems, sum(each.entry_count for each in found))


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Numbers of one engine at one moment; units end the names.

    An engine fills in what it has; the defaults say "there is no such thing here".

    Attributes:
        engine: the name it is opened under.
        appended_lsn: the last op written; 0 for an engine that keeps nothing.
        synced_lsn: the last op known to be on the medium.
        checkpoint_lsn: the last op that the log is no longer needed for.
        memtable_count: entries that only RAM and the log hold.
        log_bytes: length of the log that is not folded yet.
        live_bytes: what of the log is not overwritten, deleted or expired.
        base_bytes: size of what the last compaction wrote.
        disk_bytes: size of all files together.
        maintenance: where the log is folded or compacted: "process", "inline", or
            None without a log.
        maintenance_state: "running" while that goes on, else "idle".
        maintenance_lag_bytes: length of the log that waits for it.
        maintenance_wait_ms: how long writers have waited for it, since open.
        maintenance_error: what the last run failed with, None if it did not.
        failure: why nothing more can be written, None if it can.
        max_items, max_bytes: the limits, None where there is none.
        payload_bytes: memory of keys and values, counted where there is a limit.
        metadata_bytes: memory of tables, and of what is known for eviction.
        pressure_percent: 85, 90 or 95 once so much of a limit is used, else 0.
        evicted_count: entries that went because there was no room, since open.
        expired_count: entries that went because their time was over, since open.
        recovery: what the open found and mended, a sentence each.
    """

    engine: str
    path: str | None = None
    read_only: bool = False
    sync: str | None = None
    log_io: str | None = None
    appended_lsn: int = 0
    synced_lsn: int = 0
    checkpoint_lsn: int = 0
    memtable_count: int = 0
    read_cache_bytes: int = 0
    log_bytes: int = 0
    live_bytes: int = 0
    base_bytes: int = 0
    disk_bytes: int = 0
    checkpoint_count: int = 0
    compaction_count: int = 0
    maintenance: str | None = None
    maintenance_state: str = "idle"
    maintenance_lag_bytes: int = 0
    maintenance_wait_ms: int = 0
    maintenance_error: str | None = None
    failure: str | None = None
    max_items: int | None = None
    max_bytes: int | None = None
    payload_bytes: int = 0
    metadata_bytes: int = 0
    pressure_percent: int = 0
    evicted_count: int = 0
    expired_count: int = 0
    recovery: tuple[str, ...] = field(default=())

"""Where HyperCache should stand: each row a quotient of two figures of one run."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from hypercache.bench.results import Results

Figure = tuple[str, str]  # measure and subject


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        upper, lower: what is divided; without `lower` the figure stands alone.
        at_least, aim: of the quotient; or `at_most`, where less is better.
    """

    work: str
    against: str
    upper: Figure
    lower: Figure | None
    at_least: float | None = None
    aim: float | None = None
    at_most: float | None = None
    unit: str = "x"


@dataclass(frozen=True)
class Verdict:
    """What a run says about a row; None if it has not measured it."""

    row: Row
    value: float | None
    spread: tuple[float, float] | None

    @property
    def word(self) -> str:
        """Return "won", "aim reached", "lost" or "not measured"."""
        if self.value is None:
            return "not measured"
        row = self.row
        if row.at_most is not None:
            return "won" if self.value <= row.at_most else "lost"
        if row.aim is not None and self.value >= row.aim:
            return "aim reached"
        return "won" if self.value >= (row.at_least or 0) else "lost"


def judge(row: Row, results: Results) -> Verdict:
    """Return the median of a row's quotients over the rounds, and their spread."""
    if row.lower is None:
        values = list(results.values(*row.upper).values())
    else:
        values = results.ratios(row.upper, row.lower)
    if not values:
        return Verdict(row, None, None)
    return Verdict(row, statistics.median(values), (min(values), max(values)))


def faster(
    work: str,
    measure: str,
    subject: str,
    peer: str,
    at_least: float,
    aim: float | None = None,
) -> Row:
    """Return the row of a subject that is to be so many times as fast as a peer."""
    upper, lower = (measure, peer), (measure, subject)
    return Row(f"{work}: {subject}", peer, upper, lower, at_least, aim)


def _set_rows(subject: str) -> tuple[Row, ...]:
    return (
        faster("set", "set, 100 B", subject, "rocksdict", 2, 3),
        faster("set", "set, 100 B", subject, "diskcache", 40),
        faster("set", "set, 100 B", subject, "lmdb", 5),
    )


MAINTAINED = "p99.9 during maintenance"
SAME = "itself, 1 thread"
ALONE = ("synced set, 1 thread", "hybrid, always")
THREADS = ("synced set, 16 threads", "hybrid, always")
TASKS = ("synced set, 64 asyncio tasks", "hybrid, always")
DISK = ("disk / payload", "hybrid")
CLEAN = ("open after a clean close", "hybrid")
RESIDENT = "resident memory, a key"

ROWS = (
    *_set_rows("hybrid"),
    *_set_rows("memory with log"),
    faster("get, hot", "get, 100 B", "hybrid", "rocksdict", 2, 3),
    faster("get, hot", "get, 100 B", "hybrid", "diskcache", 10),
    faster("get, hot", "get, 100 B", "memory, limited", "cachetools", 1),
    faster("get, cold", "get, cold", "hybrid", "rocksdict", 3),
    faster("sustained inserts", "uniform inserts", "hybrid", "rocksdict", 1.2, 1.5),
    faster("sustained updates", "Zipf updates", "hybrid", "rocksdict", 1.5, 2),
    faster("always, 1 thread", *ALONE, "raw write + fdatasync", 0.85),
    Row("always, 16 threads: hybrid", SAME, ALONE, THREADS, 2.5, 4),
    faster("always, 16 threads", *THREADS, "rocksdict, synced", 4),
    Row("always, 64 asyncio writers: hybrid", SAME, ALONE, TASKS, 6),
    *(
        faster(f"YCSB {mix}", f"YCSB {mix}", "hybrid", "rocksdict", 1.5, 2)
        for mix in "ABCF"
    ),
    Row("open after a clean close: hybrid", "", CLEAN, None, at_most=0.2, unit="s"),
    faster(
        "load of a compacted log",
        "load of a compacted log",
        "memory with log",
        "redis",
        1.5,
        3,
    ),
    Row(
        "resident memory per key: memory",
        "dict of bytes",
        (RESIDENT, "memory"),
        (RESIDENT, "dict"),
        at_most=1.25,
    ),
    Row("disk after uniform inserts: hybrid", "payload", DISK, None, at_most=2.5),
    Row(
        "p99.9 of a set during a checkpoint: hybrid",
        "",
        (f"uniform inserts, {MAINTAINED}", "hybrid"),
        None,
        at_most=5_000,
        unit="us",
    ),
    Row(
        "p99.9 of a set during a compaction: memory with log",
        "",
        (f"Zipf updates, {MAINTAINED}", "memory with log"),
        None,
        at_most=5_000,
        unit="us",
    ),
)

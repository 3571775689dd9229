"""Measure one load on one store: rates, latencies, and what stays on the disk."""

from __future__ import annotations

import gc
import os
import shutil
from array import array
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter, perf_counter_ns

from bench_load_subjects import Store, Subject

CHUNK_COUNT = 1_000  # after so many sets it is looked at whether the helper works
PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


@dataclass(frozen=True)
class Work:
    """What is done to a store; made beforehand."""

    name: str
    keys: list[bytes]
    values: list[bytes]
    gets: list[bytes]


@dataclass
class Run:
    """What one load on one store took."""

    load: str
    subject: str
    sets_per_s: float
    gets_per_s: float
    close_s: float
    disk_bytes: int
    waited_ms: int | None
    busy_share: float
    latency_us: dict[str, float]
    busy_latency_us: dict[str, float] | None


def measure(subject: Subject, work: Work, path: Path) -> Run:
    """Do the work on a fresh store, which is removed afterwards."""
    gc.collect()
    os.sync()  # or this one would wait for what the one before has written
    store = subject.open(path)
    times, busy = _set_all(store, work)
    gets_per_s = _get_all(store, work.gets)
    waited_ms = store.waited_ms()
    began = perf_counter()
    store.checkpoint()
    store.close()
    close_s = perf_counter() - began
    disk_bytes = sum(
        file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file()
    )
    shutil.rmtree(path)
    seconds = (times[-1] - times[0]) / 1e9
    while_busy = _while_busy(times, busy)
    return Run(
        work.name,
        subject.name,
        len(work.keys) / seconds,
        gets_per_s,
        close_s,
        disk_bytes,
        waited_ms,
        len(while_busy) / len(work.keys),
        _percentiles(array("Q", (b - a for a, b in pairwise(times)))),
        _percentiles(while_busy) if while_busy else None,
    )


def _set_all(store: Store, work: Work) -> tuple[array[int], list[bool]]:
    """Return the moment after each set, and per chunk whether the helper worked."""
    times = array("Q", bytes(8 * (len(work.keys) + 1)))
    busy = []
    put, is_busy, now = store.set, store.is_busy, perf_counter_ns
    times[0] = now()
    for position, (key, value) in enumerate(
        zip(work.keys, work.values, strict=True), 1
    ):
        put(key, value)
        times[position] = now()
        if not position % CHUNK_COUNT:
            busy.append(is_busy())
    busy.append(is_busy())
    return times, busy


def _get_all(store: Store, keys: list[bytes]) -> float:
    get = store.get
    began = perf_counter()
    for key in keys:
        if get(key) is None:
            raise SystemExit(f"a key that was set is missing: {key!r}")
    return len(keys) / (perf_counter() - began)


def _while_busy(times: array[int], busy: list[bool]) -> array[int]:
    """Return the latencies of the chunks that began or ended with a checkpoint."""
    found = array("Q")
    before = False
    for number, after in enumerate(busy):
        if before or after:
            first = number * CHUNK_COUNT
            part = times[first : first + CHUNK_COUNT + 1]
            found.extend(b - a for a, b in pairwise(part))
        before = after
    return found


def _percentiles(latencies_ns: array[int]) -> dict[str, float]:
    ordered = sorted(latencies_ns)
    last = len(ordered) - 1
    found = {name: ordered[int(last * q)] / 1e3 for name, q in PERCENTILES.items()}
    return {**found, "max": ordered[-1] / 1e3}

"""Millions of writes: what they take, how even they are, and what they leave."""

from __future__ import annotations

import resource
from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from time import perf_counter_ns

from hypercache.bench import data
from hypercache.bench.plan import Plan
from hypercache.bench.results import Sample, percentiles_us
from hypercache.bench.steps import Step, Work, few, sample, steps_of
from hypercache.bench.stores import Durability, Store, Subject
from hypercache.bench.subjects import present
from hypercache.bench.work.single import get_all

CHUNK_COUNT = 1_000  # after so many sets it is looked at whether maintenance goes on
ENTRY_BYTES = data.KEY_BYTES + data.VALUE_BYTES
BLOCK_BYTES = 512  # of st_blocks and ru_oublock


def _uniform(plan: Plan, seed: int, subject: Subject, path: Path) -> Iterator[Sample]:
    keys, values = data.keys(plan.sustained, seed), data.values(plan.sustained, seed)
    written = _written_bytes()
    with closing(subject.open(path, plan.sustained)) as store:
        yield from _timed_sets("uniform inserts", subject, store, keys, values)
        store.settle()
    payload = plan.sustained * ENTRY_BYTES
    if written:
        factor = (_written_bytes() - written) / payload
        yield sample("bytes written / payload", subject, factor, "x")
    yield sample("disk / payload", subject, _disk_bytes(path) / payload, "x")
    asked = data.shuffled(keys, seed)[: plan.cold_gets]
    with closing(subject.open(path, plan.sustained)) as store:
        yield sample("get, cold", subject, get_all(store, asked))


def _zipf(plan: Plan, seed: int, subject: Subject, path: Path) -> Iterator[Sample]:
    population = data.keys(plan.sustained // 2, seed)
    drawn = data.zipf(len(population)).draw(plan.sustained, seed)
    keys = [population[position] for position in drawn]
    values = data.values(plan.sustained, seed)
    with closing(subject.open(path, plan.sustained)) as store:
        yield from _timed_sets("Zipf updates", subject, store, keys, values)


def _timed_sets(
    name: str,
    subject: Subject,
    store: Store,
    keys: Sequence[bytes],
    values: Sequence[bytes],
) -> Iterator[Sample]:
    times, maintained = _set_all(store, keys, values)
    took = (times[-1] - times[0]) / len(keys) / 1e3
    yield sample(name, subject, took)
    for label, found in percentiles_us(b - a for a, b in pairwise(times)).items():
        yield sample(f"{name}, {label}", subject, found)
    meanwhile = _while_maintained(times, maintained)
    if meanwhile:
        for label, found in percentiles_us(meanwhile).items():
            yield sample(f"{name}, {label} during maintenance", subject, found)


def _set_all(
    store: Store, keys: Sequence[bytes], values: Sequence[bytes]
) -> tuple[array[int], list[bool]]:
    """Return the moment after each set, and per chunk whether maintenance goes on."""
    times = array("Q", bytes(8 * (len(keys) + 1)))
    maintained = []
    put, maintains, now = store.set, store.maintains, perf_counter_ns
    times[0] = now()
    for position, (key, value) in enumerate(zip(keys, values, strict=True), 1):
        put(key, value)
        times[position] = now()
        if not position % CHUNK_COUNT:
            maintained.append(maintains())
    maintained.append(maintains())
    return times, maintained


def _while_maintained(times: array[int], maintained: list[bool]) -> array[int]:
    """Return the latencies of the chunks that began or ended with maintenance."""
    found = array("Q")
    before = False
    for number, after in enumerate(maintained):
        if before or after:
            first = number * CHUNK_COUNT
            part = times[first : first + CHUNK_COUNT + 1]
            found.extend(b - a for a, b in pairwise(part))
        before = after
    return found


def _written_bytes() -> int:
    """Return what this process and its ended helpers sent to disks; 0 if unknown."""
    who = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return sum(resource.getrusage(each).ru_oublock for each in who) * BLOCK_BYTES


def _disk_bytes(path: Path) -> int:
    files = (file for file in path.rglob("*") if file.is_file())
    return sum(file.stat().st_blocks for file in files) * BLOCK_BYTES


def _steps(plan: Plan, seed: int) -> list[Step]:
    subjects = present(Durability.SYSTEM, bulk=True)
    return [
        *steps_of(subjects, _uniform, plan, seed),
        *steps_of(subjects, _zipf, plan, seed),
    ]


SUSTAINED = Work("sustained", _steps, few)

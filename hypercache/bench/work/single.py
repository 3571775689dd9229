"""Single operations and batches: small and large values, hits and misses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from hypercache.bench import data
from hypercache.bench.plan import Plan
from hypercache.bench.results import Sample
from hypercache.bench.steps import Step, Work, many, sample, steps_of
from hypercache.bench.stores import Durability, Store, Subject
from hypercache.bench.subjects import present

BATCH_COUNT = 100
UNSYNCED = (Durability.RAM, Durability.QUEUED, Durability.SYSTEM)


def set_all(store: Store, keys: Sequence[bytes], values: Sequence[bytes]) -> float:
    """Return the microseconds of one set."""
    put = store.set
    began = perf_counter()
    for key, value in zip(keys, values, strict=True):
        put(key, value)
    return (perf_counter() - began) / len(keys) * 1e6


def get_all(store: Store, keys: Sequence[bytes]) -> float:
    """Return the microseconds of one get of a key that is there.

    Raises:
        RuntimeError: it is not.
    """
    get = store.get
    began = perf_counter()
    for key in keys:
        if get(key) is None:
            raise RuntimeError(f"a key that was set is missing: {key!r}")
    return (perf_counter() - began) / len(keys) * 1e6


def _small(plan: Plan, seed: int, subject: Subject, path: Path) -> Iterator[Sample]:
    count = subject.share_of(plan.keys)
    keys, values = data.keys(count, seed), data.values(count, seed)
    order, absent = data.shuffled(keys, seed), data.keys(count, ~seed)
    store = subject.open(path, count)
    yield sample("set, 100 B", subject, set_all(store, keys, values))
    yield sample("get, 100 B", subject, get_all(store, order))
    yield sample("get, absent", subject, _misses_us(store, absent))
    yield sample("overwrite, 100 B", subject, set_all(store, order, values))
    store.close()


def _large(plan: Plan, seed: int, subject: Subject, path: Path) -> Iterator[Sample]:
    count = subject.share_of(plan.large_keys)
    keys, values = data.keys(count, seed), data.values(count, seed, data.LARGE_BYTES)
    store = subject.open(path, count)
    yield sample("set, 4 KiB", subject, set_all(store, keys, values))
    yield sample("get, 4 KiB", subject, get_all(store, data.shuffled(keys, seed)))
    store.close()


def _batches(plan: Plan, seed: int, subject: Subject, path: Path) -> Iterator[Sample]:
    count = subject.share_of(plan.keys)
    keys, values = data.keys(count, seed), data.values(count, seed)
    order = data.shuffled(keys, seed)
    parts = [slice(n, n + BATCH_COUNT) for n in range(0, count, BATCH_COUNT)]
    entries = [dict(zip(keys[p], values[p], strict=True)) for p in parts]
    store = subject.open(path, count)
    if store.set_many:
        took = _calls_us(store.set_many, entries, count)
        yield sample("set_many of 100, an entry", subject, took)
    if store.set_many and store.get_many:
        took = _calls_us(store.get_many, [order[p] for p in parts], count)
        yield sample("get_many of 100, an entry", subject, took)
    store.close()


def _full(plan: Plan, seed: int, subject: Subject, path: Path) -> Iterator[Sample]:
    count = plan.keys // 2
    keys, values = data.keys(plan.keys, seed), data.values(plan.keys, seed)
    store = subject.open(path, count)
    set_all(store, keys[:count], values[:count])
    took = set_all(store, keys[count:], values[count:])
    yield sample("set, evicting another", subject, took)
    store.close()


def _scans(plan: Plan, seed: int, subject: Subject, path: Path) -> Iterator[Sample]:
    store = subject.open(path, plan.scan_keys)
    if store.scan:
        values = data.values(plan.scan_keys, seed)
        prefixes = [b"%06d:" % n for n in range(plan.scan_keys // BATCH_COUNT)]
        keys = [each + b"%08d" % n for n in range(BATCH_COUNT) for each in prefixes]
        set_all(store, data.shuffled(keys, seed), values)
        store.settle()
        asked = data.shuffled(prefixes, seed)[: len(prefixes) // 5]
        took = _calls_us(store.scan, asked, len(asked) * BATCH_COUNT)
        if store.scan(prefixes[0]) != BATCH_COUNT:
            raise RuntimeError(f"a scan of {subject.name} does not find all")
        yield sample("scan of a prefix, an entry", subject, took)
    store.close()


def _misses_us(store: Store, keys: Sequence[bytes]) -> float:
    get = store.get
    began = perf_counter()
    for key in keys:
        get(key)
    return (perf_counter() - began) / len(keys) * 1e6


def _calls_us(
    call: Callable[[Any], object], arguments: Sequence[Any], count: int
) -> float:
    began = perf_counter()
    for argument in arguments:
        call(argument)
    return (perf_counter() - began) / count * 1e6


def _steps(plan: Plan, seed: int) -> list[Step]:
    unsynced = present(*UNSYNCED)
    limited = [each for each in present(Durability.RAM) if each.limited]
    return [
        *steps_of(unsynced, _small, plan, seed),
        *steps_of(unsynced, _large, plan, seed),
        *steps_of(unsynced, _batches, plan, seed),
        *steps_of(limited, _full, plan, seed),
    ]


def _scan_steps(plan: Plan, seed: int) -> list[Step]:
    return steps_of(present(*UNSYNCED), _scans, plan, seed)


SINGLE = Work("single", _steps, many)
SCAN = Work("scan", _scan_steps, many)

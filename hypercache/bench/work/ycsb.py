"""The core workloads of YCSB (Cooper et al., SoCC 2010) without E, which scans."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from time import perf_counter

from hypercache.bench import data
from hypercache.bench.plan import Plan
from hypercache.bench.results import Sample
from hypercache.bench.steps import Step, Work, few, sample, steps_of
from hypercache.bench.stores import Durability, Store, Subject
from hypercache.bench.subjects import present
from hypercache.bench.work.single import set_all

# Name, share of reads, and what the rest does. In this order, as YCSB advises.
MIXES = (
    ("A", 0.50, "update"),
    ("B", 0.95, "update"),
    ("C", 1.00, "update"),
    ("F", 0.50, "read-modify-write"),
    ("D", 0.95, "insert"),
)


def _all(plan: Plan, seed: int, subject: Subject, path: Path) -> Iterator[Sample]:
    count, asked = plan.ycsb_keys, plan.ycsb_operations
    keys, values = data.keys(count + asked, seed), data.values(count, seed)
    law = data.zipf(count)
    with closing(subject.open(path, count + asked)) as store:
        yield sample("YCSB load", subject, set_all(store, keys[:count], values))
        for number, (name, reads, rest) in enumerate(MIXES):
            ranks = law.draw(asked, seed + number)
            rng = random.Random(seed + number)
            is_read = [rng.random() < reads for _ in range(asked)]
            if rest == "insert":
                chosen = _latest(keys, count, ranks, is_read)
            else:
                chosen = [keys[rank] for rank in ranks]
            took = _run(store, chosen, is_read, values, modify=rest.startswith("read"))
            yield sample(f"YCSB {name}", subject, took)


def _latest(
    keys: list[bytes], count: int, ranks: list[int], is_read: list[bool]
) -> list[bytes]:
    """Return what is read or inserted if the newest keys are read most often."""
    chosen = []
    for rank, reads in zip(ranks, is_read, strict=True):
        chosen.append(keys[count - 1 - rank] if reads else keys[count])
        count += not reads
    return chosen


def _run(
    store: Store,
    keys: list[bytes],
    is_read: list[bool],
    values: list[bytes],
    *,
    modify: bool,
) -> float:
    get = store.get
    write = _modifier(store) if modify else store.set
    work = zip(keys, is_read, values, strict=False)  # there are more values
    began = perf_counter()
    for key, reads, value in work:
        if not reads:
            write(key, value)
        elif get(key) is None:
            raise RuntimeError(f"a key that was set is missing: {key!r}")
    return (perf_counter() - began) / len(keys) * 1e6


def _modifier(store: Store) -> Callable[[bytes, bytes], object]:
    get, put = store.get, store.set

    def modify(key: bytes, value: bytes) -> None:
        get(key)
        put(key, value)

    return modify


def _steps(plan: Plan, seed: int) -> list[Step]:
    return steps_of(present(Durability.SYSTEM, bulk=True), _all, plan, seed)


YCSB = Work("ycsb", _steps, few)

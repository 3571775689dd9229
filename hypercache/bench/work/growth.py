"""Growth: what one operation takes in stores of 10 thousand to 10 million keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from hypercache.bench import data
from hypercache.bench.plan import Plan
from hypercache.bench.results import Sample
from hypercache.bench.steps import Step, Work, once, sample, steps_of
from hypercache.bench.stores import Durability, Subject
from hypercache.bench.subjects import present
from hypercache.bench.work.single import get_all, set_all

STEP_COUNT = 100_000  # so many keys are made at a time


def _grow(plan: Plan, seed: int, subject: Subject, path: Path) -> Iterator[Sample]:
    asked = plan.growth_operations
    stream = data.stream(max(plan.growth) + len(plan.growth) * asked, seed)
    values = data.values(max(STEP_COUNT, asked), seed)
    present_keys: list[bytes] = []
    count = 0
    with closing(subject.open(path, 2 * max(plan.growth))) as store:
        for size in plan.growth:
            while count < size:
                part = list(islice(stream, min(STEP_COUNT, size - count)))
                set_all(store, part, values[: len(part)])
                count += len(part)
                present_keys += part[:: max(1, size // asked)]
            chosen = data.shuffled(present_keys, seed)[:asked]
            yield sample(f"get among {size:,}", subject, get_all(store, chosen))
            fresh = list(islice(stream, asked))
            took = set_all(store, fresh, values[:asked])
            yield sample(f"set into {size:,}", subject, took)


def _steps(plan: Plan, seed: int) -> list[Step]:
    return steps_of(present(Durability.SYSTEM, bulk=True), _grow, plan, seed)


GROWTH = Work("growth", _steps, once)

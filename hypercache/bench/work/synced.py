"""Writes that are on the medium when they return: one thread, many, many tasks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import perf_counter

from hypercache.async_cache import AsyncCache
from hypercache.bench import data, ours
from hypercache.bench.plan import Plan
from hypercache.bench.results import Sample
from hypercache.bench.steps import Step, Work, many, sample, steps_of
from hypercache.bench.stores import Durability, Subject
from hypercache.bench.subjects import FLOOR, OURS, present
from hypercache.bench.work.single import set_all

THREAD_COUNT = 16
TASK_COUNT = 64


def _alone(plan: Plan, seed: int, subject: Subject, path: Path) -> Iterator[Sample]:
    keys, values = data.keys(plan.writes, seed), data.values(plan.writes, seed)
    with closing(subject.open(path, plan.writes)) as store:
        took = set_all(store, keys, values)
    yield sample("synced set, 1 thread", subject, took)


def _threads(plan: Plan, seed: int, subject: Subject, path: Path) -> Iterator[Sample]:
    count = plan.writes * 4
    keys, values = data.keys(count, seed), data.values(count, seed)
    with closing(subject.open(path, count)) as store:
        start = threading.Barrier(THREAD_COUNT + 1)

        def write(first: int) -> None:
            part = slice(first, None, THREAD_COUNT)
            start.wait()
            set_all(store, keys[part], values[part])

        threads = [
            threading.Thread(target=write, args=(n,)) for n in range(THREAD_COUNT)
        ]
        for thread in threads:
            thread.start()
        start.wait()
        began = perf_counter()
        for thread in threads:
            thread.join()
        took = (perf_counter() - began) / count * 1e6
    yield sample("synced set, 16 threads", subject, took)


def _tasks(plan: Plan, seed: int, subject: Subject, path: Path) -> Iterator[Sample]:
    count = plan.writes * 8
    keys, values = data.keys(count, seed), data.values(count, seed)
    engine = subject.name.partition(",")[0]

    async def write(cache: AsyncCache, first: int) -> None:
        for number in range(first, count, TASK_COUNT):
            await cache.set(keys[number], values[number])

    async def run() -> float:
        with ours.open_cache(path / "tasks", engine=engine, sync="always") as cache:
            async with AsyncCache.over(cache) as shared:
                began = perf_counter()
                await asyncio.gather(*(write(shared, n) for n in range(TASK_COUNT)))
                return perf_counter() - began

    took = asyncio.run(run()) / count * 1e6
    yield sample("synced set, 64 asyncio tasks", subject, took)


def _steps(plan: Plan, seed: int) -> list[Step]:
    subjects = present(Durability.SYNCED)
    own = [each for each in subjects if each.name in OURS]
    return [
        *steps_of([FLOOR, *subjects], _alone, plan, seed),
        *steps_of(subjects, _threads, plan, seed),
        *steps_of(own, _tasks, plan, seed),
    ]


SYNCED = Work("synced", _steps, many)

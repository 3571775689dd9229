"""Opening: after a clean close, after kill -9, and from a compacted log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import perf_counter

from hypercache.bench import child, data, ours
from hypercache.bench.plan import Plan
from hypercache.bench.redis_server import RedisServer, write_log
from hypercache.bench.results import Sample
from hypercache.bench.steps import Step, Work, few, sample, steps_of
from hypercache.bench.stores import Durability, Subject
from hypercache.bench.subjects import present
from hypercache.bench.work.single import set_all


def _after_close(
    plan: Plan, seed: int, subject: Subject, path: Path
) -> Iterator[Sample]:
    count = plan.open_keys
    with closing(subject.open(path, count)) as store:
        keys = data.keys(count, seed)
        set_all(store, keys, data.values(count, seed))
    took = _open_s(subject, path, count, keys[0])
    yield sample("open after a clean close", subject, took, "s")


def _after_kill(
    plan: Plan, seed: int, subject: Subject, path: Path
) -> Iterator[Sample]:
    count = plan.open_keys
    child.fill_and_be_killed(subject.name, path, count, seed)
    took = _open_s(subject, path, count, data.keys(1, seed)[0])
    yield sample("open after kill -9", subject, took, "s")


def _open_s(subject: Subject, path: Path, count: int, key: bytes) -> float:
    """Return the seconds until the first answer."""
    began = perf_counter()
    store = subject.open(path, count)
    found = store.get(key)
    took = perf_counter() - began
    store.close()
    if found is None:
        raise RuntimeError(f"{subject.name} has lost a key: {key!r}")
    return took


def _ours_compacted(
    plan: Plan, seed: int, subject: Subject, path: Path
) -> Iterator[Sample]:
    count = plan.open_keys
    with ours.open_cache(path / "memory", engine="memory") as cache:
        keys, values = data.keys(count, seed), data.values(count, seed)
        for key, value in zip(keys, values, strict=True):
            cache.set(key, value)
        cache.compact()
    took = _open_s(subject, path, count, keys[0])
    yield sample("load of a compacted log", subject, took, "s")


def _redis_compacted(
    plan: Plan, seed: int, subject: Subject, path: Path
) -> Iterator[Sample]:
    keys, values = data.keys(plan.open_keys, seed), data.values(plan.open_keys, seed)
    write_log(path / "redis", dict(zip(keys, values, strict=True)))
    with closing(RedisServer(path / "redis")) as server:
        server.rewrite()
    with closing(RedisServer(path / "redis")) as server:
        took = server.load_s
    if took is None:
        raise RuntimeError("redis-server does not say how long its load took")
    yield sample("load of a compacted log", subject, took, "s")


def _steps(plan: Plan, seed: int) -> list[Step]:
    files = present(Durability.SYSTEM, bulk=True)
    logs = [each for each in files if each.name == "memory with log"]
    servers = [each for each in present(Durability.SYSTEM) if each.name == "redis"]
    return [
        *steps_of(files, _after_close, plan, seed),
        *steps_of(files, _after_kill, plan, seed),
        *steps_of(logs, _ours_compacted, plan, seed),
        *steps_of(servers, _redis_compacted, plan, seed),
    ]


OPEN = Work("open", _steps, few)

"""What the crash explorer lets a cache do: evict, tag and invalidate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from hypercache import Cache
from hypercache.engines.base import (
    CheckReport,
    EngineStats,
    Entry,
    KeyOp,
    Put,
    StorageEngine,
)
from hypercache.testing.simulated_disk import SimDisk
from tests.crash import workloads
from tests.crash.workloads import STEPWISE, Workload, some_batch, some_bytes, some_key
from tests.support.crash_runs import Run
from tests.support.crashstore import open_engine
from tests.support.engines import cache_over

LIMITED = {"max_items": 5, "max_bytes": 900, "eviction": "lru"}


def evictions(run: Run) -> None:
    """Exceed the limits with each write: it and what must go are one batch.

    A twin on a disk of its own is asked first what that batch is.
    """
    twin = _Twin(run)
    for number in range(50):
        twin.write(Put(some_key(run, 12), some_bytes(run, 250)))
        if number % 3 == 1:
            twin.write(*some_batch(run, 60))
        if number % 16 == 11:
            run.maintain()
        if number % 20 == 17:
            twin.reopen()
    assert twin.evicted_count > 20


class _Twin:
    def __init__(self, run: Run) -> None:
        self.run, self.disk, self.evicted_count = run, SimDisk(), 0
        self._open()

    def write(self, *batch: KeyOp) -> None:
        run, before = self.run, dict(self.engine.scan())
        lsn = self.engine.apply(batch)
        after = dict(self.engine.scan())
        self.evicted_count += len(before.keys() - after.keys())
        run.note(lsn, after)
        run._write(lsn, lambda: run.engine.apply(batch))

    def reopen(self) -> None:
        """Both begin with the order in which they find what is there."""
        self.engine.close()
        self._open()
        # What does not fit any more is evicted by the open.
        self.run.note(self.engine._log.appended_lsn(), dict(self.engine.scan()))
        self.run.reopen()

    def _open(self) -> None:
        run = self.run
        self.engine = open_engine(self.disk, run.name, run.clock, **run.changes)


def tags(run: Run) -> None:
    """Tag, invalidate, and both in one batch; what is shown is always known."""
    shown: dict[bytes, tuple[str, int]] = {}
    cache = _cache_of(run)
    for number in range(40):
        key, tag = some_key(run), "ab"[run.rng.randrange(2)]
        if number % 5 == 3:
            cache.invalidate(tag)
            shown = _without(shown, tag)
        elif number % 5 == 4:
            with cache.transaction():
                cache.invalidate(tag)
                cache.set(key, number, tags=(tag,))
            shown = {**_without(shown, tag), key: (tag, number)}
        else:
            cache.set(key, number, tags=(tag,))
            shown[key] = (tag, number)
        expected = {key: number for key, (_, number) in shown.items()}
        assert dict(cache.scan()) == expected
        if number % 15 == 11:
            run.maintain()
        if number % 17 == 13:
            run.reopen()
            cache = _cache_of(run)
            assert dict(cache.scan()) == expected


def _without(shown: dict[bytes, tuple[str, int]], tag: str) -> Any:
    return {key: pair for key, pair in shown.items() if pair[0] != tag}


def _cache_of(run: Run) -> Cache:
    return cache_over(_Noted(run), maintenance="inline")


class _Noted(StorageEngine):
    """Let a run know what a cache writes, before it is written."""

    def __init__(self, run: Run) -> None:
        self._run, self._engine = run, run.engine

    def apply(self, ops: Sequence[KeyOp]) -> int:
        if ops:
            self._run.apply(*ops)
        return self._run.last

    def clear(self) -> int:
        self._run.clear()
        return self._run.last

    def sync(self) -> int:
        self._run.sync()
        return self._run.last

    def get_entry(self, key: bytes) -> Entry | None:
        return self._engine.get_entry(key)

    def scan(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        *,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, Entry]]:
        return self._engine.scan(start, stop, reverse=reverse)

    def exclusive(self) -> AbstractContextManager[None]:
        return self._engine.exclusive()

    def now_ms(self) -> float:
        return self._engine.now_ms()

    def check(self) -> CheckReport:
        return self._engine.check()

    def stats(self) -> EngineStats:
        return self._engine.stats()

    def close(self) -> None:
        """Leave that to the run."""


WORKLOADS = {
    **workloads.WORKLOADS,
    "evictions": Workload(evictions, changes=LIMITED),
    "evictions_unsynced": Workload(
        evictions, changes={**STEPWISE, **LIMITED, "sync": "no"}
    ),
    "tags": Workload(tags),
    "tags_unsynced": Workload(tags, changes={**STEPWISE, "sync": "no"}),
}

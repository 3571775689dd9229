"""Writers that wait together share one sync, and the event loop waits for none."""

import asyncio
import threading

import pytest

from hypercache import AsyncCache, Cache
from hypercache.engines import DurableMemoryEngine, HybridEngine
from hypercache.errors import (
    CacheFullError,
    LimitError,
    StorageError,
    StorageFailedError,
)
from hypercache.options import Options
from hypercache.testing.killing import run_killed
from tests.support.awaited import run, turns
from tests.support.engines import cache_over, durable_engines
from tests.support.processes import Threads
from tests.support.recording import Event, Watch, WatchedStorage

WAIT_S = 20
ENGINES = {"hybrid": HybridEngine, "memory": DurableMemoryEngine}


class Disk(Watch):
    """Holds up every sync that begins while `held` is set, or fails it."""

    def __init__(self):
        super().__init__()
        self.begun, self.released = threading.Event(), threading.Event()
        self.released.set()
        self.failures = []  # None for a sync that succeeds
        self.before = self.hold_up

    def hold_up(self, event):
        if event.what == "sync":
            self.begun.set()
            assert self.released.wait(WAIT_S), "the loop was blocked"
            failure = self.failures.pop(0) if self.failures else None
            if failure is not None:
                raise failure

    def hold(self):
        self.begun.clear()
        self.released.clear()

    def sync_count(self):
        return sum(event.what == "sync" for event in self.events)


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture(params=sorted(ENGINES))
def cache(request, opened, tmp_path, disk):
    """A cache that syncs every write, on a disk that can be held up."""
    options = Options.resolve(sync="always", log_io="write", maintenance="inline")
    storage = WatchedStorage(disk)
    engine = ENGINES[request.param](str(tmp_path / "store"), options, storage=storage)
    return opened.add(cache_over(engine))


@pytest.fixture
def shared(cache):
    yield (found := AsyncCache.over(cache))
    run(found.close())


async def until(event):
    """Return when another thread has set an event, and run this loop meanwhile."""
    assert await asyncio.to_thread(event.wait, WAIT_S)


async def noted(disk, call):
    answer = await call
    disk.note(Event("told", ""))
    return answer


async def start_all(calls):
    tasks = [asyncio.ensure_future(call) for call in calls]
    await turns()
    return tasks


CALLS = {
    "set": lambda cache, n: cache.set(f"{n}", n),
    "set_many": lambda cache, n: cache.set_many({f"{n}": n, "last": n}),
    "incr": lambda cache, n: cache.incr("n"),
    "delete_many": lambda cache, n: cache.delete_many([f"{n}", "old"]),
    "tagged": lambda cache, n: cache.set(f"{n}", n, tags=("t",)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_all_who_wait_while_one_syncs_share_the_next_sync(shared, disk, call):
    async def main():
        await shared.set_many({f"{n}": n for n in range(64)})
        disk.hold()
        first = await start_all([shared.set("first", 0)])
        await until(disk.begun)
        others = await start_all(noted(disk, call(shared, n)) for n in range(64))
        before = disk.sync_count()
        disk.released.set()
        await asyncio.gather(*first, *others)
        assert disk.sync_count() - before == 1
        last = [event.what for event in disk.events[-65:]]
        assert last == ["sync done"] + ["told"] * 64

    run(main())


def test_a_persistent_store_commits_all_who_wait_at_once(opened, tmp_path):
    cache = opened.add(Cache(tmp_path / "shared", engine="persistent"))
    commit_count = cache._engine._store.transaction_id

    async def main():
        shared = AsyncCache.over(cache)
        with Threads() as threads:
            holding, release = hold_writers(threads, cache)
            await until(holding)
            first = await start_all([shared.set("first", 0)])
            others = await start_all(shared.set(f"{n}", n) for n in range(64))
            before = commit_count()
            release.set()
            lsns = await asyncio.gather(*first, *others)
        # The first may be alone in its group: the thread took it before the others.
        assert commit_count() - before <= 2
        assert max(lsns) == cache.stats().appended_lsn
        await shared.close()

    run(main())


def hold_writers(threads, cache):
    """Begin a transaction in another thread; it ends when the second event is set."""
    holding, release = threading.Event(), threading.Event()

    def hold():
        with cache.transaction():
            holding.set()
            assert release.wait(WAIT_S), "the loop was blocked"

    threads.start(hold)
    return holding, release


def test_the_loop_runs_while_the_disk_syncs(shared, disk):
    async def main():
        await shared.set("a", 1, ttl=60)
        disk.hold()
        calls = [shared.set("a", 2), shared.incr("n"), shared.delete("a")]
        writes = await start_all(calls)
        await until(disk.begun)
        assert await shared.get("a") == 1
        assert await shared.contains("a")
        assert await shared.ttl("a") > 0
        assert not any(write.done() for write in writes)
        disk.released.set()
        await asyncio.gather(*writes)
        assert not await shared.contains("a")

    run(main())


def test_the_loop_runs_while_another_thread_keeps_all_writers_waiting(open_cache):
    cache = open_cache()

    async def main():
        shared = AsyncCache.over(cache)
        await shared.set("a", 1)
        with Threads() as threads:
            holding, release = hold_writers(threads, cache)
            await until(holding)
            waiting = await start_all(
                [
                    shared.set("a", 2),
                    shared.get_many(["a"]),
                    shared.checkpoint(),
                    shared.stats(),
                ]
            )
            assert await shared.get("a") == 1
            assert await shared.contains("a")
            assert await shared.ttl("a") is None
            assert not waiting[0].done()
            release.set()
            await asyncio.gather(*waiting)
        assert await shared.get("a") == 2
        await shared.close()

    run(main())


def test_a_writer_that_is_cancelled_disturbs_nobody(shared, disk, cache):
    async def main():
        disk.hold()
        under_way = await start_all([shared.set("under way", 1)])
        await until(disk.begun)
        queued = await start_all(shared.set(f"{n}", n) for n in range(10))
        for task in (*under_way, queued[3], queued[7]):
            task.cancel()
        await turns()
        disk.released.set()
        answers = await asyncio.gather(*under_way, *queued, return_exceptions=True)
        cancelled = [isinstance(each, asyncio.CancelledError) for each in answers]
        assert [n for n, gone in enumerate(cancelled) if gone] == [0, 4, 8]

    run(main())
    # What had begun stands; what was only queued was not begun.
    assert cache["under way"] == 1
    assert [n for n in range(10) if f"{n}" not in cache] == [3, 7]


@pytest.mark.parametrize("as_one_batch", [False, True])
def test_a_sync_that_fails_is_told_to_all_who_waited_for_it(shared, disk, as_one_batch):
    async def main():
        await shared.set("a", 1)
        disk.hold()
        disk.failures = [None, StorageError("the cable is loose")]
        first = await start_all([shared.set("a", 2)])
        await until(disk.begun)
        second = shared.delete_many(["a"]) if as_one_batch else shared.delete("a")
        others = await start_all([shared.set("b", 2), shared.set("", 2), second])
        disk.released.set()
        answers = await asyncio.gather(*first, *others, return_exceptions=True)
        assert isinstance(answers[0], int)
        assert [type(each) for each in answers[1:]] == [
            StorageFailedError,
            LimitError,  # which it would have been anyway
            StorageFailedError,
        ]
        assert await shared.get("a") == 2
        with pytest.raises(StorageFailedError):
            await shared.set("c", 3)

    run(main())


def test_a_transaction_does_not_wait_in_a_group_with_those_before_it(shared, disk):
    async def main():
        async def block():
            async with shared.transaction() as inside:
                await before  # in one group, each would wait for the other
                await inside.set("inside", 1)

        disk.hold()
        first = await start_all([shared.set("first", 1)])
        await until(disk.begun)
        [before] = await start_all([shared.set("before", 1)])
        others = await start_all([block(), shared.set("behind", 1)])
        disk.released.set()
        await asyncio.gather(*first, *others)
        assert await shared.count() == 4

    run(main())


@durable_engines
@pytest.mark.parametrize("as_one_batch", [False, True])
def test_of_a_group_too_large_for_the_limits_each_call_has_its_own_answer(
    engine_case, open_cache, as_one_batch
):
    cache = open_cache(max_items=3, eviction="none")

    async def main():
        shared = AsyncCache.over(cache)
        with Threads() as threads:
            holding, release = hold_writers(threads, cache)
            await until(holding)
            calls = [shared.set(f"{n}", n) for n in range(6)]
            if as_one_batch:
                calls.append(shared.delete_many(["x"]))
            waiting = await start_all(calls)
            release.set()
            answers = await asyncio.gather(*waiting, return_exceptions=True)
        await shared.close()
        return answers[:6]

    answers = run(main())
    assert [isinstance(each, CacheFullError) for each in answers] == [False] * 3 + [
        True
    ] * 3
    assert dict(cache.scan()) == {b"0": 0, b"1": 1, b"2": 2}


@pytest.mark.parametrize("engine", ["hybrid", "memory", "persistent"])
def test_a_kill_loses_nothing_that_an_awaiting_task_was_told_of(tmp_path, engine):
    path = tmp_path / "store"

    def work(note):
        async def write(cache, task):
            for number in range(1000):
                await cache.set(f"{task}", number)
                note((f"{task}", number))

        async def main():
            async with AsyncCache(path, engine=engine, sync="always") as cache:
                await asyncio.gather(*(write(cache, task) for task in range(8)))

        asyncio.run(main())

    noted = dict(run_killed(work, after_notes=100))
    with Cache(path, engine=engine) as cache:
        assert len(noted) == 8
        for key, number in noted.items():
            assert number <= cache[key] <= number + 1

"""AsyncCache answers as Cache does, and keeps each caller's answer its own."""

import asyncio
import contextlib
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypercache import AsyncCache, Cache
from hypercache.errors import (
    ArgumentTypeError,
    ClosedError,
    ConfigError,
    ForkedStoreError,
    LimitError,
    ReadOnlyError,
    SerializationError,
    StoreLockedError,
    WaitTimeoutError,
)
from hypercache.write_queue import Call
from tests.support.awaited import run, turns
from tests.support.engines import durable_engines, kinds_of_engine, volatile_engines
from tests.support.processes import Threads, in_fork, run_python

GIVE_LSN = {"set", "set_many", "invalidate"}
few = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)

keys = st.sampled_from(["a", "b", b"c", "\u00fc", "d" * 300])
numbers = st.integers(-3, 3)
some_keys = st.lists(keys, max_size=4)
tags = st.sampled_from([(), (), ("t",), ("t", "u")])


def operation(name, *arguments, **options):
    return st.tuples(
        st.just(name), st.tuples(*arguments), st.fixed_dictionaries(options)
    )


writes = st.one_of(
    operation("set", keys, numbers, tags=tags),
    operation("set", keys, numbers, st.just(60)),
    operation("set_many", st.dictionaries(keys, numbers, max_size=3), tags=tags),
    operation("add", keys, numbers, tags=tags),
    operation("replace", keys, numbers, tags=tags),
    operation("cas", keys, numbers, numbers),
    operation("incr", keys, numbers),
    operation("decr", keys, numbers),
    operation("delete", keys),
    operation("delete_many", some_keys),
    operation("pop", keys),
    operation("touch", keys, st.just(60)),
    operation("get", keys, refresh_ttl=st.just(60)),
    operation("invalidate", st.sampled_from(["t", "u"])),
    operation("clear"),
    # What is refused, each for another reason.
    operation("set", st.just(7), numbers),
    operation("set", keys, st.just(object())),
    operation("set", keys, numbers, st.just(-1)),
    operation("incr", keys, st.just("one")),
    operation("set_many", st.just({"a": 1, "": 2})),
)
reads = st.one_of(
    operation("get", keys, st.just("absent")),
    operation("get_many", some_keys),
    operation("get", st.just(1.5)),
)


def answer_of(cache, name, arguments, options):
    try:
        return getattr(cache, name)(*arguments, **options)
    except (ArgumentTypeError, LimitError) as error:
        return type(error), str(error)


async def awaited_answer(cache, name, arguments, options):
    try:
        return await getattr(cache, name)(*arguments, **options)
    except (ArgumentTypeError, LimitError) as error:
        return type(error), str(error)


@pytest.fixture
def path(store_path):
    return store_path.with_name("awaited")


@pytest.fixture
def awaited(engine_case, path):
    """A cache of the engine, not open yet; the test closes it."""
    return AsyncCache(**engine_case.arguments(path))


@pytest.fixture
def shared(cache):
    """The awaited form of a cache that is open already."""
    return AsyncCache.over(cache)


async def everything(cache):
    return {key: value async for key, value in cache.scan()}


# The same answers


def test_one_call_after_the_other_answers_as_a_cache_does(cache, awaited):
    @few
    @given(st.lists(writes | reads, max_size=12))
    def check(operations):
        async def answers():
            await awaited.clear()
            found = [await awaited_answer(awaited, *each) for each in operations]
            return found, await everything(awaited), await awaited.count()

        cache.clear()
        expected = [answer_of(cache, *each) for each in operations]
        assert run(answers()) == (expected, dict(cache.scan()), len(cache))

    try:
        check()
    finally:
        run(awaited.close())


def test_calls_that_wait_together_answer_as_if_one_came_after_the_other(cache, awaited):
    def known(operations, answers):
        # An LSN of a group is that of its last write, where they are one batch.
        return [
            "an LSN" if name in GIVE_LSN and isinstance(answer, int) else answer
            for (name, *_), answer in zip(operations, answers, strict=True)
        ]

    @few
    @given(st.lists(writes, max_size=12))
    def check(operations):
        async def answers():
            await awaited.clear()
            found = await asyncio.gather(
                *(awaited_answer(awaited, *each) for each in operations)
            )
            for (name, *_), answer in zip(operations, found, strict=True):
                if name in GIVE_LSN and isinstance(answer, int):
                    await awaited.wait_durable(answer, 5)
            return known(operations, found), await everything(awaited)

        cache.clear()
        expected = [answer_of(cache, *each) for each in operations]
        assert run(answers()) == (known(operations, expected), dict(cache.scan()))

    try:
        check()
    finally:
        run(awaited.close())


@kinds_of_engine
def test_contains_ttl_count_and_keys_stand_for_the_operators(awaited):
    async def main():
        async with awaited as cache:
            await cache.set("b", 2, ttl=60)
            await cache.set("a", 1)
            assert await cache.contains("a")
            assert not await cache.contains("c")
            assert await cache.ttl("a") is None
            assert await cache.ttl("b") == pytest.approx(60, abs=5)
            assert await cache.count() == 2
            found = cache.keys()
            assert [key async for key in found] == [b"a", b"b"]

    run(main())


@kinds_of_engine
def test_a_scan_goes_through_more_entries_than_one_step_takes(awaited):
    async def main():
        async with awaited as cache:
            await cache.set_many({f"{number:04}": number for number in range(700)})
            found = [number async for _, number in cache.scan()]
            assert found == list(range(700))
            last = [key async for key, _ in cache.scan("06", reverse=True, limit=2)]
            assert last == [b"0699", b"0698"]
            abandoned = cache.scan()
            await anext(abandoned)
            await cache.clear()
            with pytest.raises(LimitError):
                await anext(cache.scan(limit=-1))

    run(main())


@kinds_of_engine
def test_get_or_set_awaits_what_the_factory_returns_if_it_can(awaited):
    async def factory():
        return 2

    async def main():
        async with awaited as cache:
            assert await cache.get_or_set("a", lambda: 1) == 1
            assert await cache.get_or_set("a", lambda: 2) == 1
            assert await cache.get_or_set("b", factory) == 2
            assert await cache.get("b") == 2

    run(main())


@kinds_of_engine
def test_maintenance_is_awaited(awaited, tmp_path, engine_case, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)  # no helper processes

    async def main():
        async with awaited as cache:
            lsn = await cache.set("a", 1)
            assert await cache.sync() == lsn
            await cache.wait_durable(lsn)
            assert await cache.checkpoint() >= lsn
            assert await cache.compact() >= lsn
            assert await cache.refresh() == lsn
            assert await cache.expire() == 0
            assert (await cache.check()).entry_count == 1
            assert (await cache.stats()).appended_lsn == lsn
            if engine_case.has_backup:
                await cache.backup(tmp_path / "copy")

    run(main())
    if engine_case.has_backup:
        with Cache(tmp_path / "copy", engine=engine_case.name.split("-")[0]) as copy:
            assert dict(copy.scan()) == {b"a": 1}


# Opening and closing


@kinds_of_engine
def test_it_is_opened_once_by_whoever_comes_first(awaited):
    async def main():
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(awaited.incr("n"))
                group.create_task(awaited.get(f"{number}"))
        assert await awaited.get("n") == 10
        await awaited.close()

    run(main())


def test_a_path_means_what_it_meant_when_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    awaited = AsyncCache("store")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run(awaited.set("a", 1))
    run(awaited.close())
    assert (tmp_path / "store").is_dir()


@durable_engines
def test_what_was_written_is_there_at_the_next_open(engine_case, path):
    async def main():
        cache = await AsyncCache.open(**engine_case.arguments(path))
        await cache.set("a", 1)
        await cache.close()
        async with AsyncCache(**engine_case.arguments(path)) as again:
            assert await again.get("a") == 1

    run(main())


@kinds_of_engine
def test_an_open_that_failed_can_be_tried_again(engine_case, path):
    async def main():
        with pytest.raises(ConfigError):
            await AsyncCache.open(**engine_case.arguments(path, sink="always"))
        late = AsyncCache(**engine_case.arguments(path))
        if engine_case.durable and engine_case.name != "persistent":
            async with AsyncCache(**engine_case.arguments(path)):
                with pytest.raises(StoreLockedError):
                    await late.set("a", 1)
        await late.set("a", 1)
        await late.close()

    run(main())


@kinds_of_engine
def test_close_waits_for_the_writes_that_are_queued(awaited, engine_case, path):
    async def main():
        cache = await awaited.__aenter__()
        writes = [asyncio.ensure_future(cache.set(f"{n}", n)) for n in range(50)]
        await turns(1)
        await cache.close()
        await asyncio.gather(*writes)
        if engine_case.durable:
            async with AsyncCache(**engine_case.arguments(path)) as again:
                assert await again.count() == 50

    run(main())


@kinds_of_engine
def test_close_waits_for_an_open_that_is_under_way(awaited, engine_case, path):
    async def main():
        first = asyncio.ensure_future(awaited.get("a"))
        await turns(1)
        await awaited.close()
        await asyncio.gather(first, return_exceptions=True)
        async with AsyncCache(**engine_case.arguments(path)) as again:
            assert await again.count() == 0

    run(main())


@kinds_of_engine
def test_after_close_every_call_is_refused(awaited):
    async def main():
        async with awaited as cache:
            await cache.set("a", 1)
            found = cache.scan()
        for call in (
            cache.get("a"),
            cache.contains("a"),
            cache.set("a", 1),
            cache.incr("a"),
            cache.get_many(["a"]),
            cache.count(),
            cache.sync(),
            cache.stats(),
            cache.transaction().__aenter__(),
            cache.refresh(),
            anext(found),
        ):
            with pytest.raises(ClosedError):
                await call
        await cache.close()

    run(main())


@kinds_of_engine
def test_a_cache_that_was_never_opened_can_be_closed(awaited, path):
    run(awaited.close())
    assert not path.exists()
    with pytest.raises(ClosedError):
        run(awaited.get("a"))


@kinds_of_engine
def test_closing_what_is_over_a_cache_leaves_the_cache_open(cache, shared):
    async def main():
        await shared.set("a", 1)
        await shared.close()
        with pytest.raises(ClosedError):
            await shared.get("a")

    run(main())
    assert cache["a"] == 1


@kinds_of_engine
def test_no_thread_is_left_after_close(awaited):
    before = set(threading.enumerate())

    async def main():
        async with awaited as cache:
            await cache.set("a", 1)
            await asyncio.gather(*(cache.get_many(["a"]) for _ in range(10)))
            async with cache.transaction() as inside:
                await inside.set("b", 2)

    run(main())
    assert set(threading.enumerate()) <= before


@durable_engines
def test_one_that_is_forgotten_is_closed_and_leaves_no_thread(engine_case, path):
    before = set(threading.enumerate())

    async def main():
        cache = await AsyncCache.open(**engine_case.arguments(path))
        await cache.set("a", 1)
        await cache.count()

    run(main())
    while left := set(threading.enumerate()) - before:
        with contextlib.suppress(RuntimeError):  # it is just being started by another
            left.pop().join()
    with Cache(**engine_case.arguments(path)) as again:
        assert again["a"] == 1


@durable_engines
def test_in_a_forked_child_calls_are_refused_and_none_waits_for_a_thread(cache, shared):
    async def main():
        await shared.set("a", 1)
        await shared.get_many(["a"])

    async def in_child():
        refused = []
        for call in (shared.set("a", 2), shared.get_many(["a"]), shared.get("a")):
            try:
                await call
            except ForkedStoreError:
                refused.append(1)
        return len(refused)

    run(main())
    assert in_fork(lambda: run(in_child())) == 3
    run(shared.close())


def test_the_interpreter_ends_inside_a_transaction_that_nobody_ends(tmp_path):
    code = """
        import asyncio, sys
        from hypercache import AsyncCache, async_transaction

        async_transaction.IDLE_S = 0.01

        async def begin(cache):
            await cache.set("a", 1)
            inside = cache.transaction()
            await inside.__aenter__()
            await inside.set("a", 2)
            return inside

        loop = asyncio.new_event_loop()
        cache = AsyncCache(sys.argv[1])
        inside = loop.run_until_complete(begin(cache))
        print("begun")
    """
    assert run_python(code, tmp_path / "store") == "begun\n"

    async def main():
        async with AsyncCache(tmp_path / "store") as cache:
            assert await cache.get("a") == 1

    run(main())


# Several loops


@kinds_of_engine
def test_loops_of_several_threads_share_a_cache(awaited):
    async def write(number):
        for _ in range(8):
            await asyncio.gather(*(awaited.incr(f"{n}") for n in range(5)))
            await awaited.set(f"own {number}", number)

    run(awaited.set("begun", True))
    with Threads() as threads:
        for number in range(3):
            threads.start(lambda number=number: run(write(number)))

    async def main():
        assert [await awaited.get(f"{n}") for n in range(5)] == [24] * 5
        assert [await awaited.get(f"own {n}") for n in range(3)] == [0, 1, 2]
        await awaited.close()

    run(main())


@kinds_of_engine
def test_a_loop_that_ends_with_writes_queued_keeps_nobody_waiting(cache, shared):
    async def leave():
        await shared.set("a", 0)
        for _ in range(3):
            shared._queue.submit(Call(lambda: cache.incr("n")))

    run(leave())
    run(asyncio.wait_for(shared.set("b", 1), 10))
    run(shared.close())
    assert cache["b"] == 1
    assert cache["n"] == 3


# Errors


@kinds_of_engine
def test_a_call_that_fails_in_a_group_fails_alone(awaited):
    async def main():
        async with awaited as cache:
            answers = await asyncio.gather(
                cache.set("a", 1),
                cache.set("b", object()),
                cache.set_many({"c": 1, "": 2}),
                cache.incr("a"),
                cache.incr("a", "one"),
                cache.set("d", 4, tags=("t",)),
                return_exceptions=True,
            )
            assert [type(each) for each in answers] == [
                int,
                SerializationError,
                LimitError,
                int,
                ArgumentTypeError,
                int,
            ]
            assert await everything(cache) == {b"a": 2, b"d": 4}

    run(main())


@kinds_of_engine
def test_what_an_operand_raises_is_told_and_keeps_nobody_waiting(awaited):
    class Odd:
        def __eq__(self, other):
            raise StopIteration  # which no future can hold

        __hash__ = None

    async def main():
        async with awaited as cache:
            await cache.set("a", 1)
            answers = await asyncio.gather(
                cache.cas("a", Odd(), 2), cache.incr("a"), return_exceptions=True
            )
            assert isinstance(answers[0], RuntimeError)
            assert answers[1] == 2

    run(main())


@kinds_of_engine
def test_iterators_are_read_in_the_loop(awaited):
    def keys():
        asyncio.get_running_loop()
        yield from ("a", "b")

    async def main():
        async with awaited as cache:
            await cache.set_many({"a": 1, "b": 2})
            assert await cache.get_many(keys()) == {"a": 1, "b": 2}
            assert await cache.delete_many(keys()) == 2

    run(main())


@volatile_engines
def test_waiting_for_an_lsn_that_was_never_handed_out_is_refused(awaited):
    async def main():
        async with awaited as cache:
            with pytest.raises(LimitError):
                await cache.wait_durable(7, 1)

    run(main())


def test_a_wait_for_durability_ends_in_time(tmp_path):
    async def main():
        async with AsyncCache(tmp_path / "store", sync="no") as cache:
            lsn = await cache.set("a", 1)
            commit = cache._cache._engine._commit
            with commit._changed:
                commit.state.in_flight = True  # a sync that does not end
            with pytest.raises(WaitTimeoutError):
                await cache.wait_durable(lsn, 0.01)
            await cache.set("b", 2)
            with commit._changed:
                commit.state.in_flight = False

    run(main())


@durable_engines
def test_a_transaction_that_cannot_begin_says_why(engine_case, open_cache, store_path):
    open_cache().close()

    async def main():
        async with AsyncCache(
            **engine_case.arguments(store_path, read_only=True)
        ) as cache:
            with pytest.raises(ReadOnlyError):
                await cache.transaction().__aenter__()
            assert await cache.count() == 0

    run(main())

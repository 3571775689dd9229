"""Transactions of AsyncCache: all or nothing, and nobody's loop waits for them."""

import asyncio
import gc

import pytest

from hypercache import AsyncCache, async_transaction
from hypercache.errors import LimitError, TransactionError
from tests.support.awaited import run, turns
from tests.support.engines import kinds_of_engine
from tests.support.processes import Threads

pytestmark = kinds_of_engine


class StopError(Exception):
    pass


@pytest.fixture
def awaited(engine_case, store_path):
    return AsyncCache(**engine_case.arguments(store_path))


def on_three_keys(awaited, main):
    """Run a coroutine function on a cache that holds three keys."""

    async def with_cache():
        async with awaited as cache:
            await cache.set_many({"a": 1, "b": 2, "c": 3})
            await main(cache)

    run(with_cache())


async def contents(cache):
    return {key.decode(): value async for key, value in cache.scan()}


def test_a_transaction_is_there_when_its_block_has_ended(awaited):
    async def main(cache):
        async with cache.transaction() as inside:
            assert await inside.set("a", 10) == 0
            assert await inside.delete("b")
            assert await cache.get("a") == 1
            assert await cache.contains("b")
            assert await contents(inside) == {"a": 10, "c": 3}
        assert await contents(cache) == {"a": 10, "c": 3}

    on_three_keys(awaited, main)


def test_inside_every_call_sees_what_the_transaction_wrote(awaited):
    async def main(cache):
        async with cache.transaction() as inside:
            await asyncio.gather(*(inside.incr("a") for _ in range(5)))
            assert await inside.get("a") == 6
            assert await inside.add("d", 4, tags=("t",))
            assert await inside.contains("d")
            await inside.touch("b", 60)
            assert await inside.ttl("b") == pytest.approx(60, abs=5)
            assert await inside.get_many(["a", "d"]) == {"a": 6, "d": 4}
            assert await inside.count() == 4
            assert [key async for key in inside.scan(limit=1)] == [(b"a", 6)]
            await inside.invalidate("t")
            assert await inside.get_or_set("d", lambda: 5) == 5
            with pytest.raises(LimitError):
                await inside.set("", 1)
        assert await contents(cache) == {"a": 6, "b": 2, "c": 3, "d": 5}

    on_three_keys(awaited, main)


def test_a_transaction_that_raises_changes_nothing(awaited):
    async def clear(cache):
        async with cache.transaction() as inside:
            await inside.clear()
            raise StopError

    async def main(cache):
        with pytest.raises(StopError):
            await clear(cache)
        assert await contents(cache) == {"a": 1, "b": 2, "c": 3}

    on_three_keys(awaited, main)


def test_a_block_inside_that_fails_takes_back_only_its_own_writes(awaited):
    async def fail(inside):
        async with inside.transaction() as innermost:
            await innermost.set("b", 20)
            assert await innermost.get("a") == 10
            raise StopError

    async def main(cache):
        async with cache.transaction() as inside:
            await inside.set("a", 10)
            with pytest.raises(StopError):
                await fail(inside)
            async with inside.transaction() as innermost:
                await innermost.set("c", 30)
            assert await inside.get("b") == 2
        assert await contents(cache) == {"a": 10, "b": 2, "c": 30}

    on_three_keys(awaited, main)


def test_writes_of_others_wait_for_its_end_and_reads_do_not(awaited):
    async def main(cache):
        async def write():
            await begun.wait()
            return await cache.incr("a")

        begun = asyncio.Event()
        other = asyncio.ensure_future(write())
        async with cache.transaction() as inside:
            begun.set()
            await turns()
            await inside.set("a", 10)
            assert await cache.get("a") == 1
            assert await cache.contains("b")
            assert not other.done()
        assert await other == 11

    on_three_keys(awaited, main)


def test_a_call_on_the_cache_that_would_wait_for_its_own_transaction_is_refused(
    awaited,
):
    async def main(cache):
        async with cache.transaction() as inside, inside.transaction():
            for call in (
                cache.set("a", 2),
                cache.get_many(["a"]),
                cache.checkpoint(),
                cache.close(),
                cache.transaction().__aenter__(),
                asyncio.ensure_future(cache.incr("a")),
            ):
                with pytest.raises(TransactionError):
                    await call
        await cache.set("a", 2)

    on_three_keys(awaited, main)


def test_after_its_end_and_before_its_begin_a_transaction_is_refused(awaited):
    async def main(cache):
        early = cache.transaction()
        with pytest.raises(TransactionError):
            await early.set("a", 2)
        async with cache.transaction() as inside:
            await inside.get("a")
        for call in (inside.set("a", 2), inside.get("a"), inside.count()):
            with pytest.raises(TransactionError):
                await call
        with pytest.raises(TransactionError):
            await inside.transaction().__aenter__()
        assert await cache.get("a") == 1

    on_three_keys(awaited, main)


def test_a_block_inside_that_another_task_left_open_takes_all_back(awaited):
    async def leave_open(inside, entered, leave):
        async with inside.transaction() as innermost:
            await innermost.set("b", 20)
            entered.set()
            await leave.wait()

    async def block(cache, leave):
        entered = asyncio.Event()
        async with cache.transaction() as inside:
            await inside.set("a", 10)
            task = asyncio.ensure_future(leave_open(inside, entered, leave))
            tasks.append(task)
            await entered.wait()
            with pytest.raises(TransactionError, match="open already"):
                await inside.transaction().__aenter__()

    async def main(cache):
        leave = asyncio.Event()
        with pytest.raises(TransactionError, match="still open"):
            await block(cache, leave)
        leave.set()
        with pytest.raises(TransactionError, match="before it"):
            await tasks[0]
        assert await contents(cache) == {"a": 1, "b": 2, "c": 3}

    tasks = []
    on_three_keys(awaited, main)


def test_a_block_that_begins_while_the_one_around_it_ends_is_refused(awaited):
    async def begin(inside):
        async with inside.transaction() as innermost:
            await innermost.set("b", 20)

    async def block(cache):
        async with cache.transaction() as inside:
            await inside.set("a", 10)
            tasks.append(asyncio.ensure_future(begin(inside)))
            await turns(1)

    async def main(cache):
        with pytest.raises(TransactionError, match="still open"):
            await block(cache)
        with pytest.raises(TransactionError):
            await tasks[0]
        assert await contents(cache) == {"a": 1, "b": 2, "c": 3}

    tasks = []
    on_three_keys(awaited, main)


def test_a_task_begun_inside_may_use_the_cache_when_the_block_has_ended(awaited):
    async def write(cache, ended):
        await ended.wait()
        await cache.set("a", 10)

    async def main(cache):
        ended = asyncio.Event()
        async with cache.transaction():
            task = asyncio.ensure_future(write(cache, ended))
            await turns()
        assert async_transaction._open.get() == ()
        ended.set()
        await task
        assert await cache.get("a") == 10

    on_three_keys(awaited, main)


# Cancelled


def test_cancelling_the_block_rolls_back(awaited):
    async def main(cache):
        async def block():
            async with cache.transaction() as inside:
                await inside.set("a", 10)
                entered.set()
                await asyncio.Event().wait()

        entered = asyncio.Event()
        task = asyncio.ensure_future(block())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await cache.set("b", 20)
        assert await contents(cache) == {"a": 1, "b": 20, "c": 3}

    on_three_keys(awaited, main)


def test_cancelling_one_that_waits_to_begin_keeps_nobody_waiting(awaited):
    async def main(cache):
        async def block():
            async with cache.transaction() as inside:
                await inside.clear()

        async def start():
            await begun.wait()
            return asyncio.ensure_future(block())

        begun = asyncio.Event()
        starting = asyncio.ensure_future(start())
        async with cache.transaction():
            begun.set()
            task = await starting
            await turns()
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await cache.set("b", 20)
        assert await contents(cache) == {"a": 1, "b": 20, "c": 3}

    on_three_keys(awaited, main)


def test_a_call_that_is_cancelled_and_fails_is_no_noise(awaited):
    async def main(cache):
        async with cache.transaction() as inside:
            calls = [asyncio.ensure_future(inside.set("", n)) for n in range(10)]
            await turns(1)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            await inside.set("a", 10)
        calls.clear()
        gc.collect()
        assert noise == []
        assert await cache.get("a") == 10

    async def listening(cache):
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, told: noise.append(told))
        await main(cache)

    noise = []
    on_three_keys(awaited, listening)


def test_close_waits_for_a_transaction_of_another_task(awaited):
    async def main(cache):
        async def close():
            await begun.wait()
            await cache.close()

        begun = asyncio.Event()
        closings = [asyncio.ensure_future(close()) for _ in range(2)]
        async with cache.transaction() as inside:
            begun.set()
            await turns()
            for number in range(10):
                await inside.set("a", number)
            assert not any(closing.done() for closing in closings)
        await asyncio.gather(*closings)

    on_three_keys(awaited, main)


# Threads and loops


def test_a_transaction_is_refused_to_another_loop(awaited):
    async def main(cache):
        async with cache.transaction() as inside:
            with pytest.raises(TransactionError, match="another event loop"):
                await asyncio.to_thread(lambda: run(inside.get("a")))

    on_three_keys(awaited, main)


def test_a_transaction_may_be_idle_while_its_loop_runs(awaited, monkeypatch):
    monkeypatch.setattr(async_transaction, "IDLE_S", 0.001)

    async def main(cache):
        loop, looks = asyncio.get_running_loop(), []
        enough = asyncio.Event()

        def is_running():
            looks.append(1)
            if len(looks) == 10:
                loop.call_soon_threadsafe(enough.set)
            return True

        async with cache.transaction() as inside:
            await inside.set("a", 10)
            with monkeypatch.context() as patched:
                patched.setattr(loop, "is_running", is_running)
                await enough.wait()
            await inside.set("b", 20)
        assert await cache.get_many(["a", "b"]) == {"a": 10, "b": 20}

    on_three_keys(awaited, main)


def test_a_transaction_of_one_loop_and_writes_of_another_take_turns(awaited):
    async def add():
        for _ in range(20):
            async with awaited.transaction() as inside:
                found = await inside.get("n", 0)
                await asyncio.sleep(0)
                await inside.set("n", found + 1)

    async def count():
        for _ in range(50):
            await awaited.incr("n")

    with Threads() as threads:
        threads.start(lambda: run(add()))
        threads.start(lambda: run(count()))
    assert run(awaited.get("n")) == 70
    run(awaited.close())


def test_a_loop_that_stops_inside_a_transaction_keeps_nobody_waiting(
    awaited, monkeypatch
):
    monkeypatch.setattr(async_transaction, "IDLE_S", 0.01)

    async def begin():
        inside = awaited.transaction()
        await inside.__aenter__()
        await inside.set("a", 10)
        return inside

    async def main():
        await awaited.set("b", 1)
        assert await contents(awaited) == {"b": 1}

    with asyncio.Runner() as runner:
        left = runner.run(begin())
        run(main())
        with pytest.raises(TransactionError, match="has stopped"):
            runner.run(left.set("a", 11))
    run(awaited.close())

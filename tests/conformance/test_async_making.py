"""A missing value is made once for all tasks, and the loop goes on meanwhile."""

import asyncio

import pytest

from hypercache import AsyncCache
from hypercache.errors import ReentrantCallError, TransactionError


@pytest.fixture
def run(open_cache):
    """Run a coroutine function with an AsyncCache over the cache of this test."""

    def run(main):
        async def with_cache():
            async with AsyncCache.over(cache) as awaited:
                return await main(awaited)

        with open_cache() as cache:
            return asyncio.run(with_cache())

    return run


def test_all_tasks_share_one_call(run):
    async def main(cache):
        calls = []

        async def factory():
            calls.append(1)
            await asyncio.sleep(0.01)
            return ["made"]

        made = await asyncio.gather(
            *(cache.get_or_set("key", factory) for _ in range(40))
        )
        assert made == [["made"]] * 40
        assert calls == [1]
        assert await cache.get("key") == ["made"]

    run(main)


def test_an_error_of_the_factory_reaches_all_who_wait(run):
    async def main(cache):
        async def factory():
            await asyncio.sleep(0.01)
            raise ZeroDivisionError

        asked = (cache.get_or_set("key", factory) for _ in range(5))
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(each) for each in found] == [ZeroDivisionError] * 5
        assert await cache.get_or_set("key", lambda: 1) == 1

    run(main)


def test_a_factory_that_asks_for_its_own_key_is_refused(run):
    async def main(cache):
        async def factory():
            return await cache.get_or_set("key", lambda: 1)

        with pytest.raises(ReentrantCallError):
            await cache.get_or_set("key", factory)

    run(main)


def test_a_decorated_function_is_called_once_and_forgotten_when_asked(run):
    async def main(cache):
        calls = []

        @cache.memoize(ttl=60)
        async def double(number):
            calls.append(number)
            return number * 2

        assert await asyncio.gather(double(1), double(1), double(2)) == [2, 2, 4]
        assert sorted(calls) == [1, 2]
        assert await double.invalidate(1)
        assert not await double.invalidate(1)
        assert await double(1) == 2
        await double.invalidate_all()
        assert await double(2) == 4
        assert sorted(calls) == [1, 1, 2, 2]
        assert await cache.get(double.key(2)) == 4

    run(main)


def test_a_method_and_a_plain_function_can_be_decorated(run):
    async def main(cache):
        class Client:
            @cache.memoize(ignore=("self",), tags=lambda self, name: [name])
            async def get(self, name):
                return [name]

        @cache.memoize()
        def plain(number):
            return number

        assert await Client().get("a") == ["a"]
        assert await plain(3) == 3
        assert await Client().get.invalidate("a")
        await Client().get("b")
        await cache.invalidate("b")
        assert not await Client().get.invalidate("b")

    run(main)


def test_what_is_deleted_meanwhile_is_not_kept(run):
    async def main(cache):
        async def factory():
            await cache.delete("key")
            return "outdated"

        assert await cache.get_or_set("key", factory) == "outdated"
        assert not await cache.contains("key")

    run(main)


def test_inside_a_transaction_the_cache_itself_is_refused(run):
    async def main(cache):
        async with cache.transaction() as inside:
            assert await inside.get_or_set("a", lambda: 1, tags=("t",)) == 1
            with pytest.raises(TransactionError):
                await cache.get_or_set("b", lambda: 1)
        assert await cache.get("a") == 1

    run(main)

"""The namespaces of an AsyncCache are AsyncCaches, closed with it."""

import asyncio

import pytest

from hypercache import AsyncCache
from hypercache.errors import ClosedError, ConfigError
from tests.support.awaited import run
from tests.support.engines import durable_engines, kinds_of_engine


@pytest.fixture
def arguments(engine_case, store_path):
    return engine_case.arguments(store_path)


def test_one_is_a_cache_of_its_own(arguments):
    async def use():
        async with AsyncCache(**arguments) as cache:
            inner = await cache.namespace("inner", max_items=2)
            assert await cache.namespace("inner") is inner
            with pytest.raises(ConfigError, match="max_items=2, not 3"):
                await cache.namespace("inner", max_items=3)
            await asyncio.gather(*(inner.set(f"{n}", n) for n in range(9)))
            await cache.set("key", 1)
            assert (await inner.count(), await cache.count()) == (2, 1)
            assert await cache.namespaces() == ["inner"]
            assert await cache.drop_namespace("inner")
            assert not await cache.drop_namespace("inner")
            with pytest.raises(ClosedError):
                await inner.get("8")
            assert await cache.namespaces() == []
            return await (await cache.namespace("inner")).count()

    assert run(use()) == 0


@durable_engines
def test_what_waits_in_one_is_written_before_the_cache_is_closed(arguments):
    async def write():
        cache = await AsyncCache.open(**arguments)
        inner = await cache.namespace("inner")
        writes = [asyncio.ensure_future(inner.set(f"{n}", n)) for n in range(50)]
        await asyncio.sleep(0)
        await cache.close()
        return await asyncio.gather(*writes)

    async def read():
        async with AsyncCache(**arguments) as cache:
            return await (await cache.namespace("inner")).count()

    assert len(run(write())) == 50
    assert run(read()) == 50


@kinds_of_engine
def test_closed_by_itself_it_is_opened_anew(arguments):
    async def use():
        async with AsyncCache(**arguments) as cache:
            async with await cache.namespace("inner") as inner:
                await inner.set("key", 1)
            again = await cache.namespace("inner", max_items=5)
            assert again is not inner
            await again.set("key", 2)
            assert await again.get("key") == 2
            await cache.close()
            with pytest.raises(ClosedError):
                await cache.namespace("inner")
            with pytest.raises(ClosedError):
                await again.get("key")

    run(use())


@kinds_of_engine
def test_advice_is_awaited(arguments):
    async def use():
        async with AsyncCache(**arguments) as cache:
            return await cache.advise()

    assert run(use()) is not None

"""What mypy --strict and pyright must infer of the public names; never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

from hypercache import AsyncCache, Cache, errors
from hypercache.mapping import CacheMapping

numbers: Cache[int] = Cache("./store", max_items=10)
anything = Cache()  # no annotation needed: of any values

assert_type(anything, Cache[Any])
assert_type(numbers.get("a"), int | None)
assert_type(numbers.get("a", 0), int)
assert_type(numbers.get("a", "none"), int | str)
assert_type(numbers.get(b"a", None, refresh_ttl=5), int | None)
assert_type(numbers["a"], int)
assert_type(numbers.get_many(["a"]), dict[str, int])
assert_type(numbers.get_many([b"a"]), dict[bytes, int])
assert_type(numbers.namespace("inner", max_items=5, default_ttl=60), Cache[Any])
assert_type(numbers.namespaces(), list[str])
assert_type(numbers.pop("a"), int | None)
assert_type(numbers.pop("a", 0), int)
assert_type(numbers.pop("a", "none"), int | str)
assert_type(numbers.set("a", 1, ttl=5, tags=("t",)), int)
assert_type(numbers.add("a", 1), bool)
assert_type(numbers.incr("a"), int)
assert_type(numbers.ttl("a"), float | None)
assert_type(numbers.scan("a"), Iterator[tuple[bytes, int]])
assert_type(list(numbers), list[bytes])
assert_type(numbers.get_or_set("a", lambda: 1), int)
assert_type(numbers.mapping(), CacheMapping[bytes, int])
assert_type(numbers.mapping(str), CacheMapping[str, int])
assert_type(numbers.mapping("str")["a"], int)
assert_type(numbers.stats().hit_ratio, float)
assert_type(numbers.stats().evicted_count, int)
assert_type(numbers.check().ok, bool)

with Cache[str]("./store") as opened:
    assert_type(opened, Cache[str])
    with opened.transaction() as inside:
        assert_type(inside, Cache[str])


@anything.memoize(ttl=5)
def area(width: int, height: int = 1) -> float:
    return float(width * height)


assert_type(area(2, height=3), float)
assert_type(area.key(2), bytes)
assert_type(area.invalidate(2), bool)


@anything.memoize()
async def load(name: str) -> list[str]:
    return [name]


class Client:
    @anything.memoize(ignore=("self",))
    def find(self, name: str) -> dict[str, int]:
        return {name: 1}


assert_type(Client().find("a"), dict[str, int])
assert_type(Client().find.invalidate("a"), bool)


async def awaited() -> None:
    assert_type(await load("a"), list[str])
    async with AsyncCache[int]("./store") as cache:
        assert_type(cache, AsyncCache[int])
        assert_type(await cache.get("a"), int | None)
        assert_type(await cache.get("a", 0), int)
        assert_type(await cache.set("a", 1), int)
        async for key, value in cache.scan():
            assert_type(key, bytes)
            assert_type(value, int)


def gone(key: bytes) -> None:
    numbers.delete(key)


Cache(on_evict=gone, on_pressure=lambda level, share: (level + 1, share + 0.5))
problem: errors.HyperCacheError = errors.LimitError("too long")

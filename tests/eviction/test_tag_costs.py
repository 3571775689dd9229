"""What a tag costs: one write to invalidate, and its place when there is no room."""

import pytest

from hypercache import Cache, reserved
from tests.support.engines import durable_engines


@durable_engines
@pytest.mark.parametrize("count", [1, 1_000, 10_000])
def test_invalidating_writes_the_same_whatever_has_the_tag(open_cache, count):
    with open_cache(sync=None) as cache:
        cache.set_many(dict.fromkeys(map(str, range(count)), 0), tags=("t",))
        before = cache.stats()
        assert cache.invalidate("t") == before.appended_lsn + 1
        after = cache.stats()
        assert after.log_bytes - before.log_bytes < 500  # a roll, at most
        assert len(cache) == 0


@pytest.mark.parametrize("eviction", ["s3fifo", "lru", "lfu", "fifo", "sieve"])
def test_under_pressure_a_tag_never_brings_back_what_it_took(eviction):
    with Cache(max_items=20, eviction=eviction) as cache:
        for number in range(300):
            key = f"key {number % 40}"
            cache.set(key, number, tags=(f"tag {number % 7}",))
            if number % 5 == 4:
                tag = number % 7
                cache.invalidate(f"tag {tag}")
                assert all(value % 7 != tag for _, value in cache.scan())
            assert len(cache) <= 20


@pytest.mark.parametrize("eviction", ["s3fifo", "lru"])
def test_the_tag_of_what_is_read_stays(eviction):
    with Cache(max_items=50, eviction=eviction) as cache:
        cache.set("hot", "value", tags=("t",))
        for number in range(1_000):
            assert cache.get("hot") == "value"
            cache.set(str(number), number)


def test_a_limit_holds_with_the_records_of_tags_counted():
    with Cache(max_items=10) as cache:
        for number in range(100):
            cache.set(str(number), number, tags=(f"tag {number}",))
            assert cache._engine.count() <= 10
        records = cache._engine.scan(reserved.FIRST, reserved.BEHIND)
        assert len(list(records)) + len(cache) <= 10

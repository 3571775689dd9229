"""How a cache is used, on every engine: hits, misses, latency."""

import dataclasses

import pytest


def test_hits_and_misses_are_counted(cache):
    cache.set_many({"a": 1, "b": [2], "c": None})
    for key in ("a", "b", "c", "b", "absent", "absent"):
        cache.get(key)
    assert cache.get_many(["a", "b", "gone"]) == {"a": 1, "b": [2]}
    assert cache["a"] == 1
    with pytest.raises(KeyError):
        cache["gone"]
    stats = cache.stats()
    assert (stats.hits, stats.misses) == (7, 4)
    assert stats.hit_ratio == 7 / 11


def test_without_reads_the_hit_ratio_is_zero(cache):
    assert cache.stats().hit_ratio == 0.0


def test_looking_for_a_key_counts_nothing(cache):
    cache.set("a", 1)
    assert "a" in cache
    assert len(cache) == 1
    assert list(cache.scan())
    assert (cache.stats().hits, cache.stats().misses) == (0, 0)


def test_an_expired_or_invalidated_entry_is_a_miss(timed, clock):
    cache = timed()
    cache.set("short", 1, ttl=1)
    cache.set("tagged", 1, tags=("t",))
    clock.advance(1)
    cache.invalidate("t")
    assert cache.get("short") is cache.get("tagged") is None
    assert (cache.stats().hits, cache.stats().misses) == (0, 2)


@pytest.mark.parametrize("value", [1, [1]], ids=repr)
def test_a_part_of_all_calls_is_timed_and_counted_once(cache, value):
    for number in range(600):
        cache.set("a", value)
        assert cache.get("a") == value
        assert cache.get("absent", number) == number
    stats = cache.stats()
    assert (stats.hits, stats.misses) == (600, 600)
    for latency in (stats.get_latency, stats.set_latency):
        assert 2 <= latency.count <= 40
        assert 0 < latency.p50_us <= latency.p99_us <= latency.p999_us <= latency.max_us


def test_the_numbers_of_the_engine_are_among_them(cache):
    cache.set("a", 1)
    cache.sync()
    engine, stats = cache._engine.stats(), cache.stats()
    assert {field.name for field in dataclasses.fields(engine)} <= {
        field.name for field in dataclasses.fields(stats)
    }
    for name in ("engine", "path", "sync", "appended_lsn", "memtable_count"):
        assert getattr(stats, name) == getattr(engine, name)
    assert dataclasses.asdict(stats)["get_latency"]["count"] == 0

"""What a cache does by itself is told, once, when it is done and no lock is held."""

import logging

import pytest

from hypercache.errors import LimitError
from tests.support.engines import durable_engines


class Told:
    """Hooks that keep what they were told."""

    def __init__(self):
        self.evicted, self.expired, self.levels = [], [], []
        self.hooks = {
            "on_evict": self.evicted.append,
            "on_expire": self.expired.append,
            "on_pressure": lambda level, share: self.levels.append((level, share)),
        }


@pytest.fixture
def told():
    return Told()


def test_each_evicted_key_is_told_once(open_cache, told):
    with open_cache(max_items=10, eviction="fifo", **told.hooks) as cache:
        for number in range(25):
            cache.set(f"{number:02}", number)
        assert told.evicted == [b"%02d" % number for number in range(15)]
        cache.set_many({f"x{number}": 1 for number in range(3)})
        assert sorted(told.evicted[15:]) == [b"15", b"16", b"17"]
        assert cache.stats().evicted_count == 18
    assert told.expired == []


def test_each_expired_key_is_told_once(timed, clock, told):
    cache = timed(maintenance="inline", **told.hooks)
    cache.set_many(dict.fromkeys("abc", 1), ttl=5)
    cache.set("d", 1)
    clock.advance(6)
    assert told.expired == []
    assert cache.expire() == 3
    assert sorted(told.expired) == [b"a", b"b", b"c"]
    assert cache.expire() == 0
    assert len(told.expired) == cache.stats().expired_count == 3
    assert told.evicted == []


def test_what_is_deleted_or_written_over_is_not_told(open_cache, told):
    with open_cache(max_items=10, **told.hooks) as cache:
        cache.set("a", 1)
        cache.set("a", 2)
        cache.delete("a")
        cache.set("b", 1)
        cache.clear()
    assert told.evicted == told.expired == []


def test_a_write_that_was_refused_tells_nothing(open_cache, told):
    with open_cache(max_bytes=100_000, **told.hooks) as cache:
        cache.set("a", "x" * 60_000)
        with pytest.raises(LimitError):
            cache.set("b", "x" * 200_000)
        assert told.evicted == []
        assert "a" in cache


def test_a_hook_may_use_the_cache(open_cache):
    saved = {}

    def keep(key):
        saved[key] = cache.get("kept", 0)
        if key.startswith(b"n"):
            cache.set("kept", len(saved))

    with open_cache(max_items=5, eviction="fifo", on_evict=keep) as cache:
        for number in range(20):
            cache.set(f"n{number:02}", number)
        assert len(cache) == 5
    assert len(saved) >= 15


def test_a_hook_is_called_behind_the_transaction(open_cache, told):
    with open_cache(max_items=3, eviction="fifo", **told.hooks) as cache:
        cache.set_many(dict.fromkeys("abc", 1))
        with cache.transaction():
            cache.set("d", 1)
            cache.set("e", 1)
            assert told.evicted == []
        assert sorted(told.evicted) == [b"a", b"b"]


def test_a_hook_that_raises_is_logged_and_the_write_stands(open_cache, caplog):
    def fail(key):
        raise ZeroDivisionError(key)

    with open_cache(max_items=2, on_evict=fail) as cache:
        for number in range(4):
            cache.set(str(number), number)
        assert len(cache) == 2
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2
    assert "ZeroDivisionError" in caplog.text


def test_the_records_of_tags_are_told_to_nobody(open_cache, told):
    with open_cache(max_items=4, eviction="fifo", **told.hooks) as cache:
        for number in range(20):
            cache.set(f"key{number}", number, tags=(f"tag{number}",))
    assert told.evicted
    assert all(key.startswith(b"key") for key in told.evicted)


def test_pressure_is_told_when_a_level_is_reached_and_left(open_cache, told):
    with open_cache(max_items=100, **told.hooks) as cache:
        for number in range(84):
            cache.set(f"{number:03}", number)
        assert told.levels == []
        assert cache.stats().pressure_percent == 0
        for number in range(84, 120):
            cache.set(f"{number:03}", number)
        assert told.levels == [(85, 0.85), (90, 0.9), (95, 0.95)]
        assert cache.stats().pressure_percent == 95
        keys = list(cache)
        cache.delete_many(keys[:5])
        assert told.levels[3:] == []
        assert cache.stats().pressure_percent == 95
        cache.delete_many(keys[5:20])
        assert told.levels[3:] == [(0, 0.8)]


def test_at_the_border_pressure_does_not_flicker(open_cache, told):
    with open_cache(max_items=200, **told.hooks) as cache:
        cache.set_many({f"{number:03}": number for number in range(169)})
        for _ in range(5):
            cache.set("one more", 1)
            cache.delete("one more")
        assert told.levels == [(85, 0.85)]


def test_bytes_press_too(open_cache, told):
    with open_cache(max_bytes=100_000, **told.hooks) as cache:
        for number in range(40):
            cache.set(f"{number}", "x" * 5_000)
    levels = [level for level, _ in told.levels]
    # Tables leap, so one may be passed over; none is told twice.
    assert levels == sorted(set(levels))
    assert levels[-1] == 95


@durable_engines
def test_what_a_lower_limit_takes_at_open_is_counted(open_cache, told):
    with open_cache() as cache:
        cache.set_many({str(number): number for number in range(20)})
    with open_cache(max_items=5) as cache:
        assert cache.stats().evicted_count == 15

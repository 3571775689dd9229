"""How long entries of a Cache live."""

import math
from datetime import timedelta

import pytest

from hypercache.errors import ArgumentTypeError, LimitError
from tests.support.operations import refold, ttl_operations, wrong_answers


def test_an_entry_lives_as_long_as_its_ttl(timed, clock):
    cache = timed()
    cache.set("number", 1, ttl=10)
    cache.set("fraction", 2, ttl=0.5)
    cache.set("timedelta", 3, ttl=timedelta(minutes=1))
    cache.set("never", 4)
    cache.set("infinite", 5, ttl=math.inf)
    for _ in refold(cache):
        assert cache.ttl("number") == pytest.approx(10, abs=0.01)
        assert cache.ttl("fraction") == pytest.approx(0.5, abs=0.01)
        assert cache.ttl("timedelta") == pytest.approx(60, abs=0.01)
        assert cache.ttl("never") is None
        assert cache.ttl("infinite") is None
        assert cache.ttl("absent") is None
    clock.advance(0.6)
    assert "fraction" not in cache
    assert cache.ttl("fraction") is None
    clock.advance(10)
    assert list(cache) == [b"infinite", b"never", b"timedelta"]
    clock.advance(10**9)
    assert len(cache) == 2


def test_a_write_without_ttl_takes_the_default_of_the_cache(timed):
    cache = timed(default_ttl=30)
    writes = {
        "set": lambda **ttl: cache.set("set", 1, **ttl),
        "add": lambda **ttl: cache.add("add", 1, **ttl),
        "incr": lambda **ttl: cache.incr("incr", **ttl),
        "set_many": lambda **ttl: cache.set_many({"set_many": 1}, **ttl),
        "get_or_set": lambda **ttl: cache.get_or_set("get_or_set", lambda: 1, **ttl),
    }
    for key, write in writes.items():
        write()
        assert cache.ttl(key) == pytest.approx(30, abs=0.01), key
        cache.delete(key)
        write(ttl=math.inf)
        assert cache.ttl(key) is None, key
        cache.delete(key)
        write(ttl=5)
        assert cache.ttl(key) == pytest.approx(5, abs=0.01), key
    cache.touch("set")
    assert cache.ttl("set") == pytest.approx(30, abs=0.01)
    cache["item"] = 1
    assert cache.ttl("item") == pytest.approx(30, abs=0.01)
    assert cache.replace("item", 2, ttl=math.inf)
    assert cache.ttl("item") is None
    assert cache.cas("item", 2, 3)
    assert cache.ttl("item") == pytest.approx(30, abs=0.01)


def test_a_set_without_ttl_ends_the_ttl_before_it(timed):
    cache = timed()
    cache.set("key", 1, ttl=10)
    cache.set("key", 2)
    assert cache.ttl("key") is None


def test_touch_changes_the_ttl_of_a_present_key_only(timed, clock):
    cache = timed()
    assert not cache.touch("key", 10)
    assert "key" not in cache
    cache.set("key", "value")
    assert cache.touch("key", timedelta(seconds=10))
    for _ in refold(cache):
        assert cache.ttl("key") == pytest.approx(10, abs=0.01)
        assert cache.get("key") == "value"
    assert cache.touch("key", math.inf)
    assert cache.ttl("key") is None
    assert cache.touch("key", 10)
    assert cache.touch("key")
    assert cache.ttl("key") is None
    assert cache.touch("key", 10)
    clock.advance(11)
    assert not cache.touch("key", 10)
    assert "key" not in cache


def test_a_ttl_that_is_not_above_zero_is_refused(cache):
    cache.set("key", 1)
    for ttl in (0, -1, -0.001, math.nan, -math.inf, timedelta(0)):
        assert wrong_answers(ttl_operations(cache, ttl), LimitError) == {}
    assert dict(cache.scan()) == {b"key": 1}
    assert cache.ttl("key") is None


def test_a_ttl_that_is_no_time_is_refused(cache):
    cache.set("key", 1)
    for ttl in ("10", True, [1], 1j):
        assert wrong_answers(ttl_operations(cache, ttl), ArgumentTypeError) == {}
    assert dict(cache.scan()) == {b"key": 1}


def test_the_longest_ttls_are_kept(timed):
    cache = timed()
    for ttl in (10**9, 1e12, 1e300, timedelta.max, 10**400):
        cache.set("key", 1, ttl=ttl)
        assert cache.get("key") == 1
        cache.checkpoint()
        assert cache.get("key") == 1

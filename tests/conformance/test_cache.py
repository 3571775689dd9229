"""Every operation of Cache, on every engine.

Time, refusals and transactions are in modules of their own.
"""

import math
import pickle

import pytest

from hypercache.codec import Packed
from hypercache.errors import (
    ArgumentTypeError,
    DeserializationError,
    LimitError,
    SerializationError,
)
from tests.support.operations import refold, wrong_answers

# Set and get


def test_a_value_comes_back_as_it_was(cache):
    values = [None, True, 0, -(2**70), 1.5, "text", b"bytes", [1, [2]], (1, 2)]
    values += [{"a": {1: b"x"}}, {1, 2}, ""]
    for number, value in enumerate(values):
        cache.set(f"key-{number}", value)
    for _ in refold(cache):
        for number, value in enumerate(values):
            found = cache.get(f"key-{number}", "nothing")
            assert found == value
            assert type(found) is type(value)


def test_an_absent_key_gives_the_default(cache):
    assert cache.get("key") is None
    assert cache.get("key", "default") == "default"
    cache.set("key", None)
    assert cache.get("key", "default") is None


def test_str_and_its_utf8_bytes_are_one_key(cache):
    cache.set("\u00fc", 1)
    assert cache.get("\u00fc".encode()) == 1
    cache.set("\u00fc".encode(), 2)
    assert cache["\u00fc"] == 2
    assert len(cache) == 1
    assert list(cache) == ["\u00fc".encode()]
    assert cache.delete("\u00fc".encode())
    assert "\u00fc" not in cache


def test_set_returns_an_lsn_that_can_be_waited_for(cache):
    lsns = [cache.set("a", 1), cache.set("b", 2, ttl=60), cache.set_many({"c": 3})]
    if cache.stats().path is None:
        assert lsns == [0, 0, 0]
    else:
        assert lsns == sorted(set(lsns))
        assert lsns[0] > 0
    for lsn in lsns:
        cache.wait_durable(lsn)
        cache.wait_durable(lsn, timeout=5)
    assert cache.sync() == max(lsns)


# Only if


def test_add_stores_only_if_absent(timed, clock):
    cache = timed()
    assert cache.add("key", 1, ttl=10)
    assert not cache.add("key", 2)
    assert cache["key"] == 1
    assert cache.ttl("key") == pytest.approx(10, abs=0.01)
    clock.advance(11)
    assert cache.add("key", 3)
    cache.delete("key")
    assert cache.add("key", 4)
    assert cache["key"] == 4


def test_replace_stores_only_if_present(timed, clock):
    cache = timed()
    assert not cache.replace("key", 1)
    assert "key" not in cache
    cache.set("key", 1)
    assert cache.replace("key", 2, ttl=10)
    assert cache["key"] == 2
    assert cache.ttl("key") == pytest.approx(10, abs=0.01)
    clock.advance(11)
    assert not cache.replace("key", 3)
    assert "key" not in cache


def test_cas_stores_only_over_what_was_expected(cache):
    assert not cache.cas("key", None, 1)
    assert "key" not in cache
    cache.set("key", {"n": 1})
    assert not cache.cas("key", {"n": 2}, "new")
    assert cache["key"] == {"n": 1}
    assert cache.cas("key", {"n": 1}, "new", ttl=60)
    assert cache["key"] == "new"
    assert cache.ttl("key") == pytest.approx(60, abs=5)


def test_get_or_set_calls_the_factory_only_for_an_absent_key(cache):
    calls = []

    def factory():
        calls.append(1)

    assert cache.get_or_set("key", factory) is None
    assert cache.get_or_set("key", factory) is None
    assert calls == [1]
    with pytest.raises(ZeroDivisionError):
        cache.get_or_set("other", lambda: 1 // 0)
    assert "other" not in cache


# Numbers


def test_incr_and_decr_start_at_the_initial_value(cache):
    assert cache.incr("a") == 1
    assert cache.incr("a", 5) == 6
    assert cache.incr("b", 2, initial=100) == 102
    assert cache.decr("c") == -1
    assert cache.decr("b", 2) == 100
    assert cache.incr("a", -6) == 0
    assert cache.incr("big", 1, initial=2**100) == 2**100 + 1
    for _ in refold(cache):
        assert cache.get_many(["a", "b", "c"]) == {"a": 0, "b": 100, "c": -1}
        assert cache["big"] == 2**100 + 1


def test_incr_keeps_the_ttl_unless_it_is_given_one(timed, clock):
    cache = timed(default_ttl=100)
    cache.set("key", 1, ttl=10)
    clock.advance(4)
    assert cache.incr("key") == 2
    assert cache.ttl("key") == pytest.approx(6, abs=0.01)
    assert cache.decr("key", ttl=50) == 1
    assert cache.ttl("key") == pytest.approx(50, abs=0.01)
    assert cache.incr("key", ttl=math.inf) == 2
    assert cache.ttl("key") is None
    assert cache.incr("key") == 3
    assert cache.ttl("key") is None
    cache.set("key", 1, ttl=10)
    clock.advance(11)
    assert cache.incr("key") == 1


def test_incr_of_anything_but_an_int_is_refused(cache):
    for value in ("1", 1.0, True, None, [1]):
        cache.set("key", value)
        operations = {
            "incr": lambda: cache.incr("key"),
            "decr": lambda: cache.decr("key"),
            "a delta": lambda value=value: cache.incr("new", value),
            "a negative delta": lambda value=value: cache.decr("new", value),
            "a start": lambda value=value: cache.incr("new", initial=value),
        }
        assert wrong_answers(operations, ArgumentTypeError) == {}
        assert dict(cache.scan()) == {b"key": value}


# Remove


def test_delete_tells_whether_the_key_was_present(timed, clock):
    cache = timed()
    cache.set("key", 1)
    cache.set("short", 1, ttl=1)
    assert cache.delete("key")
    assert not cache.delete("key")
    clock.advance(2)
    assert not cache.delete("short")
    assert len(cache) == 0


def test_pop_removes_and_returns(timed, clock):
    cache = timed()
    cache.set("key", [1])
    cache.set("none", None)
    cache.set("short", 1, ttl=1)
    assert cache.pop("key") == [1]
    assert cache.pop("key") is None
    assert cache.pop("key", "default") == "default"
    assert cache.pop("none", "default") is None
    clock.advance(2)
    assert cache.pop("short", "default") == "default"
    assert len(cache) == 0


def test_clear_removes_everything(cache):
    cache.set_many({str(n): n for n in range(100)})
    cache.checkpoint()
    cache.set("new", 1)
    cache.clear()
    for _ in refold(cache):
        assert len(cache) == 0
        assert list(cache) == []
        assert cache.get("new") is None
        assert cache.get_many(["1", "new"]) == {}


# Many keys


def test_get_many_returns_under_the_keys_as_passed(cache):
    cache.set_many({"a": 1, b"b": 2, "c": None})
    assert cache.get_many(["a", b"b", "x"]) == {"a": 1, b"b": 2}
    assert cache.get_many([b"a", "b", "c"]) == {b"a": 1, "b": 2, "c": None}
    assert cache.get_many(["a", b"a"]) == {"a": 1, b"a": 1}
    assert list(cache.get_many(key for key in "cba")) == ["c", "b", "a"]
    assert cache.get_many([]) == {}


def test_set_many_stores_all_under_one_ttl(timed):
    cache = timed()
    cache.set_many({"a": 1, b"b": [2]}, ttl=10)
    for _ in refold(cache):
        assert dict(cache.scan()) == {b"a": 1, b"b": [2]}
        assert cache.ttl("a") == cache.ttl("b") == pytest.approx(10, abs=0.01)
    cache.set_many({})
    assert len(cache) == 2


def test_set_many_with_one_bad_item_stores_nothing(cache):
    cache.set("old", 1)
    bad_items = [
        ({"new": object()}, SerializationError),
        ({"": 1}, LimitError),
        ({3: 1}, ArgumentTypeError),
    ]
    for bad, error in bad_items:
        with pytest.raises(error):
            cache.set_many({"old": 2, "a": 1} | bad)
    assert dict(cache.scan()) == {b"old": 1}


def test_delete_many_returns_how_many_were_present(cache):
    cache.set_many({"a": 1, "b": 2, "c": 3})
    assert cache.delete_many(["a", b"a", "x"]) == 1
    assert cache.delete_many([]) == 0
    with pytest.raises(LimitError):
        cache.delete_many(["b", ""])
    assert dict(cache.scan()) == {b"b": 2, b"c": 3}
    assert cache.delete_many(key for key in ("b", "c")) == 2
    assert len(cache) == 0


# As a mapping


def test_it_behaves_as_a_mapping(cache):
    cache["b"] = 2
    cache["a"] = 1
    assert cache["a"] == 1
    assert "a" in cache
    assert b"a" in cache
    assert "x" not in cache
    assert len(cache) == 2
    assert list(cache) == [b"a", b"b"]
    del cache["a"]
    assert list(cache) == [b"b"]


def test_only_subscription_raises_key_error(cache):
    for key in ("absent", b"absent"):
        with pytest.raises(KeyError) as caught:
            cache[key]
        assert caught.value.args == (key,)
        with pytest.raises(KeyError) as caught:
            del cache[key]
        assert caught.value.args == (key,)


# Scan


def test_scan_yields_bytes_and_values_in_key_order(cache):
    items = {f"{letter}{n}": n for letter in "cab" for n in range(5)}
    cache.set_many(items)
    ordered = sorted((key.encode(), value) for key, value in items.items())
    for _ in refold(cache):
        assert list(cache.scan()) == ordered
        assert list(cache.scan(reverse=True)) == ordered[::-1]
        assert list(cache.scan("b")) == ordered[5:10]
        assert list(cache.scan(prefix=b"b", reverse=True)) == ordered[5:10][::-1]
        assert list(cache.scan(start="a2", stop=b"b1")) == ordered[2:6]
        assert list(cache.scan("b", start="a2", stop="b2")) == ordered[5:7]
        assert list(cache.scan("b", start="b3", stop="c9")) == ordered[8:10]
        assert list(cache.scan(limit=3)) == ordered[:3]
        assert list(cache.scan("c", reverse=True, limit=2)) == ordered[:-3:-1]
        assert list(cache.scan(limit=0)) == []
        assert list(cache.scan("d")) == list(cache.scan("b", stop="a")) == []


def test_a_prefix_of_the_highest_bytes_is_a_prefix(cache):
    keys = [b"\xfe", b"\xff", b"\xff\x00", b"\xff\xff", b"\xff\xffa", b"a\xff", b"b"]
    cache.set_many(dict.fromkeys(keys, 0))
    for prefix in (b"", b"\xff", b"\xff\xff", b"a\xff", b"a"):
        found = [key for key, _ in cache.scan(prefix)]
        assert found == sorted(key for key in keys if key.startswith(prefix))


def test_scan_refuses_a_limit_that_is_no_count(cache):
    for limit in (-1, 1.5, "1", True):
        with pytest.raises((LimitError, ArgumentTypeError)):
            list(cache.scan(limit=limit))


# Serializers


def test_each_serializer_brings_its_values_back(open_cache, tmp_path):
    cases = {"json": {"a": [1, None]}, "bytes": b"\xc1raw", "msgpack": (1, b"x")}
    for name, value in cases.items():
        cache = open_cache(tmp_path / name, serializer=name)
        cache.set("key", value)
        for _ in refold(cache):
            assert cache["key"] == value


def test_a_serializer_of_the_caller_is_used(open_cache):
    cache = open_cache(serializer=pickle)
    cache.set("key", {1, 2})
    assert cache["key"] == {1, 2}
    assert cache.cas("key", {1, 2}, {3})
    assert cache.pop("key") == {3}


def test_large_values_may_be_compressed(open_cache):
    cache = open_cache(compress_min_bytes=100)
    cache.set_many({"large": "x" * 10_000, "small": "x"})
    for _ in refold(cache):
        assert cache["large"] == "x" * 10_000
        assert cache["small"] == "x"


def test_bytes_that_are_no_value_are_reported_with_their_key(cache):
    cache._engine.put(b"key", Packed(b"\xc1\x77 not a value"))
    for read in (
        lambda: cache.get("key"),
        lambda: cache.get_many(["key"]),
        lambda: list(cache.scan()),
        lambda: cache.pop("key"),
    ):
        with pytest.raises(DeserializationError) as caught:
            read()
        assert "b'key'" in "".join(caught.value.__notes__)
    assert "key" in cache
    cache.set("key", 1)
    assert cache["key"] == 1

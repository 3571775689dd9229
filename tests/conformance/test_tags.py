"""Tags on every engine: one write makes all entries with a tag absent."""

import pytest

from hypercache import reserved
from hypercache.errors import ArgumentTypeError, LimitError, TransactionError
from tests.support.engines import durable_engines

VALUES = ["text", b"bytes", 7, 2.5, True, None, ["a", {"b": 1}], "", b"\xc1\x02"]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_tagged_value_comes_back_as_any_other(cache, value):
    cache.set("key", value, tags=("red", b"blue"))
    assert cache.get("key", "absent") == value
    assert type(cache["key"]) is type(value)
    assert dict(cache.scan()) == cache.get_many([b"key"]) == {b"key": value}


def test_invalidating_a_tag_takes_all_that_have_it_and_nothing_else(cache):
    cache.set("both", 1, tags=("red", "blue"))
    cache.set_many({"red": 2, "red too": 3}, tags=["red"])
    cache.set("blue", 4, tags=("blue",))
    cache.set("plain", 5)
    cache.invalidate("red")
    assert dict(cache.scan()) == {b"blue": 4, b"plain": 5}
    assert sorted(cache) == [b"blue", b"plain"]
    assert len(cache) == 2
    assert [key for key in ("both", "red", "red too") if key in cache] == []
    assert cache.get_many(["both", "blue"]) == {"blue": 4}
    assert cache.get("both") is cache.pop("red") is cache.ttl("red too") is None


def test_what_was_invalidated_is_absent_for_every_conditional_write(cache):
    cache.set_many(dict.fromkeys("abcdef", 1), tags=("t",))
    cache.invalidate("t")
    assert not cache.replace("a", 2)
    assert not cache.cas("b", 1, 2)
    assert not cache.delete("c")
    assert not cache.touch("d", 100)
    assert cache.delete_many(["c", "d"]) == 0
    assert cache.incr("e", initial=10) == 11
    assert cache.add("f", 3)
    assert dict(cache.scan()) == {b"e": 11, b"f": 3}


def test_a_tag_can_be_used_again_and_brings_nothing_back(cache):
    for round_number in range(3):
        cache.set(f"key {round_number}", round_number, tags=("t",))
        assert dict(cache.scan()) == {f"key {round_number}".encode(): round_number}
        cache.invalidate("t")
        assert len(cache) == 0


def test_the_tags_of_the_last_write_count(cache):
    cache.set("untagged", 1, tags=("old",))
    cache.set("untagged", 2)
    cache.set("tagged anew", 1, tags=("old",))
    cache.set("tagged anew", 2, tags=("new",))
    cache.invalidate("old")
    assert dict(cache.scan()) == {b"untagged": 2, b"tagged anew": 2}
    cache.invalidate("new")
    assert dict(cache.scan()) == {b"untagged": 2}


def test_incr_and_touch_keep_the_tags(cache):
    cache.set("counted", 1, tags=("t",))
    cache.incr("counted")
    cache.incr("counted", ttl=100)
    cache.set("touched", "value", tags=("t",))
    assert cache.touch("touched", 100)
    assert dict(cache.scan()) == {b"counted": 3, b"touched": "value"}
    cache.invalidate("t")
    assert len(cache) == 0


def test_conditional_writes_take_tags(cache):
    assert cache.add("a", 1, tags=("t",))
    assert not cache.add("a", 2, tags=("u",))
    assert cache.replace("a", 3, tags=("t",))
    assert cache.cas("a", 3, 4, tags=("t",))
    assert cache["a"] == 4
    cache.invalidate("u")
    assert cache["a"] == 4
    cache.invalidate("t")
    assert "a" not in cache


def test_a_transaction_sets_and_invalidates_all_or_nothing(cache):
    cache.set("old", 1, tags=("t",))

    def replace_old(then):
        with cache.transaction() as inside:
            inside.invalidate("t")
            inside.set("new", 2, tags=("t",))
            assert dict(inside.scan()) == {b"new": 2}
            then()

    with pytest.raises(TransactionError):
        replace_old(cache.sync)
    assert dict(cache.scan()) == {b"old": 1}
    replace_old(lambda: None)
    assert dict(cache.scan()) == {b"new": 2}


def test_an_entry_with_a_tag_still_expires(timed, clock):
    cache = timed()
    cache.set("key", 1, ttl=10, tags=("t",))
    assert 9 < cache.ttl("key") <= 10
    clock.advance(10)
    assert "key" not in cache
    assert len(cache) == 0


def test_expire_removes_what_was_invalidated(cache):
    cache.set_many({str(number): number for number in range(10)}, tags=("t",))
    cache.set("other", 1, tags=("u",))
    cache.invalidate("t")
    assert cache.expire() == 10
    assert cache.expire() == 0
    assert dict(cache.scan()) == {b"other": 1}


def test_the_records_of_tags_are_shown_to_nobody(cache):
    cache.set("\x00below", 1)
    cache.set("key", 1, tags=("t",))
    hidden = reserved.tag_key(b"t")
    assert cache.get(hidden) is None
    assert hidden not in cache
    assert not cache.delete(hidden)
    assert not cache.touch(hidden, 5)
    assert list(cache) == [b"\x00below", b"key"]
    assert list(cache.scan(reverse=True)) == [(b"key", 1), (b"\x00below", 1)]
    assert list(cache.scan(prefix=reserved.FIRST)) == []
    assert list(cache.scan(limit=1)) == [(b"\x00below", 1)]
    assert cache["key"] == 1


def test_a_reserved_key_is_refused_and_nothing_written(cache):
    name = reserved.FIRST + b"tag/t"
    for write in (cache.set, cache.add, cache.replace):
        with pytest.raises(LimitError, match="choose another"):
            write(name, 1)
    with pytest.raises(LimitError, match="choose another"):
        cache.set_many({"fine": 1, name: 2})
    with pytest.raises(LimitError, match="choose another"):
        cache.incr(name)
    assert len(cache) == 0


@pytest.mark.parametrize("tags", ["user:7", b"user:7", 7, None, [7], [None]], ids=repr)
def test_what_is_no_collection_of_names_is_refused(cache, tags):
    with pytest.raises(ArgumentTypeError):
        cache.set("key", 1, tags=tags)
    assert len(cache) == 0


@pytest.mark.parametrize("tag", ["", "x" * 256])
def test_a_tag_out_of_range_is_refused(cache, tag):
    with pytest.raises(LimitError, match="1 to 255"):
        cache.set("key", 1, tags=[tag])
    with pytest.raises(LimitError, match="1 to 255"):
        cache.invalidate(tag)


def test_clear_forgets_tags_with_everything(cache):
    cache.set("key", 1, tags=("t",))
    cache.clear()
    assert len(cache) == 0
    cache.set("key", 2, tags=("t",))
    cache.invalidate("t")
    assert "key" not in cache


@durable_engines
def test_an_invalidation_outlives_a_reopen(open_cache):
    with open_cache() as cache:
        cache.set_many({"a": 1, "b": 2}, tags=("t",))
        cache.set("c", 3, tags=("u",))
        cache.invalidate("t")
    with open_cache() as cache:
        assert dict(cache.scan()) == {b"c": 3}
        assert len(cache) == 1
        cache.invalidate("u")
        assert len(cache) == 0
        assert cache.check().ok

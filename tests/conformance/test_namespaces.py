"""Namespaces on every engine: caches inside a cache."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercache import Cache
from hypercache.errors import (
    ArgumentTypeError,
    ClosedError,
    ConfigError,
    LimitError,
    ReadOnlyError,
    TransactionError,
)
from hypercache.eviction import Lru
from hypercache.paths import StorePaths, maybe_namespace
from hypercache.testing.threads import Threads
from tests.support.engines import durable_engines, kinds_of_engine, volatile_engines

HOSTILE = ["A", "a", ".", "..", "/", "a/b", "a\\b", "con", "\0", "é", "😀" * 20, "%41"]


# Apart


def test_what_is_in_one_is_in_no_other_and_not_in_the_cache(cache):
    cache["key"] = "outside"
    for name in ("a", "b"):
        cache.namespace(name)["key"] = name
    assert dict(cache.scan()) == {b"key": "outside"}
    assert [dict(cache.namespace(name).scan()) for name in "ab"] == [
        {b"key": "a"},
        {b"key": "b"},
    ]
    cache.namespace("a").clear()
    assert (len(cache.namespace("a")), len(cache.namespace("b")), len(cache)) == (
        0,
        1,
        1,
    )
    cache.clear()
    assert cache.namespace("b")["key"] == "b"


def test_the_limits_of_one_are_its_own(cache):
    small, large = cache.namespace("small", max_items=3), cache.namespace("large")
    for number in range(50):
        for each in (small, large, cache):
            each[f"{number}"] = number
    assert (len(small), len(large), len(cache)) == (3, 50, 50)
    assert small.stats().max_items == 3
    assert large.stats().max_items is None


def test_a_limit_of_the_cache_is_none_of_its_namespaces(open_cache):
    cache = open_cache(max_items=2)
    inner = cache.namespace("inner")
    inner.set_many({f"{number}": number for number in range(10)})
    assert (len(inner), inner.stats().max_items) == (10, None)


def test_numbers_and_callbacks_are_of_one_namespace(cache):
    gone = []
    inner = cache.namespace("inner", max_items=1, on_evict=gone.append)
    inner.set("a", 1)
    inner.set("b", 2)
    inner.get("b")
    inner.get("absent")
    assert gone == [b"a"]
    assert (inner.stats().hits, inner.stats().misses) == (1, 1)
    assert (cache.stats().hits, cache.stats().misses) == (0, 0)


def test_a_tag_is_of_one_namespace(cache):
    inner = cache.namespace("inner")
    for each in (cache, inner):
        each.set("key", 1, tags=("t",))
    inner.invalidate("t")
    assert ("key" in cache, "key" in inner) == (True, False)


def test_settings_are_those_of_the_cache_unless_given(open_cache):
    cache = open_cache(default_ttl=100, eviction="lru", serializer="json")
    plain = cache.namespace("plain")
    plain["key"] = [1]
    assert 99 < plain.ttl("key") <= 100
    other = cache.namespace("other", default_ttl=5, serializer="bytes")
    other["key"] = b"\xff"
    assert 4 < other.ttl("key") <= 5
    forever = cache.namespace("forever", default_ttl=float("inf"))
    forever["key"] = 1
    assert forever.ttl("key") is None


def test_a_policy_of_the_users_own_is_not_shared(open_cache):
    cache = open_cache(max_items=2, eviction=Lru())
    cache["a"] = 1
    inner = cache.namespace("inner", max_items=2)
    inner.set_many({"b": 1, "c": 2})
    cache["d"] = 2
    assert (sorted(inner), sorted(cache)) == ([b"b", b"c"], [b"a", b"d"])


# One object


def test_the_same_name_is_the_same_object_while_it_is_open(cache):
    inner = cache.namespace("inner", max_items=5, eviction="lru")
    assert cache.namespace("inner") is inner
    assert cache.namespace("inner", max_items=5) is inner
    with pytest.raises(ConfigError, match=r"'inner' is open with max_items=5, not 6"):
        cache.namespace("inner", max_items=6)
    with pytest.raises(ConfigError, match="default_ttl=None, not 3"):
        cache.namespace("inner", default_ttl=3)
    inner.close()
    assert cache.namespace("inner", max_items=6).stats().max_items == 6


def test_threads_that_ask_at_once_get_one_object(cache):
    barrier, found = threading.Barrier(8), []

    def ask():
        barrier.wait()
        found.append(cache.namespace("inner"))

    with Threads() as threads:
        for _ in range(8):
            threads.start(ask)
    assert len(set(map(id, found))) == 1


def test_a_setting_that_does_not_exist_is_refused(cache):
    with pytest.raises(ConfigError, match="unknown setting 'max_item'; there are"):
        cache.namespace("inner", max_item=3)
    assert cache.namespaces() == []


def test_a_setting_that_cannot_work_makes_nothing(cache):
    with pytest.raises(ConfigError, match="max_items"):
        cache.namespace("inner", max_items=0)
    assert cache.namespaces() == []
    cache.namespace("inner")["key"] = 1


def test_there_is_one_level(cache):
    inner = cache.namespace("inner")
    with pytest.raises(ConfigError, match="one level"):
        inner.namespace("deeper")
    assert inner.namespaces() == []


# Names


@pytest.mark.parametrize("name", ["", "x" * 81, "é" * 41])
def test_names_that_are_empty_or_too_long_are_refused(cache, name):
    for call in (cache.namespace, cache.drop_namespace):
        with pytest.raises(LimitError, match="1 to 80 bytes"):
            call(name)


@pytest.mark.parametrize("name", [b"bytes", 7, None, "\ud800"])
def test_names_that_are_no_text_are_refused(cache, name):
    for call in (cache.namespace, cache.drop_namespace):
        with pytest.raises(ArgumentTypeError):
            call(name)


@kinds_of_engine
def test_hostile_names_are_names_like_any_other(cache):
    for name in HOSTILE:
        cache.namespace(name)["name"] = name
    assert cache.namespaces() == sorted(HOSTILE)
    assert [cache.namespace(name)["name"] for name in HOSTILE] == HOSTILE
    for name in HOSTILE:
        assert cache.drop_namespace(name)
    assert cache.namespaces() == []


@given(st.lists(st.text(min_size=1, max_size=20), unique=True))
def test_directories_are_distinct_plain_and_tell_the_name(names):
    paths = StorePaths("/store")
    found = [
        paths.namespace(name).root.removeprefix("/store/namespaces/") for name in names
    ]
    assert len({directory.casefold() for directory in found}) == len(names)
    assert [maybe_namespace(directory) for directory in found] == names
    for directory in found:
        assert directory.isascii()
        assert not {"/", "\0", "."} & set(directory)
        assert len(directory) <= 240


@pytest.mark.parametrize(
    "directory", ["", "A", "%41%4", "%4A", "%61", ".dropped-0", "a.b", "%ff", "\udcff"]
)
def test_a_directory_of_any_other_name_is_no_namespace(directory):
    assert maybe_namespace(directory) is None


# Listed and dropped


def test_dropped_it_is_gone_and_can_be_made_anew(cache):
    inner = cache.namespace("inner")
    inner["key"] = 1
    assert cache.namespaces() == ["inner"]
    assert cache.drop_namespace("inner") is True
    assert cache.drop_namespace("inner") is False
    assert cache.namespaces() == []
    with pytest.raises(ClosedError):
        inner.get("key")
    again = cache.namespace("inner")
    assert len(again) == 0
    again["key"] = 2
    assert cache.namespaces() == ["inner"]


@durable_engines
def test_it_is_there_after_a_restart_open_or_not(open_cache, store_path):
    with open_cache() as cache:
        cache.namespace("kept")["key"] = 1
        cache.namespace("dropped")["key"] = 1
        cache.namespace("closed")["key"] = 1
        cache.namespace("closed").close()
    with open_cache() as cache:
        assert cache.namespaces() == ["closed", "dropped", "kept"]
        assert cache.drop_namespace("dropped")  # not open here
        assert cache.namespaces() == ["closed", "kept"]
        assert sorted(os.listdir(store_path / "namespaces")) == ["closed", "kept"]
        assert cache.namespace("kept")["key"] == 1
    with open_cache() as cache:
        assert cache.namespaces() == ["closed", "kept"]


@volatile_engines
def test_a_volatile_one_is_forgotten_when_it_is_closed(cache):
    inner = cache.namespace("inner")
    inner["key"] = 1
    inner.close()
    assert cache.namespaces() == []
    assert len(cache.namespace("inner")) == 0


@durable_engines
def test_what_a_drop_has_left_goes_with_the_next_open_for_writing(
    open_cache, store_path
):
    with open_cache() as cache:
        cache.namespace("inner")["key"] = 1
    left = StorePaths(str(store_path)).dropped(7)
    os.rename(store_path / "namespaces" / "inner", left)
    with open_cache(read_only=True) as cache:
        assert cache.namespaces() == []
        assert os.path.isdir(left)
    open_cache().close()
    assert os.listdir(store_path / "namespaces") == []


@durable_engines
def test_what_is_no_namespace_is_not_listed(open_cache, store_path):
    with open_cache() as cache:
        cache.namespace("inner")["key"] = 1
    inside = store_path / "namespaces"
    (inside / "Upper").mkdir()
    (inside / "empty").mkdir()
    (inside / "file").write_text("text")
    with open_cache() as cache:
        assert cache.namespaces() == ["inner"]
        assert cache.check().ok


# The cache with all that is in it


@durable_engines
def test_close_closes_them_and_a_restart_finds_all(open_cache):
    cache = open_cache()
    inner = cache.namespace("inner")
    inner["key"] = 1
    cache.close()
    assert inner.is_closed
    with pytest.raises(ClosedError, match="namespaces"):
        cache.namespace("inner")
    with pytest.raises(ClosedError):
        cache.namespaces()
    cache.close()
    with open_cache() as cache:
        assert cache.namespace("inner")["key"] == 1


def test_all_are_closed_where_one_of_them_fails(cache, monkeypatch):
    one, failing, other = (cache.namespace(name) for name in ("a", "b", "c"))
    close = failing._engine.close

    def fail():
        close()
        raise OSError("no luck")

    monkeypatch.setattr(failing._engine, "close", fail)
    with pytest.raises(OSError, match="no luck"):
        cache.close()
    monkeypatch.undo()
    assert one.is_closed
    assert other.is_closed
    assert cache.is_closed


def test_inside_a_transaction_nothing_is_closed(cache):
    inner = cache.namespace("inner")
    with pytest.raises(TransactionError), cache.transaction():
        cache.close()
    inner["key"] = 1
    assert not inner.is_closed


@durable_engines
def test_sync_is_of_all_that_are_open(open_cache):
    cache = open_cache()
    inner = cache.namespace("inner")
    inner["key"] = 1
    cache.sync()
    stats = inner.stats()
    assert stats.synced_lsn == stats.appended_lsn >= 1


@durable_engines
def test_check_reads_those_that_are_open_and_those_that_are_not(open_cache, store_path):
    with open_cache() as cache:
        cache["key"] = 0
        for name in ("damaged", "open", "whole"):
            cache.namespace(name).set_many({"a": 1, "b": 2})
        assert cache.check().entry_count == 7
    (store_path / "namespaces" / "damaged" / "STORE").write_bytes(b"{}")
    with open_cache() as cache:
        cache.namespace("open")
        report = cache.check()
        assert [problem.path for problem in report.problems] == [
            str(store_path / "namespaces" / "damaged" / "STORE")
        ]
        assert report.entry_count == 5
        assert cache.namespaces() == ["damaged", "open", "whole"]
        assert cache.drop_namespace("damaged")
        assert cache.check().ok


@durable_engines
def test_one_that_is_closed_meanwhile_is_checked_and_copied_all_the_same(
    open_cache, tmp_path, monkeypatch
):
    cache = open_cache()
    inner = cache.namespace("inner")
    inner["key"] = 1
    # As seen by a call that began before the close.
    monkeypatch.setattr(cache._namespaces, "all_open", lambda: {"inner": inner})
    inner.close()
    cache.sync()
    assert cache.check().entry_count == 1
    cache.backup(tmp_path / "copy")
    with open_cache(tmp_path / "copy") as copy:
        assert copy.namespace("inner")["key"] == 1


@durable_engines
def test_a_backup_has_all_of_them(open_cache, tmp_path):
    copy = tmp_path / "copy"
    with open_cache() as cache:
        cache["key"] = 0
        cache.namespace("closed")["key"] = 1
        cache.namespace("closed").close()
        cache.namespace("A/b")["key"] = 2
        cache.backup(copy)
        cache.namespace("A/b")["key"] = 3
        engine = cache.stats().engine
    assert os.listdir(tmp_path).count("copy") == 1
    with Cache(copy, engine=engine) as cache:
        assert cache.namespaces() == ["A/b", "closed"]
        assert cache["key"] == 0
        assert cache.namespace("closed")["key"] == 1
        assert cache.namespace("A/b")["key"] == 2


@durable_engines
def test_a_backup_that_fails_leaves_nothing(open_cache, store_path, tmp_path):
    with open_cache() as cache:
        cache["key"] = 0
        for name in ("a", "b"):
            cache.namespace(name)["key"] = 1
    (store_path / "namespaces" / "b" / "STORE").write_bytes(b"{}")
    before = sorted(os.listdir(tmp_path))
    with open_cache() as cache, pytest.raises(Exception, match="STORE"):
        cache.backup(tmp_path / "copy")
    assert sorted(os.listdir(tmp_path)) == before


@durable_engines
def test_a_read_only_cache_shows_them_and_makes_and_drops_none(open_cache):
    with open_cache() as cache:
        cache.namespace("inner")["key"] = 1
    cache = open_cache(read_only=True)
    assert cache.namespaces() == ["inner"]
    assert cache.namespace("inner")["key"] == 1
    with pytest.raises(ReadOnlyError):
        cache.namespace("inner").set("key", 2)
    with pytest.raises(ConfigError, match="no namespace 'other'"):
        cache.namespace("other")
    with pytest.raises(ReadOnlyError):
        cache.drop_namespace("inner")
    assert cache.namespaces() == ["inner"]


@durable_engines
def test_opened_by_its_path_it_still_has_no_namespaces(open_cache, store_path):
    with open_cache() as cache:
        cache.namespace("inner")["key"] = 1
        engine = cache.stats().engine
    with Cache(store_path / "namespaces" / "inner", engine=engine) as inner:
        assert inner["key"] == 1
        with pytest.raises(ConfigError, match="one level"):
            inner.namespace("deeper")


@durable_engines
def test_what_it_takes_on_disk_is_counted_where_it_is(open_cache):
    cache = open_cache()
    before = cache.stats().disk_bytes
    inner = cache.namespace("inner")
    inner["key"] = os.urandom(20_000)
    inner.sync()
    assert cache.stats().disk_bytes == before
    assert inner.stats().disk_bytes > 20_000

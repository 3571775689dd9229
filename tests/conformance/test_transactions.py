"""Transactions of Cache: all or nothing, readable inside, alone among writers."""

import threading

import pytest

from hypercache.engines.base import Put
from hypercache.errors import ArgumentTypeError, LimitError, TransactionError
from tests.support.engines import cache_over
from tests.support.processes import Threads


class StopError(Exception):
    pass


def rolled_back(cache, change, error=StopError):
    """Run `change` in a transaction that ends with the error."""

    def run():
        with cache.transaction():
            change()
            raise error

    with pytest.raises(error):
        run()


def contents(cache):
    return dict(cache.scan())


@pytest.fixture
def filled(cache):
    cache.set_many({"a": 1, "b": 2, "c": 3})
    cache.checkpoint()
    cache.set("b", 20)
    return cache


def test_a_transaction_is_there_when_its_block_has_ended(filled):
    with filled.transaction() as same:
        assert same is filled
        assert filled.set("a", 10) == 0
        assert filled.delete("b")
        filled["d"] = 4
    assert contents(filled) == {b"a": 10, b"c": 3, b"d": 4}
    filled.checkpoint()
    assert contents(filled) == {b"a": 10, b"c": 3, b"d": 4}


def test_a_transaction_that_raises_changes_nothing(filled):
    def change():
        filled.set("a", 10)
        filled.delete("b")
        filled.clear()
        filled.set("d", 4)

    rolled_back(filled, change)
    assert contents(filled) == {b"a": 1, b"b": 20, b"c": 3}
    filled.set("a", 5)
    assert filled["a"] == 5


def test_an_interrupted_transaction_changes_nothing(filled):
    for interruption in (KeyboardInterrupt, GeneratorExit, SystemExit):
        rolled_back(filled, lambda: filled.set("a", 10), interruption)
        assert filled["a"] == 1
    with Threads() as threads:
        threads.start(filled.set, "a", 2)
        threads.join()
    assert filled["a"] == 2


def test_an_empty_transaction_is_no_write(filled):
    before = filled.stats().appended_lsn
    with filled.transaction():
        assert filled["a"] == 1
    assert filled.stats().appended_lsn == before


def test_a_transaction_reads_its_own_writes_with_every_operation(filled):
    with filled.transaction():
        filled.set("a", 10, ttl=60)
        assert filled.delete_many(["b", "x"]) == 1
        filled.set_many({"d": 4, "e": 5})
        assert filled.get("a") == 10
        assert filled.ttl("a") == pytest.approx(60, abs=5)
        assert filled.get("b", "gone") == "gone"
        assert "b" not in filled
        assert "d" in filled
        assert filled.get_many(["a", "b", b"d"]) == {"a": 10, b"d": 4}
        assert len(filled) == 4
        assert list(filled) == [b"a", b"c", b"d", b"e"]
        assert list(filled.scan(start="b", reverse=True)) == [
            (b"e", 5),
            (b"d", 4),
            (b"c", 3),
        ]
        assert list(filled.scan("d")) == [(b"d", 4)]
        assert list(filled.scan(limit=1)) == [(b"a", 10)]
        with pytest.raises(KeyError):
            filled["b"]
        assert filled.add("b", 2)
        assert not filled.add("a", 2)
        assert filled.replace("b", 3)
        assert not filled.replace("x", 3)
        assert filled.cas("b", 3, 4)
        assert not filled.cas("b", 3, 5)
        assert filled.incr("b") == 5
        assert filled.decr("n", 2) == -2
        assert filled.touch("e", 30)
        assert not filled.touch("x", 30)
        assert filled.pop("c") == 3
        assert filled.pop("c", None) is None
        assert not filled.delete("c")
        assert filled.get_or_set("f", lambda: 6) == 6
        assert filled.get_or_set("f", lambda: 7) == 6
    assert contents(filled) == {b"a": 10, b"b": 5, b"d": 4, b"e": 5, b"f": 6, b"n": -2}
    assert filled.ttl("e") == pytest.approx(30, abs=5)
    assert filled.ttl("a") == pytest.approx(60, abs=5)


def test_clear_inside_removes_what_was_and_keeps_what_comes(filled):
    with filled.transaction():
        filled.set("z", 26)
        filled.clear()
        assert len(filled) == 0
        assert list(filled.scan()) == []
        filled.set("b", "new")
    assert contents(filled) == {b"b": "new"}
    filled.checkpoint()
    assert contents(filled) == {b"b": "new"}


def test_an_entry_may_expire_inside_a_transaction(open_engine, clock, opened):
    cache = opened.add(cache_over(open_engine(clock=clock)))
    cache.set("below", 1, ttl=10)
    with cache.transaction():
        cache.set("own", 1, ttl=10)
        clock.advance(11)
        assert "own" not in cache
        assert "below" not in cache
        assert len(cache) == 0
        assert not cache.touch("own", 100)
        assert cache.add("below", 2)
    assert contents(cache) == {b"below": 2}


def test_a_nested_transaction_that_fails_takes_back_only_its_own(filled):
    def change():
        assert filled["a"] == 10
        filled.set("a", 11)
        filled.set("d", 4)
        filled.delete("c")
        assert filled["a"] == 11

    with filled.transaction():
        filled.set("a", 10)
        rolled_back(filled, change)
        assert contents(filled) == {b"a": 10, b"b": 20, b"c": 3}
        with filled.transaction():
            filled.set("e", 5)
            filled.delete("b")
        assert contents(filled) == {b"a": 10, b"c": 3, b"e": 5}
    assert contents(filled) == {b"a": 10, b"c": 3, b"e": 5}


def test_an_outer_transaction_that_fails_takes_back_the_inner_too(filled):
    def change():
        with filled.transaction():
            filled.set("a", 10)

    rolled_back(filled, change)
    assert contents(filled) == {b"a": 1, b"b": 20, b"c": 3}


def test_a_refused_write_inside_leaves_the_transaction_whole(filled):
    with filled.transaction():
        filled.set("a", 10)
        with pytest.raises(LimitError):
            filled.set("", 1)
        with pytest.raises(LimitError):
            filled.set_many({"d": 1, "": 1})
        with pytest.raises(ArgumentTypeError):
            filled.set("d", object())
        filled.set("e", 5)
    assert contents(filled) == {b"a": 10, b"b": 20, b"c": 3, b"e": 5}


def test_what_cannot_be_done_inside_is_refused(filled):
    with filled.transaction():
        filled.set("a", 10)
        for refused in (filled.sync, filled.checkpoint, filled.check, filled.close):
            with pytest.raises(TransactionError, match="transaction"):
                refused()
        with pytest.raises(TransactionError):
            filled.wait_durable(0)
        with pytest.raises(TransactionError):
            filled._engine.compact()
        with pytest.raises(TransactionError):
            filled._engine.backup("nowhere")
        assert filled._engine.refresh() == filled.stats().appended_lsn
        assert filled.stats().engine
        filled.set("d", 4)
    assert contents(filled) == {b"a": 10, b"b": 20, b"c": 3, b"d": 4}
    assert filled.check().ok


def test_others_see_nothing_until_the_block_has_ended(filled):
    seen = []

    def look():
        seen.append((filled["a"], "d" in filled, len(filled), list(filled)))

    with filled.transaction():
        filled.set("a", 10)
        filled.set("d", 4)
        with Threads() as threads:
            threads.start(lambda: seen.append((filled["a"], "d" in filled)))
            threads.join()
    with Threads() as threads:
        threads.start(look)
        threads.join()
    assert seen == [(1, False), (10, True, 4, [b"a", b"b", b"c", b"d"])]


def test_writes_of_others_wait_for_the_end_of_the_block(filled):
    def in_transaction():
        with filled.transaction():
            filled.set("other", filled["a"])

    writes = {
        "set": lambda: filled.set("a", "other"),
        "transaction": in_transaction,
        "delete_many": lambda: filled.delete_many(["b"]),
        "incr": lambda: filled.incr("c"),
    }
    done = {name: threading.Event() for name in writes}

    def write(name):
        writes[name]()
        done[name].set()

    with Threads() as threads:
        with filled.transaction():
            for name in writes:
                threads.start(write, name)
            # Nothing tells that a thread waits; a moment is given to the wrong ones.
            assert not any(event.wait(0.03) for event in done.values())
            assert (filled["a"], filled["b"], filled["c"]) == (1, 20, 3)
            filled.set("a", 10)
        threads.join()
    assert filled["a"] == "other"
    assert filled["other"] in (10, "other")
    assert filled["c"] == 4
    assert "b" not in filled


def test_transactions_of_many_threads_lose_no_update(cache):
    cache.set_many({"x": 0, "y": 0})

    def work():
        for _ in range(25):
            with cache.transaction():
                total = cache["x"]
                cache.set("x", total + 1)
                cache.set("y", cache["y"] + 1)
            cache.incr("x")

    with Threads() as threads:
        for _ in range(4):
            threads.start(work)
    assert cache.get_many(["x", "y"]) == {"x": 200, "y": 100}


def test_readers_see_a_transaction_whole_or_not_at_all(cache):
    keys = [f"k{n}" for n in range(8)]
    cache.set_many(dict.fromkeys(keys, 0))

    def read():
        while not threads.stopping.is_set():
            values = set(cache.get_many(keys).values())
            assert len(values) == 1, values

    with Threads() as threads:
        threads.start(read)
        for n in range(60):
            with cache.transaction():
                for key in keys:
                    cache.set(key, n)
            if n % 20 == 0:
                cache.checkpoint()


def test_a_transaction_is_one_batch(open_cache, engine_case):
    cache = open_cache()
    cache.set("a", 1)
    before = cache.stats().appended_lsn
    with cache.transaction():
        for n in range(10):
            cache.set("a", n)
        cache.set("b", 1)
        cache.delete("nothing")
    written = cache.stats().appended_lsn - before
    assert written <= 2
    assert cache._engine.apply([Put(b"c", b"\x01")]) == cache.stats().appended_lsn

"""What a Cache refuses, and what a closed one does."""

import pytest

from hypercache import Cache
from hypercache.errors import (
    ArgumentTypeError,
    ClosedError,
    LimitError,
    SerializationError,
)
from tests.support.operations import key_operations, wrong_answers
from tests.support.processes import Threads

BAD_KEYS = [b"", "", b"k" * 65_536, "\u00e4" * 32_768]
NOT_KEYS = [None, 1, 1.5, bytearray(b"k"), memoryview(b"k"), ("k",), "\ud800"]


# Bad keys and values


def test_a_key_out_of_range_is_refused_by_every_operation(cache):
    cache.set("a", 1)
    for key in BAD_KEYS:
        assert wrong_answers(key_operations(cache, key), LimitError) == {}
    assert dict(cache.scan()) == {b"a": 1}


def test_a_key_of_another_type_is_refused_by_every_operation(cache):
    cache.set("a", 1)
    for key in NOT_KEYS:
        operations = key_operations(cache, key)
        if key.__hash__ is None:  # what cannot be in a dict never gets that far
            del operations["get_many"]
        assert wrong_answers(operations, ArgumentTypeError) == {}
    assert dict(cache.scan()) == {b"a": 1}


def test_an_unserializable_value_is_refused_by_every_operation(cache):
    cache.set("a", 1)
    bad = {"deep": [1, object()]}
    operations = {
        "set": lambda: cache.set("a", bad),
        "add": lambda: cache.add("new", bad),
        "replace": lambda: cache.replace("a", bad),
        "cas": lambda: cache.cas("a", 1, bad),
        "get_or_set": lambda: cache.get_or_set("new", lambda: bad),
        "set_many": lambda: cache.set_many({"a": 2, "new": bad}),
        "set item": lambda: cache.__setitem__("a", bad),
    }
    assert wrong_answers(operations, SerializationError) == {}
    assert dict(cache.scan()) == {b"a": 1}


def test_a_failed_comparison_or_encoding_blocks_nobody(cache):
    class Grumpy:
        def __eq__(self, other):
            raise RuntimeError("no")

        __hash__ = None

    cache.set("key", 1)
    with pytest.raises(RuntimeError, match="no"):
        cache.cas("key", Grumpy(), 2)
    with Threads() as threads:
        threads.start(cache.set, "key", 3)
        threads.join()
    assert cache["key"] == 3


# The end


def test_a_closed_cache_refuses_every_operation(cache):
    cache.set("a", 1)
    view = cache.scan()
    cache.close()
    cache.close()
    operations = key_operations(cache, "a") | {
        "set_many": lambda: cache.set_many({"a": 1}),
        "set_many of nothing": lambda: cache.set_many({}),
        "get_many of nothing": lambda: cache.get_many([]),
        "clear": cache.clear,
        "scan": lambda: list(cache.scan()),
        "a scan from before": lambda: list(view),
        "len": lambda: len(cache),
        "iter": lambda: list(cache),
        "transaction": lambda: cache.transaction().__enter__(),
        "sync": cache.sync,
        "wait_durable": lambda: cache.wait_durable(0),
        "checkpoint": cache.checkpoint,
        "check": cache.check,
        "stats": cache.stats,
    }
    assert wrong_answers(operations, ClosedError) == {}


def test_leaving_the_block_closes_the_cache(open_cache):
    with open_cache() as cache:
        cache.set("a", 1)
    with pytest.raises(ClosedError):
        cache.get("a")
    with pytest.raises(RuntimeError, match="mine"), open_cache() as cache:
        raise RuntimeError("mine")
    with pytest.raises(ClosedError):
        cache.get("a")


def test_a_forgotten_cache_lets_go_of_its_store(engine_case, opened, store_path):
    cache = engine_case.open_cache(store_path)
    cache.set("a", 1)
    del cache
    again = opened.add(engine_case.open_cache(store_path))
    assert again.get("a") == (1 if engine_case.durable else None)


def test_many_threads_may_use_one_cache(cache):
    rounds = 40

    def work(name):
        for n in range(rounds):
            cache.incr("shared")
            cache.set_many({f"{name}-{n}-x": n, f"{name}-{n}-y": n})
            assert cache.get_many([f"{name}-{n}-x", f"{name}-{n}-y"])
            assert cache.add(f"{name}-{n}", n)
            assert cache.cas(f"{name}-{n}", n, "swapped")
            assert cache.delete(f"{name}-{n}-x")
            assert cache.pop(f"{name}-{n}-y") == n

    with Threads() as threads:
        for name in "abcdef":
            threads.start(work, name)
    assert cache["shared"] == 6 * rounds
    assert len(cache) == 6 * rounds + 1


def test_only_one_of_many_threads_wins_an_add_or_a_cas(cache):
    cache.set("swap", 0)
    won = []

    def work(name):
        for n in range(25):
            if cache.add(f"add-{n}", name):
                won.append(f"add-{n}")
            if cache.cas("swap", n, n + 1):
                won.append(n)

    with Threads() as threads:
        for name in range(6):
            threads.start(work, name)
    assert len(won) == len(set(won))
    assert {f"add-{n}" for n in range(25)} <= set(won)


def test_without_a_path_there_is_nothing_to_keep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Cache() as cache:
        cache.set("a", 1)
        assert cache.stats().engine == "memory"
        assert cache.stats().path is None
    assert list(tmp_path.iterdir()) == []

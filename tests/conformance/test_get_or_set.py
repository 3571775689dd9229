"""A missing value is made once, on every engine, for threads and coroutines."""

import asyncio
import contextlib
import logging
import threading
import time

import pytest

from hypercache.errors import (
    ArgumentTypeError,
    ConfigError,
    LimitError,
    ReentrantCallError,
    SerializationError,
)
from tests.support.processes import Threads

WAIT_S = 20


class Gate:
    """A factory that says when it was called, and goes on when it is let."""

    def __init__(self, result="made", error=None):
        self.result, self.error = result, error
        self.called, self.go = threading.Event(), threading.Event()
        self.count = 0

    def __call__(self):
        self.count += 1
        self.called.set()
        assert self.go.wait(WAIT_S)
        if self.error is not None:
            raise self.error
        return self.result


class MakeError(Exception):
    pass


def failing():
    raise MakeError


def never():
    raise AssertionError("called although there is a value")


def in_threads(count, function):
    threads = Threads()
    for _ in range(count):
        threads.start(function)
    return threads


def test_a_present_value_is_returned_and_nothing_called(cache):
    cache.set("key", [1])
    assert cache.get_or_set("key", never) == [1]


def test_a_missing_value_is_made_stored_and_returned(cache):
    assert cache.get_or_set("key", lambda: {"a": 1}) == {"a": 1}
    assert cache.get_or_set("key", never) == {"a": 1}


def test_none_is_a_value(cache):
    assert cache.get_or_set("key", lambda: None) is None
    assert cache.get_or_set("key", never) is None


def test_many_threads_make_a_value_once(cache):
    gate, results = Gate([1, 2]), []
    threads = in_threads(8, lambda: results.append(cache.get_or_set("key", gate)))
    assert gate.called.wait(WAIT_S)
    gate.go.set()
    threads.join()
    assert results == [[1, 2]] * 8
    assert gate.count == 1


def test_each_waiter_has_a_value_of_its_own(cache):
    gate, results = Gate([1]), []
    threads = in_threads(4, lambda: results.append(cache.get_or_set("key", gate)))
    assert gate.called.wait(WAIT_S)
    gate.go.set()
    threads.join()
    assert len(set(map(id, results))) == 4


def test_all_who_waited_get_the_error_and_the_next_tries_again(cache):
    gate, errors = Gate(error=MakeError()), []

    def ask():
        try:
            cache.get_or_set("key", gate)
        except MakeError as error:
            errors.append(error)

    with all_waiting(cache, gate, 5, ask):
        gate.go.set()
    assert len(errors) == 5
    assert gate.count == 1
    assert cache.get_or_set("key", lambda: 2) == 2


@contextlib.contextmanager
def all_waiting(cache, gate, count, function):
    """Have threads call a function, one at the gate and the others behind it."""
    threads = in_threads(1, function)
    assert gate.called.wait(WAIT_S)
    for _ in range(count - 1):
        threads.start(function)
    (flight,) = cache._flights._flights.values()
    ends_at = time.monotonic() + WAIT_S
    while flight.waiting < count - 1:
        assert time.monotonic() < ends_at
        gate.go.wait(0.001)
    yield
    threads.join()


def test_keys_do_not_wait_for_each_other(cache):
    gate = Gate(1)
    threads = in_threads(1, lambda: cache.get_or_set("slow", gate))
    assert gate.called.wait(WAIT_S)
    assert cache.get_or_set("fast", lambda: 2) == 2
    gate.go.set()
    threads.join()
    assert cache["slow"] == 1


@pytest.mark.parametrize("take_away", ["delete", "clear", "invalidate"])
def test_what_is_taken_away_meanwhile_is_returned_but_not_kept(cache, take_away):
    gate, results = Gate("outdated"), []
    threads = in_threads(
        1, lambda: results.append(cache.get_or_set("key", gate, tags=("t",)))
    )
    assert gate.called.wait(WAIT_S)
    getattr(cache, take_away)(
        *{"delete": ["key"], "invalidate": ["t"]}.get(take_away, [])
    )
    gate.go.set()
    threads.join()
    assert results == ["outdated"]
    assert "key" not in cache
    assert cache.get_or_set("key", lambda: "new", tags=("t",)) == "new"


def test_a_factory_may_ask_for_other_keys(cache):
    assert cache.get_or_set("a", lambda: cache.get_or_set("b", lambda: 1) + 1) == 2
    assert dict(cache.scan()) == {b"a": 2, b"b": 1}


def test_a_factory_that_asks_for_its_own_key_is_refused(cache):
    with pytest.raises(ReentrantCallError, match="never end"):
        cache.get_or_set("key", lambda: cache.get_or_set("key", lambda: 1))
    assert cache.get_or_set("key", lambda: 2) == 2


def test_two_threads_that_would_wait_for_each_other_are_refused(cache):
    inside = threading.Barrier(2)
    results = []

    def ask(mine, other):
        def factory():
            inside.wait(WAIT_S)
            try:
                return cache.get_or_set(other, lambda: f"{other} inside")
            except ReentrantCallError:
                return "refused"

        results.append(cache.get_or_set(mine, factory))

    threads = Threads()
    threads.start(ask, "a", "b")
    threads.start(ask, "b", "a")
    threads.join()
    assert results == ["refused", "refused"]


def test_inside_a_transaction_a_value_is_made_without_waiting(cache):
    gate = Gate("outside")
    threads = in_threads(1, lambda: cache.get_or_set("key", gate))
    assert gate.called.wait(WAIT_S)
    with cache.transaction():
        assert cache.get_or_set("key", lambda: "inside") == "inside"
    gate.go.set()
    threads.join()
    assert cache["key"] in ("inside", "outside")


def test_a_value_that_cannot_be_stored_is_an_error_and_leaves_nothing_behind(cache):
    with pytest.raises(SerializationError):
        cache.get_or_set("key", object)
    assert len(cache) == 0
    assert cache.get_or_set("key", lambda: 1) == 1


def test_a_coroutine_function_is_refused(cache):
    async def factory():
        return 1

    with pytest.raises(ArgumentTypeError, match="async"):
        cache.get_or_set("key", factory)
    assert len(cache) == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"ttl": 0}, LimitError),
        ({"stale_ttl": -1}, LimitError),
        ({"stale_if_error": "x"}, ArgumentTypeError),
        ({"early_refresh": -1}, ConfigError),
        ({"early_refresh": True}, ConfigError),
        ({"early_refresh": float("inf")}, ConfigError),
        ({"tags": "t"}, ArgumentTypeError),
        ({"lease": 0}, LimitError),
    ],
    ids=repr,
)
def test_arguments_are_checked_before_anything_is_called(cache, arguments, error):
    with pytest.raises(error):
        cache.get_or_set("key", never, **arguments)


def test_a_stale_value_is_returned_while_one_caller_makes_a_new_one(timed, clock):
    cache = timed()
    how = {"ttl": 10, "stale_ttl": 5}
    cache.get_or_set("key", lambda: "old", **how)
    clock.advance(12)
    assert cache.get("key") is None
    assert "key" not in cache
    assert len(cache) == 0
    gate, results = Gate("new"), []
    threads = in_threads(
        1, lambda: results.append(cache.get_or_set("key", gate, **how))
    )
    assert gate.called.wait(WAIT_S)
    assert cache.get_or_set("key", never, **how) == "old"
    gate.go.set()
    threads.join()
    assert results == ["new"]
    assert cache["key"] == "new"


def test_behind_its_stale_time_a_value_is_gone(timed, clock):
    cache = timed()
    cache.get_or_set("key", lambda: "old", ttl=10, stale_ttl=5)
    clock.advance(15)
    assert cache.get_or_set("key", lambda: "new", ttl=10, stale_ttl=5) == "new"


def test_if_making_fails_the_last_value_is_returned_and_the_error_logged(
    timed, clock, caplog
):
    cache = timed()
    how = {"ttl": 10, "stale_if_error": 20}
    cache.get_or_set("key", lambda: "old", **how)
    clock.advance(20)
    assert cache.get_or_set("key", failing, **how) == "old"
    assert "MakeError" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING
    clock.advance(10)
    with pytest.raises(MakeError):
        cache.get_or_set("key", failing, **how)


def test_all_who_wait_for_a_failing_maker_get_the_last_value(timed, clock):
    cache = timed()
    how = {"ttl": 10, "stale_if_error": 20}
    cache.get_or_set("key", lambda: "old", **how)
    clock.advance(20)
    gate, results = Gate(error=MakeError()), []
    ask = lambda: results.append(cache.get_or_set("key", gate, **how))  # noqa: E731
    with all_waiting(cache, gate, 4, ask):
        gate.go.set()
    assert results == ["old"] * 4
    assert gate.count == 1


def test_touch_makes_a_stale_value_no_fresher_and_a_fresh_one_last(timed, clock):
    cache = timed()
    how = {"ttl": 10, "stale_ttl": 100}
    cache.get_or_set("key", lambda: "old", **how)
    assert 9 < cache.ttl("key") <= 10
    assert cache.touch("key", 50)
    clock.advance(40)
    assert cache["key"] == "old"
    clock.advance(11)
    assert not cache.touch("key", 50)


def test_early_refresh_makes_a_value_anew_before_its_time(timed, clock):
    cache = timed()
    how = {"ttl": 100, "early_refresh": 1e9}

    def slow():
        clock.advance(1)
        return "old"

    cache.get_or_set("key", slow, **how)
    assert cache["key"] == "old"
    assert cache.get_or_set("key", lambda: "new", **how) == "new"


def test_a_value_that_takes_no_time_is_not_made_early(timed, clock):
    cache = timed()
    how = {"ttl": 100, "early_refresh": 1.0}
    cache.get_or_set("key", lambda: "old", **how)
    clock.advance(99)
    assert cache.get_or_set("key", never, **how) == "old"


def test_tasks_of_one_loop_make_a_value_once(cache):
    calls = []

    @cache.memoize()
    async def make(number):
        calls.append(number)
        await asyncio.sleep(0)
        return [number]

    async def main():
        return await asyncio.gather(*(make(7) for _ in range(50)))

    assert asyncio.run(main()) == [[7]] * 50
    assert calls == [7]


def test_a_cancelled_maker_leaves_it_to_one_who_waits(cache):
    async def main():
        started, calls = asyncio.Event(), []

        @cache.memoize()
        async def make():
            calls.append(1)
            if len(calls) == 1:
                started.set()
                await asyncio.Event().wait()
            return "made"

        first = asyncio.create_task(make())
        await started.wait()
        others = [asyncio.create_task(make()) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.gather(*others) == ["made"] * 3
        with pytest.raises(asyncio.CancelledError):
            await first
        return calls

    assert asyncio.run(main()) == [1, 1]


def test_a_cancelled_waiter_disturbs_nobody(cache):
    async def main():
        started, go = asyncio.Event(), asyncio.Event()

        @cache.memoize()
        async def make():
            started.set()
            await go.wait()
            return "made"

        first = asyncio.create_task(make())
        await started.wait()
        second, third = (asyncio.create_task(make()) for _ in range(2))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        go.set()
        assert await first == await third == "made"

    asyncio.run(main())


def test_tasks_that_would_wait_for_each_other_are_refused(cache):
    @cache.memoize()
    async def recursive(number):
        inner = asyncio.create_task(recursive(number))
        return await inner

    with pytest.raises(ReentrantCallError):
        asyncio.run(recursive(1))


def test_blocking_on_a_coroutine_of_the_same_loop_is_refused(cache):
    @cache.memoize(name="one", key=lambda: "same")
    async def make():
        await asyncio.sleep(0)
        return cache_blocks()

    def cache_blocks():
        return cache.get_or_set(b"one:other", lambda: 1)

    async def main():
        async def outer():
            return await make()

        task = asyncio.create_task(outer())
        await asyncio.sleep(0)
        with pytest.raises(ReentrantCallError, match="event loop"):
            cache.get_or_set(make.key(), lambda: 2)
        return await task

    assert asyncio.run(main()) == 1

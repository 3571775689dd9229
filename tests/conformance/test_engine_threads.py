"""Any number of threads may use one engine."""

from itertools import pairwise

import pytest

from hypercache.engines.base import Delete, Put
from hypercache.errors import ClosedError
from tests.support.processes import Threads, turns_for
from tests.support.seeds import seeded

SEED = 7
RACE_S = 0.5


@pytest.fixture
def engine(open_engine):
    return open_engine()  # with a clock that runs


def number(data):
    return int(data) if data is not None else 0


def increment(engine, key, padding=0):
    def change(entry):
        count = number(entry.value.strip() if entry else None) + 1
        return Put(key, b"%d" % count + b" " * padding)

    return engine.update(key, change)


def test_no_increment_of_one_key_is_lost(engine):
    def work():
        for _ in range(120):
            increment(engine, b"counter", padding=100)

    with Threads() as threads:
        for _ in range(8):
            threads.start(work)
        threads.join()
    assert number(engine.get(b"counter").strip()) == 960


def test_an_own_write_is_there_when_the_call_returns(engine):
    def work(name):
        for n in range(100):
            key = b"%s-%d" % (name, n % 7)
            engine.put(key, b"%d" % n)
            assert engine.get(key) == b"%d" % n
            engine.apply([Delete(key), Put(key + b"x", b"%d" % n)])
            assert engine.get_many([key, key + b"x"]) == {key + b"x": b"%d" % n}

    with Threads() as threads:
        for name in (b"a", b"b", b"c", b"d"):
            threads.start(work, name)


def read_numbers(engine, keys, how):
    if how == "scan":
        return {key: number(entry.value) for key, entry in engine.scan()}
    if how == "get_many":
        return {key: number(data) for key, data in engine.get_many(keys).items()}
    if how == "get":
        return {key: number(engine.get(key)) for key in keys}
    entries = {key: engine.get_entry(key) for key in keys}
    return {key: number(entry.value) for key, entry in entries.items() if entry}


@pytest.mark.parametrize("how", ["get", "get_entry", "get_many", "scan"])
def test_no_reader_sees_a_value_go_backwards_while_checkpoints_run(engine, how):
    keys = [b"k%d" % n for n in range(5)]

    def read():
        seen = dict.fromkeys(keys, 0)
        while not threads.stopping.is_set():
            for key, count in read_numbers(engine, keys, how).items():
                assert count >= seen[key], f"{key!r}: {count} after {seen[key]}"
                seen[key] = count

    def make_checkpoints():
        while not threads.stopping.is_set():
            engine.checkpoint()

    with Threads() as threads:
        for _ in range(2):
            threads.start(read)
        threads.start(make_checkpoints)
        turn_count = 0
        for _ in turns_for(RACE_S):
            turn_count += 1
            for key in keys:
                increment(engine, key)
    assert {number(engine.get(key)) for key in keys} == {turn_count}


def test_a_batch_is_seen_whole_or_not_at_all(engine):
    keys = [b"k%02d" % n for n in range(12)]
    engine.apply([Put(key, b"0") for key in keys])

    def read():
        while not threads.stopping.is_set():
            found = engine.get_many(keys)
            assert len(found) in (0, len(keys))
            assert len(set(found.values())) <= 1, found

    def make_checkpoints():
        while not threads.stopping.is_set():
            engine.checkpoint()

    with Threads() as threads:
        threads.start(read)
        threads.start(read)
        threads.start(make_checkpoints)
        for n in turns_for(RACE_S):
            engine.apply([Put(key, b"%d" % n) for key in keys])
            if n % 3 == 0:
                engine.apply([Delete(key) for key in keys])
                engine.apply([Put(key, b"%d" % n) for key in keys])


def test_a_scan_beside_writers_misses_nothing_that_was_always_there(engine):
    fixed = {b"f%04d" % n for n in range(0, 1_200, 2)}
    engine.apply([Put(key, b"same") for key in fixed])
    rng = seeded(SEED)

    def write():
        while not threads.stopping.is_set():
            key = b"f%04d" % rng.randrange(1, 1_200, 2)
            engine.put(key, b"new")
            engine.apply([Delete(b"f%04d" % rng.randrange(1, 1_200, 2))])
            engine.put(rng.choice(sorted(fixed)), b"same")

    def make_checkpoints():
        while not threads.stopping.is_set():
            engine.checkpoint()

    with Threads() as threads:
        threads.start(write)
        threads.start(make_checkpoints)
        for turn in turns_for(RACE_S):
            keys = [key for key, _ in engine.scan(reverse=bool(turn % 2))]
            ordered = keys[::-1] if turn % 2 else keys
            assert all(left < right for left, right in pairwise(ordered))
            assert fixed <= set(keys)


def test_an_exclusive_block_keeps_other_writers_out(engine):
    engine.put(b"total", b"0")

    def work():
        for _ in range(40):
            with engine.exclusive():
                total = number(engine.get(b"total"))
                engine.put(b"total", b"%d" % (total + 1))

    def bump():
        for _ in range(40):
            increment(engine, b"total")

    with Threads() as threads:
        for _ in range(3):
            threads.start(work)
            threads.start(bump)
        threads.join()
    assert number(engine.get(b"total")) == 240


def test_readers_go_on_while_a_block_keeps_writers_out(engine):
    engine.put(b"log", b"1")
    engine.checkpoint()
    engine.put(b"new", b"2")
    found = {}

    def read():
        found["get"] = engine.get(b"log"), engine.get(b"new")
        found["entry"] = engine.get_entry(b"log").value
        found["scan"] = [key for key, _ in engine.scan()]

    with engine.exclusive(), Threads() as threads:
        threads.start(read)
        threads.join()
    assert found == {
        "get": (b"1", b"2"),
        "entry": b"1",
        "scan": [b"log", b"new"],
    }


def test_clear_and_writers_agree_on_what_is_left(engine):
    rounds = 30

    def write(name):
        for n in range(rounds):
            engine.apply([Put(b"%s-%d" % (name, m), b"%d" % n) for m in range(5)])

    def clear():
        for _ in range(rounds):
            engine.clear()
            engine.checkpoint()

    with Threads() as threads:
        threads.start(write, b"a")
        threads.start(write, b"b")
        threads.start(clear)
        threads.join()
    found = {key: entry.value for key, entry in engine.scan()}
    assert engine.count() == len(found)
    assert engine.get_many(list(found)) == found
    for name in (b"a", b"b"):
        mine = {value for key, value in found.items() if key.startswith(name)}
        assert len(mine) <= 1, "a clear split a batch"


def test_check_and_stats_run_beside_writers(engine):
    def write(name):
        n = 0
        while not threads.stopping.is_set():
            engine.put(b"%s-%d" % (name, n % 50), b"%d" % n)
            n += 1

    with Threads() as threads:
        threads.start(write, b"a")
        threads.start(write, b"b")
        for _ in range(3):
            report = engine.check()
            assert report.ok, report.problems
            stats = engine.stats()
            assert stats.checkpoint_lsn <= stats.appended_lsn


def test_a_close_beside_readers_and_writers_ends_them_with_closed_error(engine):
    engine.apply([Put(b"k%03d" % n, b"v" * 20) for n in range(200)])
    engine.checkpoint()
    acknowledged = [0, 0]

    def forever(step):
        while True:
            step()

    def until_closed(step):
        with pytest.raises(ClosedError):
            forever(step)

    def write(who):
        engine.put(b"w%d" % who, b"%d" % (acknowledged[who] + 1))
        acknowledged[who] += 1

    with Threads() as threads:
        threads.start(until_closed, lambda: write(0))
        threads.start(until_closed, lambda: write(1))
        threads.start(
            until_closed, lambda: engine.get(b"k%03d" % (acknowledged[0] % 200))
        )
        threads.start(until_closed, lambda: list(engine.scan()))
        threads.start(until_closed, lambda: engine.get_many([b"k001", b"k150"]))
        while min(acknowledged) < 20 and not threads.stopping.is_set():
            engine.count()
        engine.close()
        threads.join()

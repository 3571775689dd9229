"""Any number of threads may use one engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise

import pytest

from hypercache.engines import StorageEngine
from hypercache.engines.base import Delete, Entry, Put
from hypercache.errors import ClosedError
from hypercache.testing.engine_conformance.opening import Opening
from hypercache.testing.seeds import seeded
from hypercache.testing.threads import Threads, turns_for

SEED = 7
RACE_S = 0.5


def number(data: bytes | None) -> int:
    """Return what a value counts, 0 for an absent one."""
    return int(data) if data is not None else 0


def increment(engine: StorageEngine, key: bytes, padding: int = 0) -> int | None:
    """Add one to a number; the padding makes the value longer."""

    def change(entry: Entry | None) -> Put:
        count = number(entry.value.strip() if entry else None) + 1
        return Put(key, b"%d" % count + b" " * padding)

    return engine.update(key, change)


def read_numbers(
    engine: StorageEngine, keys: list[bytes], how: str
) -> dict[bytes, int]:
    """Read the numbers with one of the reading methods."""
    if how == "scan":
        return {key: number(entry.value) for key, entry in engine.scan()}
    if how == "get_many":
        return {key: number(data) for key, data in engine.get_many(keys).items()}
    if how == "get":
        return {key: number(engine.get(key)) for key in keys}
    entries = {key: engine.get_entry(key) for key in keys}
    return {key: number(entry.value) for key, entry in entries.items() if entry}


class Races(Opening):
    """Hold an engine to what it promises threads."""

    def test_no_increment_of_one_key_is_lost(self, shared: StorageEngine) -> None:
        def work() -> None:
            for _ in range(120):
                increment(shared, b"counter", padding=100)

        with Threads() as threads:
            for _ in range(8):
                threads.start(work)
            threads.join()
        assert number(shared.get(b"counter")) == 960

    def test_an_own_write_is_there_when_the_call_returns(
        self, shared: StorageEngine
    ) -> None:
        def work(name: bytes) -> None:
            for n in range(100):
                key = b"%s-%d" % (name, n % 7)
                shared.put(key, b"%d" % n)
                assert shared.get(key) == b"%d" % n
                shared.apply([Delete(key), Put(key + b"x", b"%d" % n)])
                assert shared.get_many([key, key + b"x"]) == {key + b"x": b"%d" % n}

        with Threads() as threads:
            for name in (b"a", b"b", b"c", b"d"):
                threads.start(work, name)

    @pytest.mark.parametrize("how", ["get", "get_entry", "get_many", "scan"])
    def test_no_reader_sees_a_value_go_backwards_while_checkpoints_run(
        self, shared: StorageEngine, how: str
    ) -> None:
        keys = [b"k%d" % n for n in range(5)]

        def read() -> None:
            seen = dict.fromkeys(keys, 0)
            while not threads.stopping.is_set():
                for key, count in read_numbers(shared, keys, how).items():
                    assert count >= seen[key], f"{key!r}: {count} after {seen[key]}"
                    seen[key] = count

        def make_checkpoints() -> None:
            while not threads.stopping.is_set():
                shared.checkpoint()

        with Threads() as threads:
            for _ in range(2):
                threads.start(read)
            threads.start(make_checkpoints)
            turn_count = 0
            for _ in turns_for(RACE_S):
                turn_count += 1
                for key in keys:
                    increment(shared, key)
        assert {number(shared.get(key)) for key in keys} == {turn_count}

    def test_a_batch_is_seen_whole_or_not_at_all(self, shared: StorageEngine) -> None:
        keys = [b"k%02d" % n for n in range(12)]
        shared.apply([Put(key, b"0") for key in keys])

        def read() -> None:
            while not threads.stopping.is_set():
                found = shared.get_many(keys)
                assert len(found) in (0, len(keys))
                assert len(set(found.values())) <= 1, found

        def make_checkpoints() -> None:
            while not threads.stopping.is_set():
                shared.checkpoint()

        with Threads() as threads:
            threads.start(read)
            threads.start(read)
            threads.start(make_checkpoints)
            for n in turns_for(RACE_S):
                shared.apply([Put(key, b"%d" % n) for key in keys])
                if n % 3 == 0:
                    shared.apply([Delete(key) for key in keys])
                    shared.apply([Put(key, b"%d" % n) for key in keys])

    def test_a_scan_beside_writers_misses_nothing_that_was_always_there(
        self, shared: StorageEngine
    ) -> None:
        fixed = {b"f%04d" % n for n in range(0, 1_200, 2)}
        shared.apply([Put(key, b"same") for key in fixed])
        rng = seeded(SEED)

        def write() -> None:
            while not threads.stopping.is_set():
                key = b"f%04d" % rng.randrange(1, 1_200, 2)
                shared.put(key, b"new")
                shared.apply([Delete(b"f%04d" % rng.randrange(1, 1_200, 2))])
                shared.put(rng.choice(sorted(fixed)), b"same")

        def make_checkpoints() -> None:
            while not threads.stopping.is_set():
                shared.checkpoint()

        with Threads() as threads:
            threads.start(write)
            threads.start(make_checkpoints)
            for turn in turns_for(RACE_S):
                keys = [key for key, _ in shared.scan(reverse=bool(turn % 2))]
                ordered = keys[::-1] if turn % 2 else keys
                assert all(left < right for left, right in pairwise(ordered))
                assert fixed <= set(keys)

    def test_an_exclusive_block_keeps_other_writers_out(
        self, shared: StorageEngine
    ) -> None:
        shared.put(b"total", b"0")

        def work() -> None:
            for _ in range(40):
                with shared.exclusive():
                    total = number(shared.get(b"total"))
                    shared.put(b"total", b"%d" % (total + 1))

        def bump() -> None:
            for _ in range(40):
                increment(shared, b"total")

        with Threads() as threads:
            for _ in range(3):
                threads.start(work)
                threads.start(bump)
            threads.join()
        assert number(shared.get(b"total")) == 240

    def test_a_write_waits_for_the_end_of_an_exclusive_block(
        self, shared: StorageEngine
    ) -> None:
        shared.put(b"key", b"before")
        written = threading.Event()

        def write() -> None:
            shared.put(b"key", b"after")
            written.set()

        with Threads() as threads:
            with shared.exclusive():
                threads.start(write)
                assert not written.wait(0.2)
                assert shared.get(b"key") == b"before"
            threads.join()
        assert shared.get(b"key") == b"after"

    def test_readers_go_on_while_a_block_keeps_writers_out(
        self, shared: StorageEngine
    ) -> None:
        shared.put(b"log", b"1")
        shared.checkpoint()
        shared.put(b"new", b"2")
        found: dict[str, object] = {}

        def read() -> None:
            found["get"] = shared.get(b"log"), shared.get(b"new")
            found["entry"] = shared.get_entry(b"log")
            found["scan"] = [key for key, _ in shared.scan()]

        with shared.exclusive(), Threads() as threads:
            threads.start(read)
            threads.join()
        assert found == {
            "get": (b"1", b"2"),
            "entry": Entry(b"1", 0),
            "scan": [b"log", b"new"],
        }

    def test_clear_and_writers_agree_on_what_is_left(
        self, shared: StorageEngine
    ) -> None:
        rounds = 30

        def write(name: bytes) -> None:
            for n in range(rounds):
                shared.apply([Put(b"%s-%d" % (name, m), b"%d" % n) for m in range(5)])

        def clear() -> None:
            for _ in range(rounds):
                shared.clear()
                shared.checkpoint()

        with Threads() as threads:
            threads.start(write, b"a")
            threads.start(write, b"b")
            threads.start(clear)
            threads.join()
        found = {key: entry.value for key, entry in shared.scan()}
        assert shared.count() == len(found)
        assert shared.get_many(list(found)) == found
        for name in (b"a", b"b"):
            mine = {value for key, value in found.items() if key.startswith(name)}
            assert len(mine) <= 1, "a clear split a batch"

    def test_check_and_stats_run_beside_writers(self, shared: StorageEngine) -> None:
        def write(name: bytes) -> None:
            n = 0
            while not threads.stopping.is_set():
                shared.put(b"%s-%d" % (name, n % 50), b"%d" % n)
                n += 1

        with Threads() as threads:
            threads.start(write, b"a")
            threads.start(write, b"b")
            for _ in range(3):
                report = shared.check()
                assert report.ok, report.problems
                stats = shared.stats()
                assert stats.checkpoint_lsn <= stats.appended_lsn

    def test_a_close_beside_readers_and_writers_ends_them_with_closed_error(
        self, shared: StorageEngine
    ) -> None:
        shared.apply([Put(b"k%03d" % n, b"v" * 20) for n in range(200)])
        shared.checkpoint()
        acknowledged = [0, 0]

        def forever(step: Callable[[], object]) -> None:
            while True:
                step()

        def until_closed(step: Callable[[], object]) -> None:
            with pytest.raises(ClosedError):
                forever(step)

        def write(who: int) -> None:
            shared.put(b"w%d" % who, b"%d" % (acknowledged[who] + 1))
            acknowledged[who] += 1

        with Threads() as threads:
            threads.start(until_closed, lambda: write(0))
            threads.start(until_closed, lambda: write(1))
            threads.start(
                until_closed, lambda: shared.get(b"k%03d" % (acknowledged[0] % 200))
            )
            threads.start(until_closed, lambda: list(shared.scan()))
            threads.start(until_closed, lambda: shared.get_many([b"k001", b"k150"]))
            while min(acknowledged) < 20 and not threads.stopping.is_set():
                shared.count()
            shared.close()
            threads.join()

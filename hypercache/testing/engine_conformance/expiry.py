"""When entries of an engine expire, and what that means for every call."""

from __future__ import annotations

import pytest

from hypercache.engines import StorageEngine
from hypercache.engines.base import Entry, Put, Touch
from hypercache.testing.clock import START_MS, FakeClock
from hypercache.testing.engine_conformance.opening import Opening


class Expiry(Opening):
    """Hold an engine to what it promises of expiry."""

    def test_an_entry_is_there_until_it_expires_and_then_nowhere(
        self, engine: StorageEngine, clock: FakeClock
    ) -> None:
        engine.put(b"log", b"1", START_MS + 5_000)
        engine.put(b"folded", b"2", START_MS + 5_000)
        engine.checkpoint()
        engine.put(b"log", b"1", START_MS + 5_000)
        engine.put(b"stays", b"3")
        clock.advance(4.999)
        assert engine.get_many([b"log", b"folded"]) == {b"log": b"1", b"folded": b"2"}
        assert engine.count() == 3
        clock.advance(0.002)
        for key in (b"log", b"folded"):
            assert engine.get(key) is None
            assert engine.get_entry(key) is None
        assert engine.get_many([b"log", b"folded", b"stays"]) == {b"stays": b"3"}
        assert engine.count() == 1
        assert list(engine.scan(reverse=True)) == [(b"stays", Entry(b"3", 0))]
        engine.checkpoint()
        assert engine.count() == 1

    def test_a_jump_of_the_wall_clock_expires_nothing_early(
        self, engine: StorageEngine, clock: FakeClock
    ) -> None:
        engine.put(b"key", b"1", START_MS + 5_000)
        clock.jump(3600)
        assert engine.get(b"key") == b"1"
        assert engine.now_ms() == pytest.approx(START_MS)
        clock.jump(-7200)
        clock.advance(5.001)
        assert engine.get(b"key") is None

    def test_an_expired_key_is_not_revived_by_touch(
        self, engine: StorageEngine, clock: FakeClock
    ) -> None:
        engine.put(b"log", b"1", START_MS + 1_000)
        engine.put(b"folded", b"1", START_MS + 1_000)
        engine.checkpoint()
        engine.put(b"log", b"1", START_MS + 1_000)
        clock.advance(2)
        engine.apply([Touch(b"log", 0), Touch(b"folded", 0)])
        for _ in range(2):
            assert engine.get(b"log") is None
            assert engine.get(b"folded") is None
            assert engine.count() == 0
            engine.checkpoint()

    def test_an_expired_key_can_be_put_again(
        self, engine: StorageEngine, clock: FakeClock
    ) -> None:
        engine.put(b"key", b"1", START_MS + 1_000)
        clock.advance(2)
        engine.put(b"key", b"2")
        engine.checkpoint()
        assert engine.get(b"key") == b"2"
        assert engine.count() == 1

    def test_update_sees_an_expired_key_as_absent(
        self, engine: StorageEngine, clock: FakeClock
    ) -> None:
        engine.put(b"key", b"1", START_MS + 1_000)
        clock.advance(2)
        seen: list[Entry | None] = []
        engine.update(b"key", seen.append)
        assert seen == [None]

    def test_an_expiry_in_the_past_is_expired_at_once(
        self, engine: StorageEngine
    ) -> None:
        engine.put(b"key", b"1", START_MS - 1)
        assert engine.get(b"key") is None
        assert engine.count() == 0

    def test_a_touch_after_an_expired_put_in_one_batch_touches_nothing(
        self, engine: StorageEngine
    ) -> None:
        engine.apply([Put(b"key", b"1", START_MS - 1), Touch(b"key", 0)])
        assert engine.get(b"key") is None
        engine.checkpoint()
        assert engine.count() == 0

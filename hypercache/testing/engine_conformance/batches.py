"""What an engine promises of batches, and of delete and touch."""

from __future__ import annotations

import pytest

from hypercache.engines import StorageEngine
from hypercache.engines.base import Delete, Entry, Put, Touch
from hypercache.errors import LimitError
from hypercache.testing.clock import START_MS, FakeClock
from hypercache.testing.contents import contents, entries
from hypercache.testing.engine_conformance.opening import Opening


class Batches(Opening):
    """Hold an engine to what it promises of batches."""

    def test_a_batch_is_applied_in_order(self, engine: StorageEngine) -> None:
        engine.put(b"d", b"old")
        engine.apply(
            [
                Put(b"a", b"1"),
                Put(b"b", b"1"),
                Delete(b"b"),
                Put(b"c", b"1"),
                Put(b"c", b"2", START_MS + 9_000),
                Delete(b"d"),
                Put(b"d", b"new"),
                Touch(b"a", START_MS + 8_000),
            ]
        )
        expected = {
            b"a": Entry(b"1", START_MS + 8_000),
            b"c": Entry(b"2", START_MS + 9_000),
            b"d": Entry(b"new", 0),
        }
        assert entries(engine) == expected
        engine.checkpoint()
        assert entries(engine) == expected

    def test_a_batch_with_one_bad_op_changes_nothing(
        self, engine: StorageEngine
    ) -> None:
        engine.put(b"a", b"old")
        for bad in (Put(b"", b"x"), Delete(b""), Touch(b"k" * 65_536, 0)):
            with pytest.raises(LimitError):
                engine.apply([Put(b"a", b"new"), Put(b"b", b"new"), bad])
        assert contents(engine) == {b"a": b"old"}

    def test_an_empty_batch_changes_nothing_and_returns_the_last_lsn(
        self, engine: StorageEngine
    ) -> None:
        last = engine.put(b"a", b"1")
        assert engine.apply([]) == last
        assert contents(engine) == {b"a": b"1"}

    def test_a_batch_may_be_larger_than_a_segment(self, engine: StorageEngine) -> None:
        batch = [Put(b"%04d" % n, b"v" * 50) for n in range(500)]
        engine.apply(batch)
        assert engine.count() == 500
        engine.checkpoint()
        assert contents(engine) == {op.key: op.value for op in batch}

    def test_a_deleted_key_is_absent_also_where_a_checkpoint_had_it(
        self, engine: StorageEngine
    ) -> None:
        engine.put(b"a", b"1")
        engine.put(b"b", b"1")
        engine.checkpoint()
        engine.apply([Delete(b"a")])
        for _ in range(2):
            assert engine.get(b"a") is None
            assert engine.get_entry(b"a") is None
            assert engine.count() == 1
            assert contents(engine) == {b"b": b"1"}
            engine.checkpoint()

    def test_deleting_an_absent_key_is_no_error(self, engine: StorageEngine) -> None:
        engine.apply([Delete(b"nothing")])
        assert engine.count() == 0

    def test_touch_changes_the_expiry_and_keeps_the_value(
        self, engine: StorageEngine, clock: FakeClock
    ) -> None:
        engine.put(b"log", b"1", START_MS + 1_000)
        engine.put(b"folded", b"2")
        engine.checkpoint()
        engine.put(b"log", b"1", START_MS + 1_000)
        engine.apply([Touch(b"log", 0), Touch(b"folded", START_MS + 2_000)])
        expected = {b"log": Entry(b"1", 0), b"folded": Entry(b"2", START_MS + 2_000)}
        assert entries(engine) == expected
        engine.checkpoint()
        assert entries(engine) == expected
        clock.advance(3)
        assert entries(engine) == {b"log": Entry(b"1", 0)}

    def test_touch_creates_no_key(self, engine: StorageEngine) -> None:
        engine.put(b"deleted", b"1")
        engine.checkpoint()
        engine.apply([Delete(b"deleted")])
        engine.apply([Touch(b"absent", START_MS + 1_000), Touch(b"deleted", 0)])
        for _ in range(2):
            assert engine.get(b"absent") is None
            assert engine.get(b"deleted") is None
            assert engine.count() == 0
            engine.checkpoint()

    def test_touch_after_a_delete_in_one_batch_touches_nothing(
        self, engine: StorageEngine
    ) -> None:
        engine.put(b"a", b"1")
        engine.apply([Delete(b"a"), Touch(b"a", START_MS + 1_000)])
        assert engine.get(b"a") is None
        engine.checkpoint()
        assert engine.get(b"a") is None

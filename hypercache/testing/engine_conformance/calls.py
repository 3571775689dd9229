"""What an engine promises of single calls."""

from __future__ import annotations

import pytest

from hypercache.engines import StorageEngine
from hypercache.engines.base import Delete, Entry, Put, Touch
from hypercache.errors import LimitError
from hypercache.testing.clock import START_MS, FakeClock
from hypercache.testing.contents import contents, entries, fill
from hypercache.testing.engine_conformance.opening import Opening


class SingleCalls(Opening):
    """Hold an engine to what it promises of single calls."""

    def test_what_was_put_is_got(self, engine: StorageEngine) -> None:
        engine.put(b"key", b"value")
        assert engine.get(b"key") == b"value"
        assert engine.get_entry(b"key") == Entry(b"value", 0)

    def test_an_absent_key_is_none(self, engine: StorageEngine) -> None:
        assert engine.get(b"nothing") is None
        assert engine.get_entry(b"nothing") is None

    def test_a_later_put_replaces_value_and_expiry(self, engine: StorageEngine) -> None:
        engine.put(b"key", b"one", START_MS + 5_000)
        engine.put(b"key", b"two")
        assert engine.get_entry(b"key") == Entry(b"two", 0)

    def test_an_empty_value_is_a_value(self, engine: StorageEngine) -> None:
        engine.put(b"key", b"")
        engine.checkpoint()
        assert engine.get(b"key") == b""
        assert engine.get_entry(b"key") == Entry(b"", 0)
        assert engine.count() == 1
        assert contents(engine) == {b"key": b""}

    def test_any_bytes_come_back(self, engine: StorageEngine) -> None:
        values = [b"\0" * 100, bytes(range(256)), b"\xc5\x9e" * 50, b"HCLOG\n" * 9]
        for value in values:
            engine.put(value[:20], value)
        for _ in range(2):
            assert contents(engine) == {value[:20]: value for value in values}
            engine.checkpoint()

    def test_a_value_larger_than_a_segment_and_the_map_comes_back(
        self, engine: StorageEngine
    ) -> None:
        large = b"0123456789" * 131_072
        engine.put(b"large", large)
        engine.put(b"small", b"x")
        assert engine.get(b"large") == large
        engine.checkpoint()
        assert engine.get(b"large") == large
        assert engine.get(b"small") == b"x"

    def test_get_many_returns_those_that_are_present(
        self, engine: StorageEngine
    ) -> None:
        engine.put(b"a", b"1")
        engine.checkpoint()
        engine.put(b"b", b"2")
        engine.put(b"gone", b"3")
        engine.apply([Delete(b"gone")])
        assert engine.get_many([b"b", b"x", b"a", b"gone", b"a"]) == {
            b"a": b"1",
            b"b": b"2",
        }
        assert engine.get_many(iter([b"a"])) == {b"a": b"1"}
        assert engine.get_many([]) == {}

    def test_update_is_told_the_present_entry_and_writes_what_it_is_given(
        self, engine: StorageEngine
    ) -> None:
        engine.put(b"key", b"1", START_MS + 9_000)
        seen: list[Entry | None] = []

        def change(entry: Entry | None) -> Put:
            seen.append(entry)
            return Put(b"key", b"2")

        engine.update(b"key", change)
        engine.checkpoint()
        engine.update(b"key", change)
        assert seen == [Entry(b"1", START_MS + 9_000), Entry(b"2", 0)]

    def test_update_that_returns_none_writes_nothing(
        self, engine: StorageEngine
    ) -> None:
        engine.put(b"key", b"1")
        before = engine.stats().appended_lsn
        assert engine.update(b"key", lambda entry: None) is None
        assert engine.update(b"other", lambda entry: None) is None
        assert engine.stats().appended_lsn == before
        assert contents(engine) == {b"key": b"1"}

    def test_update_can_delete_and_touch(self, engine: StorageEngine) -> None:
        engine.put(b"a", b"1")
        engine.put(b"b", b"1")
        assert engine.update(b"a", lambda entry: Delete(b"a")) is not None
        assert (
            engine.update(b"b", lambda entry: Touch(b"b", START_MS + 1_000)) is not None
        )
        assert entries(engine) == {b"b": Entry(b"1", START_MS + 1_000)}

    def test_an_update_that_raises_writes_nothing_and_blocks_nobody(
        self, engine: StorageEngine
    ) -> None:
        engine.put(b"key", b"1")

        def change(entry: Entry | None) -> Put:
            raise RuntimeError("changed my mind")

        with pytest.raises(RuntimeError, match="changed my mind"):
            engine.update(b"key", change)
        assert contents(engine) == {b"key": b"1"}
        engine.put(b"key", b"2")
        assert engine.get(b"key") == b"2"

    def test_an_update_with_a_value_out_of_range_writes_nothing(
        self, engine: StorageEngine
    ) -> None:
        engine.put(b"key", b"1")
        with pytest.raises(LimitError):
            engine.update(b"key", lambda entry: Put(b"", b"2"))
        assert contents(engine) == {b"key": b"1"}

    def test_what_an_exclusive_block_writes_counts_when_it_has_ended(
        self, engine: StorageEngine
    ) -> None:
        engine.put(b"a", b"1")
        with engine.exclusive():
            assert engine.get(b"a") == b"1"
            assert engine.get_entry(b"a") == Entry(b"1", 0)
            assert engine.get_many([b"a"]) == {b"a": b"1"}
            assert engine.count() == 1
            assert contents(engine) == {b"a": b"1"}
            engine.put(b"b", b"2")
            with engine.exclusive():
                engine.apply([Put(b"c", b"3"), Delete(b"a")])
        assert contents(engine) == {b"b": b"2", b"c": b"3"}

    def test_what_a_failed_exclusive_block_had_written_stands(
        self, engine: StorageEngine
    ) -> None:
        def fail() -> None:
            with engine.exclusive():
                engine.put(b"a", b"2")
                raise RuntimeError("half way")

        engine.put(b"a", b"1")
        with pytest.raises(RuntimeError, match="half way"):
            fail()
        assert engine.get(b"a") == b"2"
        engine.put(b"b", b"3")
        assert contents(engine) == {b"a": b"2", b"b": b"3"}

    def test_count_is_the_number_of_live_keys(
        self, engine: StorageEngine, clock: FakeClock
    ) -> None:
        written = fill(engine, 40)
        assert engine.count() == 40
        engine.checkpoint()
        engine.apply([Delete(b"key-0001"), Delete(b"nothing"), Put(b"new", b"1")])
        engine.put(b"key-0002", b"changed")
        assert engine.count() == len(written)
        engine.put(b"short", b"1", START_MS + 1_000)
        assert engine.count() == 41
        clock.advance(2)
        assert engine.count() == 40

    def test_clear_removes_every_key_and_what_comes_after_stays(
        self, engine: StorageEngine
    ) -> None:
        fill(engine, 60)
        engine.checkpoint()
        fill(engine, 20)
        engine.clear()
        assert engine.count() == 0
        assert contents(engine) == {}
        assert engine.get(b"key-0001") is None
        assert engine.get_many([b"key-0001", b"key-0059"]) == {}
        engine.put(b"key-0001", b"new")
        for _ in range(2):
            assert contents(engine) == {b"key-0001": b"new"}
            assert engine.count() == 1
            engine.checkpoint()
        engine.clear()
        engine.clear()
        engine.checkpoint()
        assert engine.count() == 0

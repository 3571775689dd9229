"""The limits of an engine, its care of itself, and its end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hypercache.engines import StorageEngine
from hypercache.engines.base import Delete, Entry, Put, Touch
from hypercache.errors import ClosedError, LimitError
from hypercache.options import MAX_KEY_BYTES, MAX_VALUE_BYTES
from hypercache.testing.clock import START_MS
from hypercache.testing.contents import contents, fill
from hypercache.testing.engine_conformance.opening import Opening

LONGEST_KEY = b"k" * MAX_KEY_BYTES


class Limits(Opening):
    """Hold an engine to its limits."""

    def test_keys_of_every_length_up_to_the_limit_are_kept(
        self, engine: StorageEngine
    ) -> None:
        lengths = [1, *range(494, 513), 65_534, 65_535]
        model = {b"k" * n: Entry(b"v%d" % n, START_MS + 9_000) for n in lengths}
        for key, entry in model.items():
            engine.put(key, *entry)
        for _ in range(2):
            for key, entry in model.items():
                assert engine.get(key) == entry.value
                assert engine.get_entry(key) == entry
                assert engine.get(key[:-1] + b"x") is None
            assert list(engine.scan()) == sorted(model.items())
            engine.checkpoint()
        engine.apply([Touch(key, 0) for key in model])
        engine.checkpoint()
        for key, entry in model.items():
            assert engine.get_entry(key) == Entry(entry.value, 0)
            engine.apply([Delete(key)])
        engine.checkpoint()
        assert engine.count() == 0

    def test_a_key_out_of_range_is_refused_before_anything_is_written(
        self, engine: StorageEngine
    ) -> None:
        engine.put(b"a", b"1")
        engine.sync()  # or a flush in the background would change the numbers
        before = engine.stats()
        for key in (b"", LONGEST_KEY + b"k"):
            with pytest.raises(LimitError, match="65535"):
                engine.put(key, b"x")
            with pytest.raises(LimitError, match="65535"):
                engine.apply([Put(key, b"x")])
            with pytest.raises(LimitError, match="65535"):
                engine.apply([Delete(key)])
            with pytest.raises(LimitError, match="65535"):
                engine.update(key, lambda entry: Put(b"a", b"x"))
        assert contents(engine) == {b"a": b"1"}
        assert engine.stats() == before

    def test_an_expiry_out_of_range_is_refused_before_anything_is_written(
        self, engine: StorageEngine
    ) -> None:
        engine.put(b"a", b"1")
        engine.sync()  # or a flush in the background would change the numbers
        before = engine.stats()
        for expiry in (-1, 1 << 63, 1 << 64):
            with pytest.raises(LimitError, match="expiry"):
                engine.put(b"a", b"x", expiry)
            with pytest.raises(LimitError, match="expiry"):
                engine.apply([Put(b"b", b"x"), Put(b"a", b"x", expiry)])
            with pytest.raises(LimitError, match="expiry"):
                engine.apply([Touch(b"a", expiry)])
        assert contents(engine) == {b"a": b"1"}
        assert engine.stats() == before

    def test_a_value_over_the_limit_is_refused_before_anything_is_written(
        self, engine: StorageEngine
    ) -> None:
        engine.put(b"a", b"1")
        engine.sync()  # or a flush in the background would change the numbers
        before = engine.stats()
        # Zeros that nobody touches take address space, no memory.
        oversized = bytes(MAX_VALUE_BYTES + 1)
        writes: tuple[Callable[[], object], ...] = (
            lambda: engine.put(b"a", oversized),
            lambda: engine.apply([Put(b"b", b"2"), Put(b"a", oversized)]),
            lambda: engine.update(b"a", lambda entry: Put(b"a", oversized)),
        )
        for write in writes:
            with pytest.raises(LimitError, match="536870912"):
                write()
        assert contents(engine) == {b"a": b"1"}
        assert engine.stats() == before

    def test_a_check_of_a_whole_store_finds_nothing_and_counts(
        self, engine: StorageEngine
    ) -> None:
        fill(engine, 30)
        engine.checkpoint()
        engine.put(b"new", b"1")
        engine.apply([Delete(b"key-0003")])
        report = engine.check()
        assert report.problems == ()
        assert report.ok
        assert report.entry_count == engine.count() == 30

    def test_sync_checkpoint_and_stats_work_on_an_empty_engine(
        self, engine: StorageEngine
    ) -> None:
        assert engine.sync() == 0
        assert engine.checkpoint() == 0
        assert engine.count() == 0
        assert engine.stats().failure is None
        assert engine.check().ok

    def test_close_is_repeatable_and_every_later_call_is_refused(
        self, engine: StorageEngine
    ) -> None:
        fill(engine, 10)
        iterator = engine.scan()
        next(iterator)
        engine.close()
        engine.close()
        calls = {
            "get": lambda: engine.get(b"key-0001"),
            "get_entry": lambda: engine.get_entry(b"a"),
            "get_many": lambda: engine.get_many([b"a"]),
            "get_many of nothing": lambda: engine.get_many([]),
            "put": lambda: engine.put(b"a", b"1"),
            "apply": lambda: engine.apply([Put(b"a", b"1")]),
            "apply of nothing": lambda: engine.apply([]),
            "update": lambda: engine.update(b"a", lambda entry: None),
            "exclusive": lambda: engine.exclusive().__enter__(),
            "scan": lambda: next(engine.scan(), None),
            "an open scan": lambda: list(iterator),
            "count": engine.count,
            "clear": engine.clear,
            "sync": engine.sync,
            "wait_durable": lambda: engine.wait_durable(0),
            "checkpoint": engine.checkpoint,
            "compact": engine.compact,
            "backup": lambda: engine.backup("nowhere"),
            "refresh": engine.refresh,
            "check": engine.check,
            "stats": engine.stats,
        }
        answers: dict[str, object] = {}
        for name, call in calls.items():
            try:
                answers[name] = call()
            except ClosedError:
                continue
            except Exception as error:  # noqa: BLE001  (shown below, all of them)
                answers[name] = error
        assert answers == {}
        engine.close()

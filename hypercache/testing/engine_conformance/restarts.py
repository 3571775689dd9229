"""What a durable engine promises of restarts, kills, LSNs and watermarks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hypercache.engines import StorageEngine
from hypercache.engines.base import Delete, Entry, Put, Touch
from hypercache.errors import LimitError
from hypercache.testing.clock import START_MS, FakeClock
from hypercache.testing.contents import entries
from hypercache.testing.engine_conformance.opening import OpenEngine, Opening


def write_a_bit_of_everything(engine: StorageEngine) -> None:
    """Leave entries in checkpoint and log, deleted, touched, expiring and long ones."""
    for n in range(60):
        engine.put(b"k%02d" % n, b"%d " % n * 20)
    engine.checkpoint()
    engine.put(b"ttl", b"1", START_MS + 60_000)
    engine.apply(
        [Touch(b"k01", START_MS + 90_000), Delete(b"k02"), Put(b"k03", b"new")]
    )
    engine.put(b"p" * 600, b"long")
    engine.update(b"k04", lambda entry: Put(b"k04", entry.value[:5] if entry else b""))
    with engine.exclusive():
        engine.apply([Delete(b"k05"), Put(b"last", b"!")])


def copy_as_killed(store: Path, copy: Path) -> Path:
    """Copy the files of an open store that nobody writes to, as a kill leaves them."""
    if store.is_dir():
        shutil.copytree(store, copy)
    else:
        shutil.copy(store, copy)
    return copy


class Restarts(Opening):
    """Hold an engine to what outlives the process."""

    def test_everything_is_there_after_close_and_open(
        self, open_engine: OpenEngine, clock: FakeClock
    ) -> None:
        engine = open_engine(clock=clock)
        write_a_bit_of_everything(engine)
        before = entries(engine)
        assert before[b"k04"] == Entry(b"4 4 4", 0)
        engine.close()
        engine = open_engine(clock=clock)
        assert entries(engine) == before
        assert engine.count() == len(before) == 61
        assert engine.get(b"p" * 600) == b"long"

    def test_everything_is_there_in_what_a_kill_leaves(
        self,
        open_engine: OpenEngine,
        clock: FakeClock,
        store_path: Path,
        tmp_path: Path,
    ) -> None:
        engine = open_engine(clock=clock)
        write_a_bit_of_everything(engine)
        copy = copy_as_killed(store_path, tmp_path / "copy")
        again = open_engine(copy, clock=clock)
        assert entries(again) == entries(engine)
        assert again.count() == engine.count()

    def test_a_clear_is_there_in_what_a_kill_leaves(
        self, open_engine: OpenEngine, store_path: Path, tmp_path: Path
    ) -> None:
        engine = open_engine()
        write_a_bit_of_everything(engine)
        engine.clear()
        engine.put(b"new", b"1")
        again = open_engine(copy_as_killed(store_path, tmp_path / "copy"))
        assert entries(again) == {b"new": Entry(b"1", 0)}
        again.checkpoint()
        assert entries(again) == {b"new": Entry(b"1", 0)}

    def test_expiry_goes_on_while_the_store_is_closed(
        self, open_engine: OpenEngine, clock: FakeClock
    ) -> None:
        engine = open_engine(clock=clock)
        for key in (b"folded", b"log"):
            engine.put(key + b"-short", b"1", START_MS + 5_000)
            engine.put(key + b"-long", b"2", START_MS + 500_000)
            if key == b"folded":
                engine.checkpoint()
        engine.close()
        clock.advance(10)
        engine = open_engine(clock=clock)
        assert entries(engine) == {
            b"folded-long": Entry(b"2", START_MS + 500_000),
            b"log-long": Entry(b"2", START_MS + 500_000),
        }
        assert engine.count() == 2
        assert engine.check().ok

    def test_a_touch_of_what_had_expired_stays_without_effect_after_a_kill(
        self,
        open_engine: OpenEngine,
        clock: FakeClock,
        store_path: Path,
        tmp_path: Path,
    ) -> None:
        # A replay knows no clock: it must not touch what was expired at the time.
        engine = open_engine(clock=clock)
        engine.put(b"folded", b"1", START_MS + 1_000)
        engine.checkpoint()
        engine.put(b"log", b"1", START_MS + 1_000)
        clock.advance(2)
        engine.apply([Touch(b"folded", 0), Touch(b"log", 0), Put(b"other", b"1")])
        copy = copy_as_killed(store_path, tmp_path / "copy")
        again = open_engine(copy, clock=clock)
        assert entries(again) == entries(engine) == {b"other": Entry(b"1", 0)}

    def test_a_store_that_a_kill_left_is_repaired_the_same_by_every_open(
        self, open_engine: OpenEngine, store_path: Path, tmp_path: Path
    ) -> None:
        engine = open_engine()
        write_a_bit_of_everything(engine)
        model = entries(engine)
        copy = copy_as_killed(store_path, tmp_path / "copy-0")
        for turn in range(3):
            again = open_engine(copy)
            assert entries(again) == model
            copy = copy_as_killed(copy, tmp_path / f"copy-{turn + 1}")
            again.close()

    def test_lsns_rise_with_every_write_and_are_never_reused(
        self, open_engine: OpenEngine
    ) -> None:
        engine = open_engine()
        lsns = [
            engine.apply([]),
            engine.put(b"a", b"1"),
            engine.put(b"b", b"1"),
            engine.apply([Put(b"c", b"1"), Delete(b"a"), Put(b"d", b"1")]),
            engine.update(b"b", lambda entry: Delete(b"b")) or 0,
        ]
        assert engine.apply([]) == lsns[-1]
        lsns.append(engine.clear())
        engine.checkpoint()
        engine.close()
        engine = open_engine()
        assert engine.apply([]) == lsns[-1]
        lsns.append(engine.put(b"a", b"1"))
        assert lsns == sorted(set(lsns))
        assert lsns[0] >= 0

    def test_no_two_ops_of_a_batch_share_an_lsn(self, open_engine: OpenEngine) -> None:
        engine = open_engine()
        first = engine.put(b"a", b"1")
        batch = [Put(b"%d" % n, b"1") for n in range(10)]
        assert engine.apply(batch) >= first + len(batch)

    def test_the_watermarks_are_ordered_and_sync_raises_them(
        self, open_engine: OpenEngine
    ) -> None:
        engine = open_engine()
        lsn = 0
        for n in range(50):
            lsn = engine.put(b"%d" % n, b"v" * 100)
            stats = engine.stats()
            assert stats.appended_lsn == lsn
            assert stats.appended_lsn >= stats.synced_lsn >= stats.checkpoint_lsn
        assert engine.sync() == lsn
        assert engine.stats().synced_lsn == lsn
        lsn = engine.put(b"more", b"1")
        engine.wait_durable(lsn)
        assert engine.stats().synced_lsn >= lsn
        engine.wait_durable(lsn, timeout=0)
        engine.wait_durable(0)

    def test_waiting_for_an_lsn_that_was_never_handed_out_is_refused(
        self, open_engine: OpenEngine
    ) -> None:
        engine = open_engine()
        lsn = engine.put(b"a", b"1")
        with pytest.raises(LimitError, match=str(lsn + 1)):
            engine.wait_durable(lsn + 1, timeout=0)

"""What a durable engine promises of LSNs, restarts, watermarks and damage."""

import os
import shutil
import threading

import pytest

from hypercache.engines.base import Delete, Entry, Put, Touch
from hypercache.errors import CorruptionError, HyperCacheError
from tests.support.clock import START_MS
from tests.support.contents import entries
from tests.support.engines import durable_engines
from tests.support.files import find_bytes, flipped, unchanged

pytestmark = durable_engines
POLICIES = ["always", "everysec", "no"]


def write_a_bit_of_everything(engine):
    """Leave entries in checkpoint and log, deleted, touched, expiring and long ones."""
    for n in range(60):
        engine.put(b"k%02d" % n, b"%d " % n * 20)
    engine.checkpoint()
    engine.put(b"ttl", b"1", START_MS + 60_000)
    engine.apply(
        [Touch(b"k01", START_MS + 90_000), Delete(b"k02"), Put(b"k03", b"new")]
    )
    engine.put(b"p" * 600, b"long")
    engine.update(b"k04", lambda entry: Put(b"k04", entry.value[:5]))
    with engine.exclusive():
        engine.apply([Delete(b"k05"), Put(b"last", b"!")])


@pytest.mark.parametrize("sync", POLICIES)
def test_everything_is_there_after_close_and_open(open_engine, clock, sync):
    engine = open_engine(clock=clock, sync=sync)
    write_a_bit_of_everything(engine)
    before = entries(engine)
    engine.close()
    engine = open_engine(clock=clock, sync=sync)
    assert entries(engine) == before
    assert engine.count() == len(before)
    assert engine.get(b"p" * 600) == b"long"


@pytest.mark.parametrize("sync", POLICIES)
def test_everything_is_there_in_what_a_kill_leaves(
    open_engine, clock, store_path, tmp_path, sync
):
    engine = open_engine(clock=clock, sync=sync)
    write_a_bit_of_everything(engine)
    shutil.copytree(store_path, tmp_path / "copy")
    again = open_engine(tmp_path / "copy", clock=clock, sync=sync)
    assert entries(again) == entries(engine)
    assert again.count() == engine.count()


def test_a_clear_is_there_in_what_a_kill_leaves(open_engine, store_path, tmp_path):
    engine = open_engine()
    write_a_bit_of_everything(engine)
    engine.clear()
    engine.put(b"new", b"1")
    shutil.copytree(store_path, tmp_path / "copy")
    again = open_engine(tmp_path / "copy")
    assert entries(again) == {b"new": Entry(b"1", 0)}
    again.checkpoint()
    assert entries(again) == {b"new": Entry(b"1", 0)}


def test_expiry_goes_on_while_the_store_is_closed(open_engine, clock):
    engine = open_engine(clock=clock)
    for key in (b"lmdb", b"log"):
        engine.put(key + b"-short", b"1", START_MS + 5_000)
        engine.put(key + b"-long", b"2", START_MS + 500_000)
        engine.checkpoint() if key == b"lmdb" else None
    engine.close()
    clock.advance(10)
    engine = open_engine(clock=clock)
    assert entries(engine) == {
        b"lmdb-long": Entry(b"2", START_MS + 500_000),
        b"log-long": Entry(b"2", START_MS + 500_000),
    }
    assert engine.count() == 2
    assert engine.check().ok


def test_a_touch_of_what_had_expired_stays_without_effect_after_a_kill(
    open_engine, clock, store_path, tmp_path
):
    # Replay knows no clock: it must not touch what was expired when touch was called.
    engine = open_engine(clock=clock)
    engine.put(b"lmdb", b"1", START_MS + 1_000)
    engine.checkpoint()
    engine.put(b"log", b"1", START_MS + 1_000)
    clock.advance(2)
    engine.apply([Touch(b"lmdb", 0), Touch(b"log", 0), Put(b"other", b"1")])
    shutil.copytree(store_path, tmp_path / "copy")
    again = open_engine(tmp_path / "copy", clock=clock)
    assert entries(again) == entries(engine) == {b"other": Entry(b"1", 0)}


def test_lsns_rise_by_one_per_op_and_are_never_reused(open_engine):
    engine = open_engine()
    first = engine.put(b"a", b"1")
    assert first > 0
    assert engine.put(b"b", b"1") == first + 1
    assert engine.apply([Put(b"c", b"1"), Delete(b"a"), Put(b"d", b"1")]) == first + 4
    assert engine.update(b"b", lambda entry: Delete(b"b")) == first + 5
    assert engine.apply([]) == first + 5
    last = engine.clear()
    assert last == first + 6
    engine.checkpoint()
    engine.close()
    engine = open_engine()
    assert engine.apply([]) == last
    assert engine.put(b"a", b"1") == last + 1


def test_the_watermarks_are_ordered_and_sync_raises_them(open_engine):
    engine = open_engine()
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


def test_under_always_a_write_is_durable_when_the_call_returns(open_engine):
    engine = open_engine(sync="always")
    writes = [
        lambda: engine.put(b"a", b"1"),
        lambda: engine.apply([Put(b"b", b"1"), Put(b"c", b"1")]),
        lambda: engine.update(b"a", lambda entry: Put(b"a", b"2")),
        engine.clear,
    ]
    for write in writes:
        lsn = write()
        assert engine.stats().synced_lsn >= lsn
    with engine.exclusive():
        lsn = engine.put(b"d", b"1")
    assert engine.stats().synced_lsn >= lsn


def test_everysec_brings_a_write_to_the_medium_by_itself(open_engine):
    engine = open_engine(sync="everysec", segment_bytes=1 << 20)
    lsn = engine.put(b"a", b"1")
    assert engine.stats().synced_lsn < lsn
    timer = threading.Event()
    for _ in range(40):
        if engine.stats().synced_lsn >= lsn:
            break
        timer.wait(0.05)
    assert engine.stats().synced_lsn >= lsn


def test_waiting_for_an_lsn_that_was_never_handed_out_is_refused(open_engine):
    engine = open_engine()
    lsn = engine.put(b"a", b"1")
    with pytest.raises(HyperCacheError, match=str(lsn + 1)):
        engine.wait_durable(lsn + 1, timeout=0)


def test_after_a_checkpoint_the_log_that_held_it_is_gone(open_engine, store_path):
    engine = open_engine()
    write_a_bit_of_everything(engine)
    last = engine.apply([])
    assert engine.checkpoint() == last
    stats = engine.stats()
    assert stats.checkpoint_lsn == stats.synced_lsn == stats.appended_lsn == last
    assert stats.log_bytes == 0
    assert stats.memtable_count == 0
    assert find_bytes(store_path / "wal", b"last") == []
    assert engine.checkpoint() == last


def test_the_log_is_folded_by_itself_and_the_disk_stays_small(open_engine):
    engine = open_engine(checkpoint_bytes=8192)
    for n in range(300):
        engine.put(b"%d" % (n % 10), b"v" * 200)
    stats = engine.stats()
    assert stats.checkpoint_count > 0
    assert stats.checkpoint_error is None
    assert stats.log_bytes < 30_000
    assert stats.disk_bytes < 300_000


def test_check_changes_nothing(open_engine, store_path):
    engine = open_engine()
    write_a_bit_of_everything(engine)
    engine.sync()
    with unchanged(store_path):
        assert engine.check().ok


@pytest.mark.parametrize("where", ["log", "checkpoint"])
def test_check_names_the_file_in_which_a_byte_was_flipped(
    open_engine, store_path, where
):
    engine = open_engine()
    engine.put(b"key", b"needle-in-a-file" * 3)
    engine.put(b"other", b"1")
    engine.checkpoint() if where == "checkpoint" else engine.sync()
    places = find_bytes(store_path, b"needle-in-a-file")
    assert places
    with flipped(places):
        report = engine.check()
    assert not report.ok
    assert {problem.path for problem in report.problems} == {str(places[0][0])}
    assert engine.check().ok


def test_everything_can_be_verified_at_open(open_engine):
    engine = open_engine()
    write_a_bit_of_everything(engine)
    before = entries(engine)
    engine.close()
    engine = open_engine(verify="full")
    assert entries(engine) == before
    report = engine.check()
    assert report.ok, report.problems
    assert report.entry_count == len(before)


def test_a_read_never_returns_a_damaged_value(open_engine, store_path):
    engine = open_engine(memory_bytes=0)
    engine.put(b"a", b"1")
    engine.put(b"key", b"needle-in-a-file" * 3)
    engine.checkpoint()
    places = find_bytes(store_path, b"needle-in-a-file")
    reads = (
        lambda: engine.get(b"key"),
        lambda: engine.get_entry(b"key"),
        lambda: engine.get_many([b"a", b"key"]),
        lambda: list(engine.scan()),
    )
    with flipped(places):
        for read in reads:
            with pytest.raises(CorruptionError, match="checksum") as caught:
                read()
            assert caught.value.key == b"key"
            assert caught.value.path == str(places[0][0])
        assert engine.get(b"a") == b"1"
    assert engine.get(b"key") == b"needle-in-a-file" * 3


def test_close_leaves_no_descriptor_thread_or_temporary_file(open_engine, store_path):
    open_engine().close()
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(3):
        engine = open_engine()
        write_a_bit_of_everything(engine)
        assert engine.check().ok
        engine.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert threading.active_count() == threads
    names = [path.name for path in store_path.rglob("*")]
    assert not [name for name in names if name.endswith(".tmp")]


def test_directories_are_0700_and_files_0600(open_engine, store_path):
    engine = open_engine()
    write_a_bit_of_everything(engine)
    for path in (store_path, *store_path.rglob("*")):
        mode = path.stat().st_mode & 0o777
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_store_that_a_kill_left_is_repaired_the_same_by_every_open(
    open_engine, store_path, tmp_path
):
    engine = open_engine()
    write_a_bit_of_everything(engine)
    model = entries(engine)
    shutil.copytree(store_path, tmp_path / "copy-0")
    for turn in range(3):
        again = open_engine(tmp_path / f"copy-{turn}")
        assert entries(again) == model
        shutil.copytree(tmp_path / f"copy-{turn}", tmp_path / f"copy-{turn + 1}")
        again.close()

"""Compaction of the append-only log: when, beside whom, and what it never does.

What a power cut leaves of it is in test_aof_crash_states.py.
"""

import gc
import logging
import os
import signal
import threading

import pytest

from hypercache.aof import compact as compacting
from hypercache.engines import compact_helper
from hypercache.engines.base import Delete, Put, Touch
from hypercache.engines.durable_memory import DurableMemoryEngine
from hypercache.errors import CorruptionError, DiskFullError
from hypercache.options import Options
from hypercache.os_errors import mapped_error
from tests.support.contents import contents
from tests.support.files import flipped, snapshot
from tests.support.processes import Threads, in_fork
from tests.support.recording import Watch, WatchedStorage
from tests.support.waiting import wait_until

WAIT_S = 30
SMALL = {"segment_bytes": 4096, "compact_min_bytes": 16_384, "sync": "no"}
INLINE = {**SMALL, "maintenance": "inline"}
HELPER = {**SMALL, "maintenance": "process"}


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def open_engine(opened, store_path, watch):
    def open_one(**changes):
        options = Options.resolve(**{**INLINE, **changes})
        storage = WatchedStorage(watch)
        engine = DurableMemoryEngine(str(store_path), options, storage=storage)
        return opened.add(engine)

    return open_one


def overwrite(engine, count, *, keys=4, size=300):
    for number in range(count):
        engine.put(b"key%d" % (number % keys), b"%06d" % number * (size // 6))


def fill_until(engine, reached, *, limit=5000, keys=4):
    """Overwrite a few keys until `reached`; return how many writes that took."""
    for number in range(limit):
        if reached():
            return number
        engine.put(b"key%d" % (number % keys), b"%06d" % number * 50)
    pytest.fail(f"not reached in {limit} writes")


@pytest.fixture
def small_steps(monkeypatch):
    monkeypatch.setattr("hypercache.aof.base.BLOCK_BYTES", 500)
    monkeypatch.setattr(compacting, "_STEP_COUNT", 1)


def pending(engine):
    return engine._upkeep._pending is not None


# When it starts


@pytest.mark.parametrize("maintenance", ["inline", "process"])
def test_it_starts_by_itself_above_twice_the_live_size_and_not_before(
    open_engine, maintenance
):
    engine = open_engine(maintenance=maintenance, compact_min_bytes=4096)
    for number in range(200):  # all of it is live
        engine.put(b"key%04d" % number, b"v" * 300)
    stats = engine.stats()
    assert stats.compaction_count == 0
    assert stats.log_bytes < 2 * stats.live_bytes
    for number in range(120):  # a good half of it is dead, but no more
        engine.put(b"key%04d" % number, b"w" * 300)
    assert engine.stats().compaction_count == 0
    fill_until(engine, lambda: engine._upkeep.count > 0, keys=100)
    stats = engine.stats()
    assert stats.base_bytes > 0
    assert stats.log_bytes <= 2 * stats.live_bytes + 2 * 4096


def test_it_does_not_start_below_the_smallest_size_worth_it(open_engine):
    engine = open_engine(compact_min_bytes=64 * 1024)
    written = 0
    while written + 4096 < 60 * 1024:
        engine.put(b"key", b"v" * 300)
        written += 350
    assert engine.stats().compaction_count == 0
    fill_until(engine, lambda: engine._upkeep.count > 0)


def test_what_the_last_process_left_is_compacted_by_the_next(open_engine):
    engine = open_engine(compact_min_bytes=1 << 30)
    overwrite(engine, 200)
    engine.close()
    engine = open_engine()
    fill_until(engine, lambda: engine.stats().compaction_count > 0, limit=20)


def test_a_store_of_overwritten_keys_stays_small(open_engine, store_path):
    engine = open_engine()
    largest = 0
    for _ in range(20):
        overwrite(engine, 60)
        on_disk = sum(p.stat().st_size for p in (store_path / "aof").iterdir())
        assert engine.stats().disk_bytes >= on_disk
        largest = max(largest, on_disk)
    # The smallest size worth it, and two segments: one that fills up, one behind it.
    assert largest < SMALL["compact_min_bytes"] + 3 * SMALL["segment_bytes"]
    assert engine.stats().compaction_count > 5


def test_what_was_deleted_takes_neither_memory_nor_disk(open_engine):
    engine = open_engine()
    for number in range(1000):
        engine.put(b"key%06d" % number, b"v" * 20)
        engine.apply([Delete(b"key%06d" % number)])
    stats = engine.stats()
    assert (engine.count(), stats.memtable_count, stats.live_bytes) == (0, 0, 0)
    engine.compact()
    assert engine.stats().log_bytes < 200


# Inline, in steps


def test_inline_each_write_does_one_step_and_none_does_all(open_engine, small_steps):
    engine = open_engine(segment_bytes=16_384)
    for number in range(20):
        engine.put(b"kept%d" % number, b"k" * 300)
    engine.compact()
    done = engine.stats().compaction_count
    fill_until(engine, lambda: pending(engine))
    writes = fill_until(engine, lambda: engine._upkeep.count > done)
    assert writes > 10
    assert engine.stats().maintenance_state == "idle"


def test_inline_a_writer_that_outruns_the_steps_does_the_rest(open_engine, small_steps):
    engine = open_engine()
    for number in range(60):
        engine.put(b"kept%02d" % number, b"k" * 100)
    fill_until(engine, lambda: pending(engine))
    assert engine.stats().maintenance_state == "running"
    before = engine.stats().compaction_count
    number = engine._aof.manifest.active_segment
    while pending(engine):
        engine.put(b"key", b"x" * 3000)
        assert engine._aof.manifest.active_segment <= number + 3
    assert engine.stats().compaction_count == before + 1


def test_an_open_step_does_not_outlive_its_engine(open_engine, store_path, small_steps):
    engine = open_engine()
    fill_until(engine, lambda: pending(engine))
    fill_until(engine, lambda: list(store_path.glob("aof/*.tmp")))
    engine.close()
    assert list(store_path.glob("aof/*.tmp")) == []
    again = open_engine()
    fill_until(again, lambda: list(store_path.glob("aof/*.tmp")))
    engine.close()
    assert len(list(store_path.glob("aof/*.tmp"))) == 1
    fill_until(again, lambda: again._upkeep.count > 0)
    assert again.stats().maintenance_error is None


def test_a_forked_child_leaves_the_parents_step_alone(
    open_engine, store_path, small_steps
):
    engine = open_engine()
    fill_until(engine, lambda: list(store_path.glob("aof/*.tmp")))
    before = snapshot(store_path)

    def in_child():
        engine.close()
        gc.collect()
        return sorted(snapshot(store_path))

    assert in_fork(in_child) == sorted(before)
    assert snapshot(store_path) == before
    fill_until(engine, lambda: engine._upkeep.count > 0)
    assert engine.stats().maintenance_error is None


def test_a_failed_compaction_is_tried_again_at_the_next_seal_not_at_each_write(
    open_engine, watch, caplog
):
    engine = open_engine()
    overwrite(engine, 20)

    def full(event):
        if event.what == "create" and ".base" in event.path:
            error = OSError(28, "No space left on device")
            raise mapped_error(error, "create", event.path) from error

    watch.before = full
    segments = engine._aof.manifest.active_segment
    with caplog.at_level(logging.WARNING):
        overwrite(engine, 400)
    tries = [r for r in caplog.records if "keeps growing" in r.getMessage()]
    assert tries
    # Each try seals what there is, so there may be two segments to a full one.
    assert len(tries) <= engine._aof.manifest.active_segment - segments
    assert engine._aof.manifest.active_segment - segments < 100
    assert "No space left" in engine.stats().maintenance_error
    with pytest.raises(DiskFullError):
        engine.compact()
    watch.before = lambda _event: None
    fill_until(engine, lambda: engine._upkeep.count > 0)
    assert engine.stats().maintenance_error is None


def test_a_write_from_a_signal_handler_does_not_wait_for_the_step_it_interrupts(
    open_engine, watch
):
    # The handler's write came across maintenance that was due, and waited for the
    # thread it had interrupted: itself.
    engine = open_engine()
    handled = []

    def handle(_number, _frame):
        engine.put(b"from the handler", b"%d" % len(handled))
        handled.append(engine._upkeep.due)

    def interrupt(event):
        if event.what == "write" and ".base" in event.path and len(handled) < 3:
            engine._upkeep.due = True  # as when a segment was filled meanwhile
            signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        watch.before = interrupt
        fill_until(engine, lambda: engine._upkeep.count > 0)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert True in handled
    assert engine.get(b"from the handler") == b"%d" % (len(handled) - 1)


# Beside readers and writers


def test_reads_and_writes_are_answered_while_a_compaction_is_held(open_engine, watch):
    engine = open_engine()
    overwrite(engine, 30)
    holding, released = threading.Event(), threading.Event()

    def hold(event):
        if ".base" in event.path and event.what in ("create", "sync", "write"):
            holding.set()
            assert released.wait(WAIT_S)

    watch.before = hold
    with Threads() as threads:
        threads.start(engine.compact)
        assert holding.wait(WAIT_S)
        try:
            assert engine.stats().maintenance_state == "running"
            for number in range(20):
                engine.put(b"beside", b"%d" % number)
                assert engine.get(b"beside") == b"%d" % number
                assert len(contents(engine)) == engine.count() == 5
            assert engine.stats().compaction_count == 0
        finally:
            released.set()
    assert engine.stats().compaction_count == 1
    assert engine.get(b"beside") == b"19"


def children(pid):
    """Return the pids of the processes that a process has started."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as listed:
            found += map(int, listed.read().split())
    return found


def test_reads_and_writes_are_answered_while_the_helper_is_stopped(
    open_engine, monkeypatch
):
    engine = open_engine(**HELPER)
    # Other tests of this process may have left some: a resource tracker, say.
    others = set(children(os.getpid()))
    overwrite(engine, 30)
    stopped, run = [], compact_helper.helper.subprocess.Popen

    def start_stopped(*arguments, **options):
        process = run(*arguments, **options)
        os.kill(process.pid, signal.SIGSTOP)
        stopped.append(process.pid)
        return process

    monkeypatch.setattr(compact_helper.helper.subprocess, "Popen", start_stopped)
    # Not a write more: one that fills a segment would wait for the helper.
    fill_until(engine, lambda: engine._upkeep._background is not None)
    try:
        wait_until(lambda: stopped)
        assert set(children(os.getpid())) - others == set(stopped)
        for number in range(9):
            engine.put(b"beside", b"%d" % number)
            assert engine.get(b"beside") == b"%d" % number
            assert len(contents(engine)) == engine.count() == 5
        assert engine.stats().maintenance_state == "running"
        assert engine.stats().compaction_count == 0
    finally:
        monkeypatch.undo()
        os.kill(stopped[0], signal.SIGCONT)
    engine._upkeep._background.join(WAIT_S)
    assert engine.stats().compaction_count == 1
    assert engine.stats().maintenance_error is None
    assert not set(children(os.getpid())) - others


def test_back_pressure_is_bounded_shows_in_stats_and_ends_with_one_compaction(
    open_engine, monkeypatch
):
    engine = open_engine(**HELPER)
    holding, released = threading.Event(), threading.Event()
    compact = compact_helper.maybe_compact

    def hold(*arguments):
        holding.set()
        assert released.wait(WAIT_S)
        return compact(*arguments)

    monkeypatch.setattr(compact_helper, "maybe_compact", hold)
    written = []

    def write():
        for number in range(400):
            engine.put(b"key", b"%06d" % number * 50)
            written.append(number)

    with Threads() as threads:
        threads.start(write)
        assert holding.wait(WAIT_S)
        sealed_bytes = engine.stats().log_bytes
        wait_until(engine._upkeep._starting.locked)
        stuck_at = len(written)
        threading.Event().wait(0.05)
        assert len(written) == stuck_at < 400
        assert engine.stats().log_bytes - sealed_bytes < 3 * SMALL["segment_bytes"]
        assert engine.get(b"key") is not None
        monkeypatch.undo()
        released.set()
    assert len(written) == 400
    stats = engine.stats()
    assert stats.maintenance_wait_ms >= 40
    # What was waited for had done what was due: no second one at once behind it.
    assert stats.compaction_count <= 400 * 350 // SMALL["compact_min_bytes"]


# What it refuses


def test_after_a_check_has_found_damage_nothing_is_compacted(
    open_engine, store_path, caplog
):
    engine = open_engine(compact_min_bytes=1 << 20)
    overwrite(engine, 60)
    first = min(store_path.glob("aof/*.aof"))
    engine._options = engine._upkeep._options = Options.resolve(**INLINE)
    with flipped([(first, 200)]):
        assert not engine.check().ok
        before = sorted(path.name for path in store_path.glob("aof/*"))
        with pytest.raises(CorruptionError, match="nothing is compacted"):
            engine.compact()
        with caplog.at_level(logging.WARNING):
            overwrite(engine, 100)
        after = sorted(path.name for path in store_path.glob("aof/*"))
        assert set(before) <= set(after)
        assert engine.stats().compaction_count == 0
        assert 0 < len(caplog.records) < 20  # at each seal, not at each write
        assert "nothing is compacted" in engine.stats().maintenance_error
    assert engine.check().ok
    engine.compact()
    assert engine.stats().compaction_count == 1


def test_damage_found_while_a_compaction_is_under_way_ends_it(
    open_engine, store_path, small_steps
):
    engine = open_engine()
    fill_until(engine, lambda: list(store_path.glob("aof/*.tmp")))
    first = min(store_path.glob("aof/*.aof"))
    with flipped([(first, 200)]):
        assert not engine.check().ok
        fill_until(engine, lambda: not pending(engine))
        assert engine.stats().compaction_count == 0
        assert first.exists()
    assert engine.check().ok


def test_damaged_increments_are_reported_and_make_no_base(open_engine, store_path):
    engine = open_engine(compact_min_bytes=1 << 20)
    overwrite(engine, 60)
    first = min(store_path.glob("aof/*.aof"))
    with flipped([(first, 200)]):
        with pytest.raises(CorruptionError):
            engine.compact()
        with engine._upkeep.turn(), pytest.raises(CorruptionError):
            engine._upkeep.run(in_process=True)  # the helper, then this process
        assert list(store_path.glob("aof/base-*")) == []
        assert engine.get(b"key0") is not None
    engine.compact()
    assert engine.stats().base_bytes > 0


def test_a_helper_that_answers_nonsense_is_no_base(open_engine, monkeypatch):
    outcome = compact_helper.helper.Outcome
    engine = open_engine()
    overwrite(engine, 10)
    for output in (b"", b"hello", b"[1]", b"{", b"{}", b'{"number": 1}'):
        answer = outcome(output, "", 0, 0)
        monkeypatch.setattr(
            compact_helper.helper, "maybe_run", lambda *_a, a=answer, **_k: a
        )
        with engine._upkeep.turn():
            engine._upkeep.run(in_process=True)
        assert engine.check().ok
        engine.apply([Put(b"more", output), Touch(b"key1", 0)])
    assert engine.stats().compaction_count == 6

"""Moments between two steps of a checkpoint, a write or a helper process."""

import os
import shutil
import subprocess
import sys
import threading

import pytest

from hypercache.closing import close_forgotten
from hypercache.engines import fold_helper, lmdb_walk
from hypercache.engines.helper import Outcome
from hypercache.engines.hybrid import HybridEngine
from hypercache.engines.memtable import Memtable
from hypercache.errors import ReentrantCallError, StorageError
from hypercache.locking import DirectoryLock
from hypercache.ops import Put
from hypercache.options import Options
from tests.support.recording import Watch, WatchedStorage


@pytest.fixture
def open_engine():
    opened = []

    def open_one(path, **arguments):
        engine = HybridEngine(str(path), Options.resolve(sync="no"), **arguments)
        opened.append(engine)
        return engine

    yield open_one
    for engine in opened:
        assert engine.check().ok
        engine.close()


def test_a_clear_that_lmdb_has_passed_is_not_folded_again(
    open_engine, tmp_path, monkeypatch
):
    # LMDB had committed a checkpoint, the marker had not been written; the next
    # checkpoint began at the marker and emptied LMDB under the keys set after a clear.
    engine = open_engine(tmp_path / "store")
    engine.put(b"old", b"1")
    engine.clear()
    engine.put(b"key", b"2")
    log = engine._log
    folded = log.folded

    def crash_here(*arguments):
        shutil.copytree(tmp_path / "store", tmp_path / "crashed")
        folded(*arguments)

    monkeypatch.setattr(log, "folded", crash_here)
    engine.checkpoint()
    again = open_engine(tmp_path / "crashed")
    assert again.get(b"key") == b"2"
    again.put(b"new", b"3")
    monkeypatch.setattr(again._store, "clear", lambda _lsn: pytest.fail("emptied"))
    again.checkpoint()
    assert dict(again.scan()) == {b"key": (b"2", 0), b"new": (b"3", 0)}


def test_a_scan_that_meets_a_freeze_sees_every_key():
    # The keys were taken from the frozen table first: a freeze in between moved those
    # of the active one to where the scan had been already.
    memtable = Memtable()
    memtable.active[b"key"] = b"1"

    class FreezesWhenRead(dict):
        def __iter__(self):
            memtable.frozen = {}
            memtable.freeze()
            return iter(())

    memtable.frozen = FreezesWhenRead()
    assert memtable.all_keys() == {b"key"}


def test_a_write_that_interrupts_a_write_is_refused_and_harms_nothing(
    open_engine, tmp_path
):
    # As from a signal handler: the lock is reentrant, and both took the same LSN.
    watch = Watch()
    engine = open_engine(tmp_path / "store", storage=WatchedStorage(watch))
    engine.put(b"a", b"1")
    refused = []

    def interrupt(event):
        if event.what != "write" or refused:
            return
        for write in (
            lambda: engine.put(b"inner", b"1"),
            lambda: engine.apply([]),
            engine.clear,
            lambda: engine.update(b"a", lambda _entry: None),
        ):
            with pytest.raises(ReentrantCallError, match="under way in this thread"):
                write()
            refused.append(1)

    watch.before = interrupt
    assert engine.put(b"b", b"2") == 2
    assert engine.put(b"c", b"3") == 3
    assert (len(refused), engine.get(b"inner")) == (4, None)
    assert {key for key, _ in engine.scan()} == {b"a", b"b", b"c"}


def test_an_interrupted_batch_never_comes_back_over_a_newer_value(
    open_engine, tmp_path, monkeypatch
):
    # The batch was staged first, and the next one published both.
    engine = open_engine(tmp_path / "store")
    change = engine._memtable.change

    def interrupted(_lsn, _slots):
        monkeypatch.setattr(engine._memtable, "change", change)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine._memtable, "change", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.update(b"key", lambda _entry: Put(b"key", b"old"))
    engine.put(b"key", b"new")
    engine.apply([Put(b"other", b"1")])
    assert engine.get(b"key") == b"new"


@pytest.mark.parametrize(
    "outcome",
    [Outcome(b"", "", 0, 9), Outcome(b"", "Killed", 1, 0), Outcome(b"hi", "", 0, 0)],
)
def test_a_helper_without_a_verdict_is_no_damage(monkeypatch, tmp_path, outcome):
    monkeypatch.setattr(lmdb_walk.helper, "maybe_run", lambda *_: outcome)
    with pytest.raises(StorageError, match="no verdict"):
        lmdb_walk.verify(str(tmp_path))


def test_what_others_print_in_a_helper_is_not_its_verdict(monkeypatch, tmp_path):
    outcome = Outcome(b"hello\n\n[]\n", "", 0, 0)
    monkeypatch.setattr(lmdb_walk.helper, "maybe_run", lambda *_: outcome)
    assert lmdb_walk.verify(str(tmp_path)) == []


def test_without_threads_writes_are_refused_rather_than_never_synced(
    tmp_path, monkeypatch
):
    engine = HybridEngine(str(tmp_path / "store"), Options.resolve())

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(StorageError, match="no thread"):
            engine.put(b"a", b"1")
    engine.put(b"a", b"1")
    assert engine.sync() == 1
    engine.close()


def test_a_store_opens_when_the_helper_of_its_dead_owner_has_ended(tmp_path):
    # The owner died, its helper was still folding: it must not write old values to
    # LMDB under the next owner, and the next open must not fail for its sake.
    root, ended = str(tmp_path), threading.Event()
    lifeline, our_end = os.pipe()
    owner = (
        "import os, subprocess, sys\n"
        "from hypercache.locking import DirectoryLock\n"
        "lock = DirectoryLock(sys.argv[1], sys.argv[1] + '/LOCK')\n"
        "helper = [sys.executable, '-c', f'import os; os.read({sys.argv[2]}, 1)']\n"
        "subprocess.Popen(helper, pass_fds=[lock.fileno(), int(sys.argv[2])])\n"
        "os._exit(0)\n"
    )
    command = [sys.executable, "-c", owner, root, str(lifeline)]
    subprocess.run(command, check=True, pass_fds=[lifeline], timeout=30)
    os.close(lifeline)

    def end_helper():
        ended.set()
        os.close(our_end)

    timer = threading.Timer(0.2, end_helper)
    timer.start()
    lock = DirectoryLock(root, f"{root}/LOCK")
    assert ended.is_set()
    lock.release()
    timer.join()


def test_a_cache_collected_in_a_thread_of_its_engine_is_closed_in_another():
    # The thread held the lock that close() waits for, and the store stayed locked.
    closed_in, closed = [], threading.Event()

    class Engine:
        def close(self):
            closed_in.append(threading.current_thread().name)
            closed.set()

    name = "hypercache-checkpoint"
    thread = threading.Thread(target=close_forgotten, args=[Engine()], name=name)
    thread.start()
    thread.join()
    assert closed.wait(10)
    assert closed_in != [name]


def test_the_helper_that_folds_shares_the_lock_of_the_store(
    open_engine, tmp_path, monkeypatch
):
    engine = open_engine(tmp_path / "store")
    engine.put(b"a", b"1")
    shared, start = [], fold_helper.helper.maybe_start

    def watched(*arguments, inherit=(), **options):
        shared.extend(inherit)
        return start(*arguments, inherit=inherit, **options)

    monkeypatch.setattr(fold_helper.helper, "maybe_start", watched)
    with engine._checkpoints.turn():
        engine._checkpoints.run(in_process=True)
    assert engine.stats().checkpoint_lsn == 1
    assert shared == [engine._directory_lock.fileno()]
    monkeypatch.undo()

"""Writes to a persistent store: shared commits, failures, interrupts, forks."""

import os
import signal
import threading

import lmdb
import pytest

from hypercache import Cache
from hypercache.engines import PersistentEngine
from hypercache.engines.base import Delete, Put
from hypercache.errors import (
    ClosedError,
    ConfigError,
    CorruptionError,
    DiskFullError,
    ForkedStoreError,
    LimitError,
    ReentrantCallError,
    StorageFailedError,
)
from hypercache.options import Options
from tests.support.contents import contents
from tests.support.files import find_bytes, flipped, unchanged
from tests.support.mounts import mounted
from tests.support.processes import Threads, in_fork

OPTIONS = Options.resolve(engine="persistent", map_bytes=65536)
THREADS = 32
WAIT_S = 20


@pytest.fixture
def open_engine(opened, store_path):
    return lambda path=store_path: opened.add(PersistentEngine(str(path), OPTIONS))


@pytest.fixture
def engine(open_engine):
    return open_engine()


def transaction_id(engine):
    return engine._store.transaction_id()


def queue_up(threads, engine, writes):
    """Start writes, each in a thread of its own, in this order; one leads them all."""
    pause = threading.Event()
    for count, write in enumerate(writes, 1):
        threads.start(write)
        for _ in range(WAIT_S * 100):
            if engine._commits._queue.waiting_count() == count:
                break
            pause.wait(0.01)
        else:
            raise AssertionError(f"no {count} writes wait")


def caught(errors, name, write):
    def run():
        try:
            errors[name] = write()
        except Exception as error:  # noqa: BLE001  (the test looks at it)
            errors[name] = error

    return run


# Shared commits


def test_concurrent_threads_share_commits(engine):
    writes_each = 20
    before = transaction_id(engine)
    start = threading.Barrier(THREADS)

    def work(who):
        start.wait(WAIT_S)
        for n in range(writes_each):
            engine.put(b"%d" % who, b"%d" % n)

    with Threads() as threads:
        for who in range(THREADS):
            threads.start(work, who)
        threads.join()
    commit_count = transaction_id(engine) - before
    assert commit_count < THREADS * writes_each / 4, commit_count
    assert set(contents(engine).values()) == {b"%d" % (writes_each - 1)}
    assert engine.stats().appended_lsn == THREADS * writes_each


def test_writes_that_wait_for_a_block_are_one_commit_with_lsns_of_their_own(engine):
    last = engine.put(b"n", b"0")
    answers = {}

    def increment(entry):
        return Put(b"n", b"%d" % (int(entry.value) + 1))

    writes = [
        caught(answers, n, lambda: engine.update(b"n", increment)) for n in range(9)
    ]
    writes.append(
        caught(answers, "batch", lambda: engine.apply([Put(b"a", b"1"), Delete(b"a")]))
    )
    writes.append(caught(answers, "none", lambda: engine.update(b"n", lambda _: None)))
    writes.append(caught(answers, "empty", lambda: engine.apply([])))
    with Threads() as threads:
        with engine.exclusive():
            queue_up(threads, engine, writes)
            before = transaction_id(engine)
        threads.join()
    assert transaction_id(engine) == before + 1
    assert engine.get(b"n") == b"9"
    assert [answers[n] for n in range(9)] == [last + 1 + n for n in range(9)]
    assert answers["batch"] == answers["empty"] == last + 11
    assert answers["none"] is None


def test_a_write_that_raises_disturbs_none_of_those_it_shares_a_commit_with(
    engine, store_path
):
    engine.put(b"bad", b"needle-in-a-file" * 3)
    answers = {}

    def fail(entry):
        raise RuntimeError("changed my mind")

    def exceed(entry):
        return Put(b"", b"x")

    writes = {
        "first": lambda: engine.put(b"first", b"1"),
        "raises": lambda: engine.update(b"x", fail),
        "exceeds": lambda: engine.update(b"x", exceed),
        "damaged": lambda: engine.update(b"bad", lambda entry: Delete(b"bad")),
        "wrong": lambda: engine.update(b"x", lambda entry: Put(b"x", "text")),
        "last": lambda: engine.put(b"last", b"2"),
    }
    with flipped(find_bytes(store_path, b"needle-in-a-file")), Threads() as threads:
        with engine.exclusive():
            queue_up(
                threads, engine, [caught(answers, *item) for item in writes.items()]
            )
        threads.join()
    assert isinstance(answers["raises"], RuntimeError)
    assert isinstance(answers["exceeds"], LimitError)
    assert isinstance(answers["damaged"], CorruptionError)
    assert isinstance(answers["wrong"], TypeError)
    assert answers["last"] == answers["first"] + 1 > 1
    engine.apply([Delete(b"bad")])  # damaged for good: its page was written again
    assert contents(engine) == {b"first": b"1", b"last": b"2"}


def test_a_change_is_made_once_though_the_map_has_to_grow_for_its_commit(engine):
    calls = []

    def change(entry):
        calls.append(entry)
        return Put(b"key", bytes(1 << 20))

    engine.update(b"key", change)
    assert calls == [None]
    assert len(engine.get(b"key")) == 1 << 20


# Failures


class Failing:
    """Stands for the LMDB environment, whose next commit fails as told."""

    def __init__(self, environment):
        self.environment, self.error = environment, None

    def __getattr__(self, name):
        return getattr(self.environment, name)

    def begin(self, **arguments):
        txn = self.environment.begin(**arguments)
        return FailingCommit(txn, self.error) if arguments.get("write") else txn


class FailingCommit:
    def __init__(self, txn, error):
        self.txn, self.error = txn, error

    def __getattr__(self, name):
        return getattr(self.txn, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.error is not None:
            self.txn.abort()
            if error[0] is None:
                raise self.error
        else:
            self.txn.__exit__(*error)


@pytest.fixture
def failing(engine):
    engine._store._opened.env = Failing(engine._store._env)
    return engine._store._env


def test_a_failed_commit_latches_and_only_a_new_open_clears_it(
    engine, failing, open_engine, caplog
):
    engine.put(b"a", b"1")
    failing.error = lmdb.DiskError("mdb_txn_commit: Input/output error")
    with pytest.raises(StorageFailedError, match="Input/output") as first:
        engine.put(b"b", b"2")
    assert first.value.__cause__ is not None
    failing.error = None
    writes = [
        lambda: engine.put(b"c", b"3"),
        lambda: engine.apply([Delete(b"a")]),
        lambda: engine.update(b"a", lambda entry: Delete(b"a")),
        engine.clear,
        lambda: engine.exclusive().__enter__(),
    ]
    for write in writes:
        with pytest.raises(StorageFailedError, match="open it again"):
            write()
    assert contents(engine) == {b"a": b"1"}
    assert engine.check().ok
    assert "Input/output" in engine.stats().failure
    assert "no more writes are accepted" in caplog.text
    engine.close()
    again = open_engine()
    assert contents(again) == {b"a": b"1"}
    again.put(b"b", b"2")
    assert again.stats().failure is None


def test_all_writes_of_a_failed_commit_are_told(engine, failing):
    failing.error = lmdb.DiskError("mdb_txn_commit: Input/output error")
    answers = {}
    writes = [
        caught(answers, n, lambda n=n: engine.put(b"%d" % n, b"1")) for n in range(5)
    ]
    with Threads() as threads:
        with engine.exclusive():
            queue_up(threads, engine, writes)
        threads.join()
    assert {type(answer) for answer in answers.values()} == {StorageFailedError}
    assert contents(engine) == {}


def test_a_full_disk_refuses_what_does_not_fit_and_heals(tmp_path, open_engine):
    with mounted(tmp_path / "small", "size=6m") as small:
        engine = open_engine(small / "store")
        (small / "filler").write_bytes(bytes(1_000_000))
        written = {}

        def fill():
            for n in range(10_000):
                engine.put(b"%d" % n, bytes(10_000))
                written[b"%d" % n] = bytes(10_000)

        with pytest.raises(DiskFullError, match="free some space"):
            fill()
        assert contents(engine) == written
        with pytest.raises(DiskFullError):
            engine.apply([Put(b"x%d" % n, bytes(10_000)) for n in range(20)])
        assert engine.stats().failure is None
        (small / "filler").unlink()
        engine.apply([Put(b"x%d" % n, bytes(10_000)) for n in range(20)])
        engine.apply([Delete(key) for key in list(written)[:50]])
        assert engine.count() == len(written) - 30
        engine.close()
        again = open_engine(small / "store")
        assert again.count() == len(written) - 30
        assert again.check().ok
        again.close()


def test_a_write_too_large_for_the_disk_does_not_fail_those_beside_it(
    tmp_path, open_engine
):
    with mounted(tmp_path / "small", "size=6m") as small:
        engine = open_engine(small / "store")
        answers = {}
        writes = [
            caught(answers, "small", lambda: engine.put(b"a", b"1")),
            caught(answers, "huge", lambda: engine.put(b"b", bytes(4_000_000))),
            caught(answers, "last", lambda: engine.put(b"c", b"1")),
        ]
        engine.put(b"half", bytes(3_000_000))
        with Threads() as threads:
            with engine.exclusive():
                queue_up(threads, engine, writes)
            threads.join()
        assert isinstance(answers["huge"], DiskFullError)
        assert contents(engine).keys() == {b"half", b"a", b"c"}
        engine.close()


# Interrupts


def test_a_write_from_inside_a_write_is_refused_and_the_outer_one_stands(engine):
    refused = []

    def handler(*_):
        for call in (
            lambda: engine.put(b"inner", b"1"),
            lambda: engine.update(b"inner", lambda entry: Put(b"inner", b"1")),
            lambda: engine.exclusive().__enter__(),
            engine.clear,
            engine.close,
        ):
            with pytest.raises(ReentrantCallError, match="under way in this thread"):
                call()
            refused.append(engine.get(b"outer"))  # a read is no write

    def change(entry):
        signal.raise_signal(signal.SIGUSR1)
        return Put(b"outer", b"1")

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        engine.update(b"outer", change)
        assert refused == [None] * 5
        with engine.exclusive():
            signal.signal(signal.SIGUSR1, lambda *_: engine.put(b"in block", b"1"))
            signal.raise_signal(signal.SIGUSR1)
            with pytest.raises(ReentrantCallError):
                engine.close()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert contents(engine) == {b"outer": b"1", b"in block": b"1"}


class Interrupting(Failing):
    """Raises KeyboardInterrupt before or after a commit."""

    def begin(self, **arguments):
        txn = self.environment.begin(**arguments)
        if not arguments.get("write") or self.error is None:
            return txn
        when, self.error = self.error, None
        return InterruptedCommit(txn, when)


class InterruptedCommit(FailingCommit):
    def __exit__(self, *error):
        if self.error == "before" or error[0] is not None:
            self.txn.abort()
        else:
            self.txn.commit()
        raise KeyboardInterrupt


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupted_leader_loses_nothing_of_the_others_and_repeats_nothing(
    engine, when
):
    engine._store._opened.env = environment = Interrupting(engine._store._env)
    answers, calls = {}, []

    def append(name):
        def change(entry):
            calls.append(name)
            return Put(b"log", (entry.value if entry else b"") + name)

        return lambda: engine.update(b"log", change)

    def leader():
        with pytest.raises(KeyboardInterrupt):
            append(b"1")()

    writes = [leader] + [
        caught(answers, name, append(name)) for name in (b"2", b"3", b"4")
    ]
    with Threads() as threads:
        with engine.exclusive():
            queue_up(threads, engine, writes)
            environment.error = when
        threads.join()
    log = engine.get(b"log")
    assert log == (b"234" if when == "before" else b"1234")
    assert [answers[name] for name in (b"2", b"3", b"4")] == (
        [1, 2, 3] if when == "before" else [2, 3, 4]
    )
    assert len(calls) == (4 if when == "after" else 7)
    engine.put(b"next", b"1")


def test_an_interrupt_while_another_process_writes_takes_the_write_back(
    engine, store_path
):
    class Busy:
        def acquire(self):
            raise KeyboardInterrupt

        def release(self):
            pass

    writer, engine._commits._writer = engine._commits._writer, Busy()
    with pytest.raises(KeyboardInterrupt):
        engine.put(b"a", b"1")
    with pytest.raises(KeyboardInterrupt):
        engine.exclusive().__enter__()
    engine._commits._writer = writer
    assert contents(engine) == {}
    engine.put(b"b", b"1")
    assert contents(engine) == {b"b": b"1"}


# Fork, close, policy


def test_a_forked_child_is_refused_and_touches_nothing(engine, store_path):
    engine.apply([Put(b"%d" % n, b"1") for n in range(5)])
    scan = engine.scan()
    next(scan)
    calls = {
        "get": lambda: engine.get(b"1"),
        "get_many": lambda: engine.get_many([b"1"]),
        "scan": lambda: list(engine.scan()),
        "an open scan": lambda: list(scan),
        "count": engine.count,
        "put": lambda: engine.put(b"1", b"2"),
        "update": lambda: engine.update(b"1", lambda entry: None),
        "exclusive": lambda: engine.exclusive().__enter__(),
        "clear": engine.clear,
        "sync": engine.sync,
        "check": engine.check,
        "stats": engine.stats,
    }

    def in_child():
        found = {}
        for name, call in calls.items():
            try:
                found[name] = repr(call())
            except ForkedStoreError:
                continue
        engine.close()
        return found

    with unchanged(store_path):
        assert in_fork(in_child) == {}
    assert len(list(scan)) == 4
    engine.put(b"after", b"1")
    assert engine.check().ok


def test_a_fork_while_threads_write_stops_neither(engine):
    def write(name):
        n = 0
        while not threads.stopping.is_set():
            engine.put(name, b"%d" % n)
            n += 1

    def refused():
        with pytest.raises(ForkedStoreError):
            engine.put(b"child", b"1")

    with Threads() as threads:
        threads.start(write, b"a")
        threads.start(write, b"b")
        for n in range(6):
            in_fork(refused)
            engine.put(b"main", b"%d" % n)
    assert engine.get(b"main") == b"5"
    assert engine.get(b"child") is None
    assert engine.check().ok


def test_a_forked_child_may_open_the_store_when_the_parent_has_closed_it(
    engine, store_path, open_engine
):
    engine.close()

    def in_child():
        child = PersistentEngine(str(store_path), OPTIONS)
        child.put(b"from the child", b"1")
        child.close()
        return os.getpid()

    assert in_fork(in_child) != os.getpid()
    assert open_engine().get(b"from the child") == b"1"


def test_writes_that_wait_when_the_store_is_closed_are_told(engine):
    answers = {}
    writes = [
        caught(answers, n, lambda n=n: engine.put(b"%d" % n, b"1")) for n in range(6)
    ]
    with Threads() as threads:
        with engine._commits._lock:
            queue_up(threads, engine, writes)
            engine.close()
        threads.join()
    assert {type(answer) for answer in answers.values()} == {ClosedError}


def test_policies_that_do_not_go_with_the_engine_say_what_to_use(store_path):
    with pytest.raises(ConfigError, match="leave sync out, or use engine='hybrid'"):
        Cache(store_path, engine="persistent", sync="everysec")
    with pytest.raises(ConfigError, match="allow_unsafe_sync=True"):
        Cache(store_path, engine="persistent", sync="no")
    assert not store_path.exists()


def test_without_sync_a_write_is_durable_after_sync(store_path):
    with Cache(
        store_path, engine="persistent", sync="no", allow_unsafe_sync=True
    ) as cache:
        lsn = cache.set("a", 1)
        stats = cache.stats()
        assert (stats.sync, stats.appended_lsn, stats.synced_lsn) == ("no", lsn, 0)
        assert cache.sync() == lsn
        assert cache.stats().synced_lsn == lsn
        lsn = cache.set("b", 1)
        cache.wait_durable(lsn)
        assert cache.stats().synced_lsn == lsn
    with Cache(store_path, engine="persistent") as cache:
        assert cache.stats().sync == "always"
        assert cache.get_many(["a", "b"]) == {"a": 1, "b": 1}

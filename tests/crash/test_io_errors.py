"""After an I/O error nothing is acknowledged falsely, and a new open heals."""

import contextlib
import errno
import os
import threading

import pytest

from hypercache import group_commit
from hypercache.engines import lmdb_walk
from hypercache.engines.base import Put
from hypercache.engines.hybrid import HybridEngine
from hypercache.errors import DiskFullError, StorageError, StorageFailedError
from hypercache.options import Options
from hypercache.os_errors import mapped_error
from tests.support.recording import Watch, WatchedStorage

WAIT_S = 10
SMALL = {"segment_bytes": 4096, "checkpoint_bytes": 1 << 30, "maintenance": "inline"}


class Fault:
    """Fail the n-th call that matches, once or from then on."""

    def __init__(self, what, nth, number, *, path="", for_ever=False, then=None):
        self.what, self.path, self.number = what, path, number
        self.left, self.for_ever = nth, for_ever
        self.happened, self.then = False, then or (lambda: None)

    def __call__(self, event):
        if event.what != self.what or self.path not in event.path:
            return
        self.left -= 1
        if self.left == 0 or (self.for_ever and self.left < 0):
            self.happened = True
            self.then()
            error = OSError(self.number, os.strerror(self.number))
            raise mapped_error(error, self.what.split()[0], event.path) from error


@pytest.fixture(autouse=True)
def _no_process_walks_lmdb(monkeypatch):
    """Save a process per open and check: it is the log that fails in here."""
    monkeypatch.setattr(lmdb_walk, "verify", lambda *_: [])


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def open_engine(tmp_path, watch):
    """Open the store of this test, watched; whatever is open is closed at the end."""
    opened = []

    def open_one(**changes):
        options = Options.resolve(**{"sync": "always", **SMALL, **changes})
        storage = WatchedStorage(watch)
        opened.append(HybridEngine(str(tmp_path), options, storage=storage))
        return opened[-1]

    yield open_one
    watch.before = lambda _event: None
    for engine in opened:
        engine.close()


def write_until_it_fails(engine, count=40):
    """Write; return what was acknowledged, and the error that ended it."""
    acknowledged = {}
    try:
        for number in range(count):
            key, value = b"key%d" % number, b"%d" % number * 150
            if number % 3:
                engine.put(key, value)
            else:
                engine.apply([Put(key, value), Put(b"last", key)])
            acknowledged[key] = value
            if number == 25:
                engine.checkpoint()
    except StorageError as error:
        return acknowledged, error
    return acknowledged, None


def check_latched(engine, acknowledged):
    """Everything that writes is refused; everything that reads answers."""
    for write in (
        lambda: engine.put(b"x", b"y"),
        lambda: engine.apply([Put(b"x", b"y")]),
        lambda: engine.update(b"x", lambda _entry: Put(b"x", b"y")),
        engine.clear,
        engine.checkpoint,
        lambda: engine.exclusive().__enter__(),
    ):
        with pytest.raises(
            StorageFailedError, match="accepts no more writes"
        ) as caught:
            write()
        assert isinstance(caught.value.__cause__, StorageError)
    for key, value in acknowledged.items():
        assert engine.get(key) == value
    assert engine.get(b"x") is None
    assert {key for key, _ in engine.scan()} - {b"last"} == set(acknowledged)
    assert engine.stats().failure is not None


def check_reopened(open_engine, watch, acknowledged):
    watch.before = lambda _event: None
    again = open_engine()
    for key, value in acknowledged.items():
        assert again.get(key) == value
    again.put(b"after", b"x")
    assert again.stats().failure is None
    assert again.check().ok


@pytest.mark.parametrize("log_io", ["mmap", "write"])
@pytest.mark.parametrize("nth", [1, 2, 3, 17, 18, 19, 20, 29, 30, 31, 32])
def test_a_failed_sync_of_the_log_latches_it_until_the_next_open(
    open_engine, watch, log_io, nth
):
    engine = open_engine(log_io=log_io)
    watch.before = fault = Fault("sync", nth, errno.EIO, path="/wal/")
    acknowledged, error = write_until_it_fails(engine)
    assert fault.happened
    assert error is not None, "a write was acknowledged though its sync failed"
    check_latched(engine, acknowledged)
    syncs = sum(event.what == "sync" for event in watch.events)
    with contextlib.suppress(StorageError):
        engine.close()
    assert syncs == sum(event.what == "sync" for event in watch.events), "synced again"
    check_reopened(open_engine, watch, acknowledged)


@pytest.mark.parametrize("nth", [1, 2])
def test_a_failed_sync_of_the_logs_directory_latches_it(open_engine, watch, nth):
    engine = open_engine()
    watch.before = fault = Fault("sync directory", nth, errno.EIO, path="/wal")
    acknowledged, error = write_until_it_fails(engine)
    assert (fault.happened, error is not None) == (True, True)
    check_latched(engine, acknowledged)
    engine.close()
    check_reopened(open_engine, watch, acknowledged)


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_failed_replacement_of_the_marker_latches_the_log(open_engine, watch, nth):
    engine = open_engine()
    watch.before = fault = Fault("replace", nth, errno.EIO, path="/CHECKPOINT")
    acknowledged, error = write_until_it_fails(engine)
    assert (fault.happened, error is not None) == (True, True)
    check_latched(engine, acknowledged)
    engine.close()
    check_reopened(open_engine, watch, acknowledged)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_whatever_a_sync_says_it_latches(open_engine, watch, number):
    engine = open_engine()
    engine.put(b"a", b"1")
    watch.before = Fault("sync", 1, number, path="/wal/")
    with pytest.raises(StorageFailedError):
        engine.put(b"b", b"2")
    check_latched(engine, {b"a": b"1"})


@pytest.mark.parametrize("sync", ["everysec", "no"])
def test_a_failed_sync_latches_under_the_other_policies_too(open_engine, watch, sync):
    engine = open_engine(sync=sync)
    engine.put(b"a", b"1")
    watch.before = Fault("sync", 1, errno.EIO, path="/wal/")
    with pytest.raises(StorageFailedError):
        engine.sync()
    check_latched(engine, {b"a": b"1"})
    engine.close()
    check_reopened(open_engine, watch, {b"a": b"1"})


def test_the_flushers_failure_reaches_the_next_writer(open_engine, watch, monkeypatch):
    monkeypatch.setattr(group_commit, "FLUSH_EVERY_S", 0.01)
    engine = open_engine(sync="everysec")
    failed = threading.Event()
    # The first sync is that of the header.
    watch.before = Fault("sync", 2, errno.EIO, path="/wal/", then=failed.set)
    engine.put(b"a", b"1")
    assert failed.wait(WAIT_S)
    with pytest.raises(StorageFailedError):
        engine.wait_durable(1)
    check_latched(engine, {b"a": b"1"})


def test_an_error_while_closing_is_raised_and_everything_released(open_engine, watch):
    engine = open_engine(sync="no")
    engine.put(b"a", b"1")
    watch.before = Fault("sync", 1, errno.EIO, path="/wal/", for_ever=True)
    with pytest.raises(StorageError):
        engine.close()
    engine.close()
    check_reopened(open_engine, watch, {b"a": b"1"})


# A full disk heals


@pytest.mark.parametrize("written", [0, 1, 40, 150])
@pytest.mark.parametrize("nth", [1, 2, 13, 21, 22])
def test_a_full_disk_refuses_the_write_and_goes_on_when_there_is_space(
    open_engine, watch, nth, written
):
    engine = open_engine(log_io="write")
    full = FullDisk(nth, written)
    watch.before = full
    acknowledged, refused = {}, 0
    for number in range(40):
        key, value = b"key%d" % number, b"%d" % number * 150
        try:
            engine.put(key, value)
            acknowledged[key] = value
        except DiskFullError:
            refused += 1
            assert engine.get(key) is None
            full.free()
    assert refused == 1
    assert engine.stats().failure is None
    assert {key: entry.value for key, entry in engine.scan()} == acknowledged
    assert engine.check().ok
    engine.close()
    check_reopened(open_engine, watch, acknowledged)


class FullDisk(Fault):
    """Refuse the n-th write to the log and all after it, until there is space.

    A part of each write gets through, as it does on a real disk.
    """

    def __init__(self, nth, written):
        super().__init__("write", nth, errno.ENOSPC, path="/wal/", for_ever=True)
        self.written = written

    def __call__(self, event):
        length = event.end - event.start
        try:
            super().__call__(event)
        except DiskFullError:
            with open(event.path, "r+b") as file:
                os.pwrite(
                    file.fileno(), b"\xee" * min(self.written, length), event.start
                )
            raise

    def free(self):
        self.for_ever = False


def test_a_disk_that_stays_full_refuses_every_write_and_serves_every_read(
    open_engine, watch
):
    engine = open_engine(log_io="write")
    engine.put(b"a", b"1")
    watch.before = full = FullDisk(1, 10)
    for _ in range(5):
        with pytest.raises(DiskFullError, match="free some space"):
            engine.put(b"b", b"2")
        assert engine.get(b"a") == b"1"
    full.free()
    assert engine.put(b"b", b"2") == 2
    assert engine.check().ok


def test_a_batch_that_meets_a_full_disk_is_not_there_at_all(open_engine, watch):
    engine = open_engine(log_io="write")
    watch.before = full = FullDisk(2, 40)
    with pytest.raises(DiskFullError):
        engine.apply([Put(b"a", b"1"), Put(b"b", b"2")])
    full.free()
    assert list(engine.scan()) == []
    engine.apply([Put(b"b", b"3")])
    assert [key for key, _ in engine.scan()] == [b"b"]


@pytest.mark.parametrize("log_io", ["mmap", "write"])
@pytest.mark.parametrize("nth", [1, 2])
def test_no_space_for_the_next_segment_heals_too(open_engine, watch, log_io, nth):
    engine = open_engine(log_io=log_io)
    watch.before = Fault("create", nth, errno.ENOSPC, path="/wal/")
    acknowledged, error = write_until_it_fails(engine)
    assert type(error) is DiskFullError
    more, error = write_until_it_fails(engine)
    assert error is None
    check_content(engine, {**acknowledged, **more})


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_no_space_for_the_marker_heals_too(open_engine, watch, nth):
    engine = open_engine()
    watch.before = fault = Fault("replace", nth, errno.ENOSPC, path="/CHECKPOINT")
    acknowledged, error = write_until_it_fails(engine)
    assert (type(error), fault.happened) == (DiskFullError, True)
    more, error = write_until_it_fails(engine)
    assert error is None
    check_content(engine, {**acknowledged, **more})


def check_content(engine, expected):
    found = {key: entry.value for key, entry in engine.scan()}
    found.pop(b"last")
    assert found == expected
    assert engine.check().ok


def test_a_full_disk_whose_half_frame_cannot_be_cut_away_latches(open_engine, watch):
    engine = open_engine(log_io="write")
    engine.put(b"a", b"1")
    full, broken = FullDisk(1, 20), Fault("truncate", 1, errno.EIO)
    watch.before = lambda event: (full(event), broken(event))
    with pytest.raises(StorageError):
        engine.put(b"b", b"2")
    check_latched(engine, {b"a": b"1"})
    engine.close()
    check_reopened(open_engine, watch, {b"a": b"1"})


# Files that go away, and interrupts


@pytest.mark.parametrize("replaced", [False, True])
def test_a_log_file_that_was_removed_is_noticed_at_the_next_sync(
    open_engine, tmp_path, replaced
):
    engine = open_engine()
    engine.put(b"a", b"1")
    [segment] = tmp_path.glob("wal/*.wal")
    content = segment.read_bytes()
    segment.unlink()
    if replaced:
        segment.write_bytes(content)
    with pytest.raises(StorageFailedError, match="was removed while it was in use"):
        engine.put(b"b", b"2")
    check_latched(engine, {b"a": b"1"})


@pytest.mark.parametrize("log_io", ["mmap", "write"])
@pytest.mark.parametrize("what", ["write", "truncate", "sync", "close"])
def test_an_interrupt_while_a_segment_is_sealed_leaves_a_log_that_works_or_refuses(
    open_engine, watch, log_io, what
):
    engine = open_engine(log_io=log_io, sync="no")
    engine.put(b"a", b"1")
    watch.before = InterruptOnce(what)
    with pytest.raises(KeyboardInterrupt):
        engine.checkpoint()
    assert watch.before.happened
    with contextlib.suppress(StorageError):  # to refuse is allowed, to lie is not
        engine.put(b"b", b"2")
    assert engine.get(b"a") == b"1"
    survived = {key: entry.value for key, entry in engine.scan()}
    with contextlib.suppress(StorageError):
        engine.close()
    check_reopened(open_engine, watch, survived)


class InterruptOnce:
    """Raise KeyboardInterrupt at the first call of a kind."""

    def __init__(self, what):
        self.what, self.happened = what, False

    def __call__(self, event):
        if (
            event.what == self.what
            and event.path.endswith(".wal")
            and not self.happened
        ):
            self.happened = True
            raise KeyboardInterrupt


def test_a_write_let_in_just_before_a_flush_is_synced_without_another_write(
    open_engine, watch, monkeypatch
):
    """The flusher looks how far the log reaches while a writer is about to append."""
    monkeypatch.setattr(group_commit, "FLUSH_EVERY_S", 0.01)
    engine = open_engine(sync="everysec", log_io="write")
    engine.put(b"first", b"x")
    engine.wait_durable(1, WAIT_S)
    appending, synced = threading.Event(), threading.Event()

    def before(event):
        if event.what == "write" and threading.current_thread() is writer:
            appending.set()
            assert synced.wait(WAIT_S)

    writer = threading.Thread(target=engine.put, args=(b"late", b"x"))
    watch.before = before
    writer.start()
    assert appending.wait(WAIT_S)
    engine.sync()
    synced.set()
    writer.join(WAIT_S)
    deadline = threading.Event()
    for _ in range(200):
        if engine.stats().synced_lsn == 2:
            return
        deadline.wait(0.01)
    pytest.fail("the last write is never synced")

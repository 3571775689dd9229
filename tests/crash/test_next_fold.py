"""The helper of the next checkpoint reads while a writer waits for the present one."""

import contextlib
import threading
from itertools import count

import pytest

from hypercache.engines import fold_helper
from hypercache.engines.fold_helper import FoldHelper
from hypercache.engines.hybrid import HybridEngine
from hypercache.errors import HyperCacheError, StorageError
from hypercache.options import Options
from tests.support.processes import in_fork
from tests.support.waiting import wait_until

OPTIONS = {
    "segment_bytes": 16_384,
    "checkpoint_bytes": 32_768,
    "maintenance": "process",
    "sync": "no",
}


class Helpers:
    """Helpers of checkpoints: the first to be told to fold waits for `go`."""

    def __init__(self, monkeypatch):
        self.extents, self.folded = [], []
        self.processes = []
        self.go, self.error = threading.Event(), None
        start, fold = fold_helper.maybe_start, FoldHelper.maybe_fold

        def watched_start(paths, uuid, extent, *rest):
            self.extents.append(extent)
            found = start(paths, uuid, extent, *rest)
            self.processes.append(found._process)
            return found

        def watched_fold(helper, extent):
            self.folded.append(extent)
            if len(self.folded) == 1:
                assert self.go.wait(30)
                if self.error is not None:
                    helper.close()
                    raise self.error
            return fold(helper, extent)

        monkeypatch.setattr(fold_helper, "maybe_start", watched_start)
        monkeypatch.setattr(FoldHelper, "maybe_fold", watched_fold)

    def all_ended(self):
        return all(process.poll() is not None for process in self.processes)


class Writer:
    """A thread that writes until it is told to stop."""

    def __init__(self, engine):
        self.table, self._engine = {}, engine
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def end(self):
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _write(self):
        with contextlib.suppress(HyperCacheError):  # closed meanwhile
            for number in count():
                if self._stop.is_set():
                    return
                key, value = b"key%d" % (number * 7919 % 1000), b"%0100d" % number
                self._engine.put(key, value)
                self.table[key] = value


@pytest.fixture
def helpers(monkeypatch):
    return Helpers(monkeypatch)


@pytest.fixture
def engine(opened, tmp_path, helpers):
    options = Options.resolve(**OPTIONS)
    return opened.add(HybridEngine(str(tmp_path / "store"), options))


@pytest.fixture
def writer(engine, helpers):
    """Write until one checkpoint waits and the helper of the next one was started."""
    writer = Writer(engine)
    wait_until(lambda: len(helpers.processes) >= 2)
    yield writer
    helpers.go.set()
    writer.end()


def test_what_was_read_ahead_is_folded_next(engine, writer, helpers):
    first, second = helpers.extents[:2]
    assert second.first_segment == first.active_segment + 1
    assert second.floor_lsn > first.floor_lsn
    assert second.active_segment > first.active_segment
    helpers.go.set()
    wait_until(lambda: engine.stats().checkpoint_count >= 2)
    writer.end()
    assert helpers.folded[1].floor_lsn == second.floor_lsn
    assert helpers.folded[1].first_segment == second.first_segment
    assert dict(engine.scan()) == {
        key: (value, 0) for key, value in writer.table.items()
    }
    engine.checkpoint()
    assert engine.check().ok
    assert dict(engine.scan()).keys() == writer.table.keys()


def test_a_checkpoint_that_fails_ends_the_helper_of_the_next(
    engine, writer, helpers, caplog
):
    helpers.error = StorageError("no fold now")
    ahead = helpers.processes[1]
    helpers.go.set()
    wait_until(lambda: ahead.poll() is not None)
    wait_until(lambda: engine.stats().checkpoint_count >= 1)
    writer.end()
    assert "no fold now" in caplog.text
    assert engine.check().ok
    assert dict(engine.scan()).keys() == writer.table.keys()


def test_a_close_leaves_no_helper_and_no_lock_behind(
    engine, writer, helpers, opened, tmp_path
):
    closing = threading.Thread(target=engine.close)
    closing.start()
    helpers.go.set()
    closing.join(30)
    assert not closing.is_alive()
    assert helpers.all_ended()
    again = opened.add(HybridEngine(str(tmp_path / "store"), Options.resolve()))
    assert dict(again.scan()).keys() == writer.table.keys()


def test_a_killed_helper_that_read_ahead_costs_only_time(
    engine, writer, helpers, caplog
):
    helpers.processes[1].kill()
    helpers.go.set()
    wait_until(lambda: engine.stats().checkpoint_count >= 2)
    writer.end()
    assert "helper of a checkpoint failed" in caplog.text
    assert engine.check().ok
    assert dict(engine.scan()).keys() == writer.table.keys()


def test_a_forked_child_leaves_the_helper_to_its_parent(engine, writer, helpers):
    in_fork(engine._checkpoints.release)
    assert helpers.processes[1].poll() is None
    helpers.go.set()
    wait_until(lambda: engine.stats().checkpoint_count >= 2)
    writer.end()
    assert engine.check().ok

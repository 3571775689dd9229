"""Under `always` no acknowledgement precedes the sync of what it acknowledges.

The seam is recorded while threads write: each frame's write, each sync's begin and
end, and each return to a caller, in one order. Frames are read back from the segments,
so that every LSN is known by the bytes that hold it.
"""

import random
import sys
import threading
from typing import NamedTuple

import pytest

from hypercache import Cache
from hypercache.engines.base import Delete, Put
from hypercache.engines.hybrid import HybridEngine
from hypercache.options import Options
from hypercache.segment import SegmentReader
from tests.support.processes import Threads
from tests.support.recording import Event, Watch, WatchedStorage

THREADS, WRITES = 6, 40
SEED = 7


class Span(NamedTuple):
    """One sync: between these two places of the record it ran to its end."""

    began: int
    ended: int
    path: str


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture(params=["mmap", "write"])
def engine(request, watch, tmp_path):
    options = Options.resolve(sync="always", log_io=request.param, segment_bytes=16_384)
    opened = HybridEngine(str(tmp_path), options, storage=WatchedStorage(watch))
    assert opened.stats().log_io == request.param
    yield opened
    opened.close()


def acknowledge(watch, lsn):
    watch.note(Event("acknowledged", "", lsn))


def frames_of(directory):
    """Return path, offset and LSNs of every frame in the log."""
    for path in sorted(directory.glob("wal/*.wal")):
        for found in SegmentReader(path.read_bytes(), str(path)):
            yield str(path), found.offset, range(found.lsn, found.next_lsn)


def syncs_of(events):
    began = {}
    for at, event in enumerate(events):
        if event.what == "sync":
            began.setdefault(event.path, []).append(at)
        elif event.what == "sync done":
            # Syncs of one file do not overlap: `sync_mutex` sees to it.
            yield Span(began[event.path].pop(), at, event.path)


def early_acknowledgements(events, directory):
    """Return every LSN acknowledged before a sync that began after its write ended."""
    written = {
        (event.path, event.start): at
        for at, event in enumerate(events)
        if event.what == "write done"
    }
    syncs = list(syncs_of(events))
    durable_at = {}
    for path, offset, lsns in frames_of(directory):
        at = written[path, offset]
        ends = [sync.ended for sync in syncs if sync.path == path and sync.began > at]
        durable_at.update(dict.fromkeys(lsns, min(ends, default=len(events))))
    return [
        event.start
        for at, event in enumerate(events)
        if event.what == "acknowledged" and durable_at[event.start] > at
    ]


def acknowledged_count(events):
    return sum(event.what == "acknowledged" for event in events)


def write_many(engine, watch, number):
    rng = random.Random(SEED + number)
    for at in range(WRITES):
        key, value = b"%d-%d" % (number, at % 5), rng.randbytes(rng.randrange(200))
        kind = rng.randrange(4)
        if kind == 0:
            lsn = engine.apply([Put(key, value), Delete(b"gone"), Put(b"all", value)])
        elif kind == 1:
            lsn = engine.update(b"shared", lambda _entry, v=value: Put(b"shared", v))
        else:
            lsn = engine.put(key, value)
        acknowledge(watch, lsn)


def test_the_engine_acknowledges_only_what_is_synced(engine, watch, tmp_path):
    sys.stdout.write(f"seed {SEED}\n")
    with Threads() as threads:
        for number in range(THREADS):
            threads.start(write_many, engine, watch, number)
    assert early_acknowledgements(watch.events, tmp_path) == []
    assert acknowledged_count(watch.events) == THREADS * WRITES


def test_syncs_are_shared_and_segments_roll_in_that_test(engine, watch, tmp_path):
    with Threads() as threads:
        for number in range(THREADS):
            threads.start(write_many, engine, watch, number)
    paths = {span.path for span in syncs_of(watch.events)}
    assert sum(path.endswith(".wal") for path in paths) > 1


def test_a_read_shows_only_what_is_synced(engine, watch, tmp_path):
    done = threading.Event()

    def read():
        while not done.is_set():
            found = engine.get(b"counter")
            if found is not None:
                acknowledge(watch, int(found))

    def write():
        for _ in range(60):
            # The value is the LSN that it is going to have.
            lsn = engine.stats().appended_lsn + 1
            assert engine.put(b"counter", b"%d" % lsn) == lsn
        done.set()

    with Threads() as threads:
        threads.start(read)
        threads.start(write)
    assert early_acknowledgements(watch.events, tmp_path) == []


def test_a_sync_that_began_before_the_write_does_not_count(engine, watch, tmp_path):
    """A writer that comes while a sync runs must wait for the next one."""
    running, late_written = threading.Event(), threading.Event()

    def hold(event):
        if event.what == "sync" and event.path.endswith(".wal"):
            running.set()
            assert late_written.wait(10)

    engine.put(b"first", b"x")
    watch.before = hold
    appended = engine.stats().appended_lsn

    def late():
        assert running.wait(10)
        acknowledge(watch, engine.put(b"late", b"x"))

    with Threads() as threads:
        threads.start(late)
        threads.start(lambda: acknowledge(watch, engine.put(b"early", b"x")))
        while engine.stats().appended_lsn < appended + 2:
            threading.Event().wait(0.001)
        late_written.set()
    watch.before = lambda _event: None
    assert early_acknowledgements(watch.events, tmp_path) == []


def test_a_cache_acknowledges_only_what_is_synced(watch, tmp_path):
    def write(cache, number):
        for at in range(WRITES):
            key = f"{number}-{at}"
            cache.set(key, at)
            acknowledge(watch, lsn_of(cache, key))
            with cache.transaction() as view:
                view.incr("count")
                view.set(f"t{key}", at)
            acknowledge(watch, lsn_of(cache, f"t{key}"))

    def lsn_of(cache, key):
        # Each key is written once: its LSN is where the record says it was appended.
        return lsns[key.encode()]

    lsns = {}
    with Cache(tmp_path, sync="always", segment_bytes=16_384) as cache:
        cache._engine._storage = WatchedStorage(watch)
        cache._engine._log._storage = cache._engine._storage
        note_lsns(cache._engine, lsns)
        with Threads() as threads:
            for number in range(THREADS):
                threads.start(write, cache, number)
        assert early_acknowledgements(watch.events, tmp_path) == []
        assert acknowledged_count(watch.events) == THREADS * WRITES * 2


def note_lsns(engine, lsns):
    """Remember at which LSN each key was appended, by the tables that are staged."""
    stage = engine._memtable.stage

    def noting(lsn, slots):
        lsns.update(dict.fromkeys(slots or (), lsn))
        stage(lsn, slots)

    engine._memtable.stage = noting


def test_the_check_itself_finds_an_acknowledgement_that_came_too_early(
    watch, tmp_path, monkeypatch
):
    options = Options.resolve(sync="always", log_io="write")
    engine = HybridEngine(str(tmp_path), options, storage=WatchedStorage(watch))
    monkeypatch.setattr(engine._commit, "wait", lambda *_: None)
    lsn = engine.put(b"k", b"v")
    acknowledge(watch, lsn)
    assert early_acknowledgements(watch.events, tmp_path) == [lsn]
    monkeypatch.undo()
    engine.close()

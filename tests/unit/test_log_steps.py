"""The steps of a checkpoint and of a compaction come in an order that loses nothing."""

import dataclasses
import os

import pytest

from hypercache import ops
from hypercache.aof import manifest as manifests
from hypercache.aof.compact import compact
from hypercache.aof.manifest import Manifest
from hypercache.aof.writer import AofWriter
from hypercache.errors import DiskFullError, StorageError
from hypercache.group_commit import CommitState, GroupCommit
from hypercache.net_ops import NetOps
from hypercache.ops import Clear, Delete, Put, Touch
from hypercache.options import Options, SyncPolicy
from hypercache.paths import StorePaths
from hypercache.storage import SystemClock
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker
from hypercache.wal.fold import fold
from hypercache.wal.writer import WalWriter
from tests.support.recording import Watch, WatchedStorage

UUID = bytes(range(16))
OPTIONS = Options.resolve(segment_bytes=4096, log_io="write")


class Log:
    """A log of several sealed segments, each step of which is watched."""

    def __init__(self, root, kind):
        self.watch = Watch()
        self.storage, self.paths = WatchedStorage(self.watch), StorePaths(str(root))
        wal = kind is WalWriter
        self.names = self.paths.wal_log if wal else self.paths.increments
        self.storage.make_directory(self.names.directory)
        if wal:
            named = Marker()
            checkpoint.store(self.storage, self.paths, named)
        else:
            named = Manifest()
            manifests.store(self.storage, self.paths, named)
        self.writer = kind(self.storage, self.paths, OPTIONS, UUID, named)
        self.commit = GroupCommit(
            CommitState(SyncPolicy.ALWAYS, 0),
            SystemClock(),
            sync_file=self.writer.sync_active,
            appended_lsn=self.writer.appended_lsn,
            on_synced=lambda _lsn: None,
        )
        self.writer.attach(self.commit)

    def append(self, *batch):
        self.writer.append(ops.encode(ops.Packer(), batch), len(batch))

    def fill(self, count=20):
        for number in range(count):
            self.append(Put(b"key%02d" % number, bytes([number]) * 900))
        self.writer.seal_active()

    def compacted(self):
        """Return the facts of a new base, which nothing names yet."""
        steps = compact(self.storage, self.paths, UUID, self.writer.manifest)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    def files(self):
        return sorted(os.listdir(self.names.directory))


def failing(what, error, path=""):
    def before(event):
        if event.what == what and path in event.path:
            raise error

    return before


def nothing_fails(_event):
    pass


@pytest.fixture
def wal(tmp_path):
    log = Log(tmp_path, WalWriter)
    log.fill()
    return log


@pytest.fixture
def aof(tmp_path):
    log = Log(tmp_path, AofWriter)
    log.fill()
    return log


def test_without_a_new_marker_no_segment_is_left_behind(wal):
    before, marker = wal.files(), wal.writer.marker
    wal.watch.before = failing("replace", DiskFullError("no space"))
    with pytest.raises(DiskFullError):
        wal.writer.trim(10)
    assert wal.files() == before
    assert wal.writer.marker == marker
    wal.writer.prune()
    assert wal.files() == before
    wal.watch.before = nothing_fails
    wal.writer.trim(10)
    assert len(wal.files()) < len(before)


def test_without_a_new_manifest_no_increment_is_left_behind(aof):
    base = aof.compacted()
    before, manifest = aof.files(), aof.writer.manifest
    wal_bytes = aof.writer.sealed_bytes
    aof.watch.before = failing("replace", DiskFullError("no space"))
    with pytest.raises(DiskFullError):
        aof.writer.adopt(base)
    assert aof.files() == before
    assert aof.writer.manifest == manifest
    assert aof.writer.sealed_bytes == wal_bytes
    aof.watch.before = nothing_fails
    aof.writer.adopt(base)
    assert aof.files() == before  # they are history, and still there
    aof.writer.prune()
    assert aof.files() == ["MANIFEST", "base-0000000000000001.base"]


@pytest.mark.parametrize("kind", ["wal", "aof"])
def test_what_is_removed_is_gone_for_good(kind, request):
    log = request.getfixturevalue(kind)
    if kind == "wal":
        log.writer.folded(20, 0)
    else:
        log.writer.adopt(log.compacted())
    began = len(log.watch.events)
    log.writer.prune()
    whats = [(event.what, event.path) for event in log.watch.events[began:]]
    assert ("sync directory done", log.names.directory) in whats
    began = len(log.watch.events)
    log.writer.prune()
    assert log.watch.events[began:] == []  # there was nothing to remove


def test_old_bases_are_gone_for_good_too(aof):
    aof.writer.adopt(aof.compacted())
    aof.writer.prune()
    aof.append(Delete(b"key01"))
    aof.writer.seal_active()
    aof.writer.adopt(aof.compacted())
    os.unlink(aof.names.segment(aof.writer.manifest.active_segment))
    began = len(aof.watch.events)
    aof.writer.prune()
    whats = [event.what for event in aof.watch.events[began:]]
    assert "sync directory done" in whats
    assert aof.files() == ["MANIFEST", "base-0000000000000002.base"]


@pytest.mark.parametrize("what", ["sync", "write"])
def test_a_base_gets_its_name_when_it_is_whole_and_on_the_medium(aof, what):
    aof.watch.before = failing(what, StorageError(f"no {what} now"), ".tmp")
    with pytest.raises(StorageError, match=f"no {what} now"):
        aof.compacted()
    assert [name for name in aof.files() if "base" in name] == []
    aof.watch.before = nothing_fails
    assert aof.compacted().entry_count == 20


def test_a_base_is_synced_behind_its_footer(aof):
    base = aof.compacted()
    events = [event for event in aof.watch.events if ".tmp" in event.path]
    whats = [event.what for event in events if event.what.endswith("done")]
    assert whats[-3:] == ["write done", "sync done", "close done"]
    assert max(event.end for event in events) == base.length_bytes


def test_what_a_killed_compaction_left_is_in_nobodys_way(aof):
    left = f"{aof.paths.aof}/base-{1:016}.base.tmp"
    with open(left, "wb") as file:
        file.write(b"half a base")
    assert aof.compacted().entry_count == 20
    assert not os.path.exists(left)


# A fold


class Target:
    """What a checkpoint writes to, and what a crash would leave of it at each step."""

    def __init__(self):
        self.table, self.reached_lsn, self.states = {}, 0, []

    def fold(self, batch, reached_lsn):
        for _, op in batch:
            if isinstance(op, Put):
                self.table[op.key] = op.value
            elif isinstance(op, Delete):
                self.table.pop(op.key, None)
        self._note(reached_lsn)

    def clear(self, reached_lsn):
        self.table = {}
        self._note(reached_lsn)

    def _note(self, reached_lsn):
        self.reached_lsn = reached_lsn or self.reached_lsn
        self.states.append((self.reached_lsn, dict(self.table)))


def folded(log):
    target = Target()
    net = NetOps(log.storage, log.paths.wal_log, UUID)
    steps = fold(net, log.writer.marker.extent, target, batch_count=3)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return target, end.value


def replayed_from(log, lsn, table):
    """Return what a table becomes by the ops of the log above an LSN."""
    marker = dataclasses.replace(log.writer.marker, checkpoint_lsn=lsn)
    writer = WalWriter(log.storage, log.paths, OPTIONS, UUID, marker)
    after = dict(table)
    for _, op in writer.replay():
        if isinstance(op, Clear):
            after = {}
        elif isinstance(op, Put):
            after[op.key] = op.value
        else:
            after.pop(op.key, None)
    return after


@pytest.mark.parametrize("cleared", [False, True])
def test_a_fold_that_ends_at_any_step_and_a_replay_make_the_same_table(
    tmp_path, cleared
):
    log = Log(tmp_path, WalWriter)
    log.fill()
    if cleared:
        log.append(Clear())
        log.fill(5)
    for number in range(0, 20, 2):
        log.append(Delete(b"key%02d" % number))
    log.writer.seal_active()
    whole = replayed_from(log, 0, {})
    target, reached_lsn = folded(log)
    assert reached_lsn == log.writer.appended_lsn()
    assert (target.reached_lsn, target.table) == (reached_lsn, whole)
    assert len(target.states) > 3
    for lsn, table in target.states[:-1]:
        assert lsn < reached_lsn
        assert replayed_from(log, lsn, table) == whole


# Reading a log bit by bit


def net_of(log, *extents, sort=False):
    net = NetOps(log.storage, log.paths.wal_log, UUID)
    for extent in extents:
        for _ in net.read(extent):
            pass
        for _ in net.sort(3) if sort else ():
            pass
    return net


def mixed_log(tmp_path):
    log = Log(tmp_path, WalWriter)
    for turn in range(4):
        log.append(*(Put(b"key%02d" % number, b"v" * 300) for number in range(9)))
        if turn == 2:
            log.append(Clear())
        log.append(Touch(b"key03", 5_000 + turn), Delete(b"key%02d" % turn))
        log.append(Put(b"of turn %d" % turn, b"v"))
        log.writer.seal_active()
    return log


@pytest.mark.parametrize("sort", [False, True])
def test_a_log_read_bit_by_bit_comes_to_what_it_comes_to_at_once(tmp_path, sort):
    log = mixed_log(tmp_path)
    extent = log.writer.marker.extent
    whole = net_of(log, extent, sort=True)
    assert whole.cleared_lsn
    assert whole.in_order == sorted(whole.by_key)
    parts = [dataclasses.replace(extent, active_segment=n) for n in extent.numbers]
    for read in (parts, [parts[1], extent], [extent, extent]):
        net = net_of(log, *read, sort=sort)
        for _ in net.sort(100):
            pass
        assert net.by_key == whole.by_key
        assert net.in_order == whole.in_order
        assert net.cleared_lsn == whole.cleared_lsn
        assert net.reached_lsn == whole.reached_lsn == log.writer.appended_lsn()


def test_segments_already_read_are_not_read_again(tmp_path):
    log = mixed_log(tmp_path)
    extent = log.writer.marker.extent
    first = dataclasses.replace(extent, active_segment=extent.active_segment - 1)
    net = net_of(log, first)
    for path in map(log.names.segment, first.numbers):
        os.unlink(path)
    for _ in net.read(extent):
        pass
    assert net.reached_lsn == log.writer.appended_lsn()


@pytest.mark.parametrize(
    "change", [{"floor_lsn": 3}, {"first_segment": 2, "floor_lsn": 40}]
)
def test_an_extent_that_begins_elsewhere_is_read_from_its_beginning(tmp_path, change):
    log = mixed_log(tmp_path)
    extent = log.writer.marker.extent
    other = dataclasses.replace(extent, **change)
    fresh, again = net_of(log, other), net_of(log, extent, other, sort=True)
    assert again.by_key == fresh.by_key
    assert again.cleared_lsn == fresh.cleared_lsn
    assert again.in_order == sorted(fresh.by_key)

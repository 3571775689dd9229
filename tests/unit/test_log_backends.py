"""A log gives back what it was given, and forgets no more than it was told to."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from hypercache import ops
from hypercache.aof import manifest as manifests
from hypercache.aof.compact import compact
from hypercache.aof.manifest import Manifest
from hypercache.aof.writer import AofWriter
from hypercache.errors import CorruptionError
from hypercache.frame import HEADER_BYTES as FRAME_BYTES
from hypercache.group_commit import CommitState, GroupCommit
from hypercache.log_reader import LogReader
from hypercache.ops import Delete, Put
from hypercache.options import Options, SyncPolicy
from hypercache.paths import StorePaths
from hypercache.segment import (
    HEADER_BYTES,
    SegmentHeader,
    SegmentReader,
    SegmentWriter,
)
from hypercache.storage import OsStorage, SystemClock
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker
from hypercache.wal.writer import WalWriter
from tests.support.files import flip

UUID = bytes(range(16))
OPTIONS = Options.resolve(segment_bytes=4096, log_io="write")


class Log:
    """A log in a directory of its own, opened as an engine does."""

    def __init__(self, root, kind, uuid=UUID):
        self.storage, self.paths, self.kind = OsStorage(), StorePaths(str(root)), kind
        self.uuid = uuid
        wal = kind is WalWriter
        self.names = self.paths.wal_log if wal else self.paths.increments
        self.storage.make_directory(self.names.directory)
        if wal:
            checkpoint.store(self.storage, self.paths, Marker())
        else:
            manifests.store(self.storage, self.paths, Manifest())

    def named(self):
        """Return what names the segments, as it is on the disk."""
        load = checkpoint.load if self.kind is WalWriter else manifests.load
        return load(self.storage, self.paths)

    def open(self):
        """Return the writer and what it replays."""
        writer = self.kind(self.storage, self.paths, OPTIONS, self.uuid, self.named())
        replayed = list(writer.replay())
        writer.settle()
        commit = GroupCommit(
            CommitState(SyncPolicy.ALWAYS, writer.appended_lsn()),
            SystemClock(),
            sync_file=writer.sync_active,
            appended_lsn=writer.appended_lsn,
            on_synced=lambda _lsn: None,
        )
        writer.attach(commit)
        return writer, replayed

    def numbers(self):
        names = self.storage.list(self.names.directory)
        return [n for n in map(self.names.maybe_number, names) if n is not None]


def put(writer, number, size=900):
    op = Put(b"key%02d" % number, bytes([number]) * size)
    writer.append(ops.encode(ops.Packer(), [op]), 1)
    return op


def filled(log, count=20):
    """Append puts over several segments and seal them; return writer and ops."""
    writer, _ = log.open()
    done = [put(writer, number) for number in range(count)]
    writer.seal_active()
    return writer, list(enumerate(done, start=1))


@pytest.fixture(params=[WalWriter, AofWriter], ids=["wal", "aof"])
def log(request, tmp_path):
    return Log(tmp_path, request.param)


@pytest.fixture
def wal(tmp_path):
    return Log(tmp_path, WalWriter)


@pytest.fixture
def aof(tmp_path):
    return Log(tmp_path, AofWriter)


def test_what_was_appended_is_replayed_in_order(log):
    writer, expected = filled(log)
    assert len(log.numbers()) > 4
    writer.close()
    assert log.open()[1] == expected


def test_a_log_goes_on_where_it_ended(log):
    _, expected = filled(log, 3)
    writer, _ = log.open()
    assert writer.appended_lsn() == 3
    expected.append((4, put(writer, 3)))
    writer.seal_active()
    assert log.open()[1] == expected


def test_ops_that_are_kept_elsewhere_are_forgotten_with_their_segments(wal):
    writer, expected = filled(wal)
    before = wal.numbers()
    writer.trim(10)
    after = wal.numbers()
    assert set(after) < set(before)
    assert wal.named().checkpoint_lsn == 10
    assert writer.sealed_bytes == sum(
        wal.storage.info(wal.names.segment(number)).size_bytes for number in after
    )
    assert wal.open()[1] == expected[10:]


def test_a_log_that_is_all_kept_elsewhere_is_empty_and_goes_on(wal):
    writer, _ = filled(wal)
    writer.trim(20)
    assert wal.numbers() == []
    again, replayed = wal.open()
    assert replayed == []
    assert again.next_lsn == 21
    op = put(again, 1)
    again.seal_active()
    assert wal.open()[1] == [(21, op)]


def test_nothing_is_forgotten_that_no_base_holds(aof):
    writer, expected = filled(aof)
    before = aof.numbers()
    with pytest.raises(CorruptionError, match="no base reaches LSN 1"):
        writer.trim(1)
    writer.trim(0)
    assert aof.numbers() == before
    assert aof.open()[1] == expected


def test_a_base_and_what_came_after_it_are_replayed_together(aof):
    writer, expected = filled(aof)
    steps = compact(aof.storage, aof.paths, UUID, writer.manifest)
    base = _result(steps)
    put_again = put(writer, 5, size=10)
    writer.append(ops.encode(ops.Packer(), [Delete(b"key06")]), 1)
    writer.adopt(base)
    writer.trim(20)
    writer.seal_active()
    assert len(aof.numbers()) == 1
    _, replayed = aof.open()
    floor = [(20, op) for _, op in expected]
    assert sorted(replayed[:20]) == sorted(floor)
    assert replayed[20:] == [(21, put_again), (22, Delete(b"key06"))]


def test_an_entry_of_a_base_that_expires_is_replayed_with_its_expiry(aof):
    writer, _ = aof.open()
    op = Put(b"key", b"value", 5_000)
    writer.append(ops.encode(ops.Packer(), [op]), 1)
    writer.seal_active()
    writer.adopt(_result(compact(aof.storage, aof.paths, UUID, writer.manifest)))
    writer.prune()
    assert aof.open()[1] == [(1, op)]


def test_a_base_that_went_missing_is_damage(aof):
    writer, _ = filled(aof)
    writer.adopt(_result(compact(aof.storage, aof.paths, UUID, writer.manifest)))
    aof.storage.unlink(aof.paths.bases.segment(1))
    with pytest.raises(CorruptionError, match="the base is missing"):
        aof.open()
    with pytest.raises(CorruptionError, match="the base is missing"):
        _result(compact(aof.storage, aof.paths, UUID, writer.manifest))


def test_a_log_that_ends_below_what_is_kept_elsewhere_is_too_short(wal):
    filled(wal, 3)
    marker = wal.named()
    extent = Marker(5, marker.first_segment, marker.active_segment, 1, clean=True)
    reader = LogReader(wal.storage, wal.names, UUID, extent.extent)
    with pytest.raises(CorruptionError, match="too short"):
        list(reader.replay())


def flip_payload(log, number):
    """Damage the first frame of a segment; return where it is."""
    flip(Path(log.names.segment(number)), HEADER_BYTES + FRAME_BYTES + 5)
    return HEADER_BYTES


def test_a_stop_before_the_last_segment_is_damage_at_that_place(log):
    filled(log)
    offset = flip_payload(log, 2)
    with pytest.raises(CorruptionError, match="checksum does not match") as caught:
        log.open()
    assert caught.value.path == log.names.segment(2)
    assert caught.value.offset == offset


def test_after_a_clean_close_nothing_may_be_missing_at_the_end(aof):
    writer, expected = filled(aof, 2)
    path = Path(aof.names.segment(1))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])  # a footer that was never finished, it seems
    assert aof.open()[1] == expected
    path.write_bytes(whole[:-1])
    writer.closed()
    with pytest.raises(CorruptionError, match="ends inside a frame") as caught:
        aof.open()
    assert caught.value.path == str(path)


def test_what_is_kept_elsewhere_was_synced_and_is_no_torn_tail(wal):
    writer, _ = wal.open()
    for number in range(2):
        put(writer, number)
    writer.sync_active()
    writer.close()
    marker = wal.named()
    offset = flip_payload(wal, 1)
    reader = LogReader(wal.storage, wal.names, UUID, marker.extent)
    assert list(reader.replay()) == []
    assert reader.torn_tail.offset == offset
    kept = dataclasses.replace(marker, checkpoint_lsn=1)
    reader = LogReader(wal.storage, wal.names, UUID, kept.extent)
    with pytest.raises(CorruptionError, match="checksum does not match") as caught:
        list(reader.replay())
    assert caught.value.offset == offset


def test_a_frame_that_knows_it_was_synced_makes_a_stop_before_it_damage(wal):
    writer, _ = wal.open()
    put(writer, 0)
    writer._commit.flush()
    put(writer, 1)
    writer.close()
    offset = flip_payload(wal, 1)
    with pytest.raises(CorruptionError, match="checksum does not match") as caught:
        wal.open()
    assert caught.value.offset == offset


def two_segments(log, size=900):
    """Make a log of two sealed segments, with LSNs 1 to 3 and 4; return its writer."""
    writer, _ = log.open()
    for number in range(4):
        put(writer, number, size)
        if number >= 2:
            writer.seal_active()
    return writer


def test_a_segment_that_only_has_the_right_lsns_does_not_fit(log, tmp_path_factory):
    two_segments(log)
    other = Log(tmp_path_factory.mktemp("other"), log.kind)
    two_segments(other, size=800)
    shutil.copy(other.names.segment(1), log.names.segment(1))
    with pytest.raises(CorruptionError, match="does not continue") as caught:
        log.open()
    assert caught.value.path == log.names.segment(2)


def test_a_segment_of_another_store_does_not_belong(log, tmp_path_factory):
    filled(log, 2)
    other = Log(tmp_path_factory.mktemp("other"), log.kind, uuid=UUID[::-1])
    filled(other, 2)
    shutil.copy(other.names.segment(1), log.names.segment(1))
    with pytest.raises(CorruptionError, match="another store or place"):
        log.open()


def test_a_segment_of_another_place_does_not_belong(wal):
    filled(wal, 2)
    os.rename(wal.names.segment(1), wal.names.segment(2))
    marker = dataclasses.replace(wal.named(), first_segment=2, active_segment=2)
    reader = LogReader(wal.storage, wal.names, UUID, marker.extent)
    with pytest.raises(CorruptionError, match="another store or place"):
        list(reader.replay())


@pytest.mark.parametrize("first_lsn", [3, 5])
def test_a_segment_that_only_has_the_right_predecessor_does_not_fit(log, first_lsn):
    writer = two_segments(log)
    path = log.names.segment(2)
    with log.storage.open_read(path) as file:
        previous = SegmentReader(file, path).header.previous
    log.storage.unlink(path)
    file = log.storage.create(path, mapped=False)
    header = SegmentHeader(UUID, 2, first_lsn, previous)
    SegmentWriter(file, header, 4096).seal(0)
    with pytest.raises(CorruptionError, match="does not continue") as caught:
        log.open()
    assert caught.value.lsn == first_lsn
    assert writer.next_lsn == 5


def test_the_first_segment_may_not_begin_behind_what_is_kept_elsewhere(wal):
    two_segments(wal)
    marker = dataclasses.replace(wal.named(), first_segment=2)
    for kept_lsn in (0, 2):
        kept = dataclasses.replace(marker, checkpoint_lsn=kept_lsn)
        reader = LogReader(wal.storage, wal.names, UUID, kept.extent)
        with pytest.raises(CorruptionError, match="does not continue"):
            list(reader.replay())
    kept = dataclasses.replace(marker, checkpoint_lsn=3)
    reader = LogReader(wal.storage, wal.names, UUID, kept.extent)
    assert [lsn for lsn, _ in reader.replay()] == [4]


def test_a_log_without_its_directory_is_damaged(wal):
    os.rmdir(wal.names.directory)
    with pytest.raises(CorruptionError, match="directory of segments is missing"):
        wal.open()


def test_a_log_without_one_of_its_segments_is_damaged(log):
    filled(log)
    log.storage.unlink(log.names.segment(2))
    with pytest.raises(CorruptionError, match="the segment is missing"):
        log.open()


def _result(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value

"""An inspection goes on past what it cannot read, and says what that was."""

import json

import pytest
from click.testing import CliRunner

from hypercache import metafile, ops
from hypercache.cli import exits, main
from hypercache.errors import StorageError
from hypercache.inspection import layout
from hypercache.inspection.layout import Kind
from hypercache.inspection.listing import Line, Listing, Wanted
from hypercache.inspection.report import State
from hypercache.inspection.summary import inspect
from hypercache.ops import Put
from hypercache.segment import LsnRange, SegmentHeader, SegmentWriter, footer_bytes
from hypercache.storage import OsStorage
from tests.support.files import cut, flip, unchanged
from tests.support.logs import UUID, BuiltLog

NOW_MS = 1_000_000


@pytest.fixture
def wal(tmp_path):
    return BuiltLog(tmp_path / "store", Kind.WAL)


@pytest.fixture(params=list(Kind))
def log(request, tmp_path):
    return BuiltLog(tmp_path / "store", request.param)


def puts(count):
    return [[Put(b"key-%03d" % number, b"value")] for number in range(count)]


def report_on(log, storage=None):
    with unchanged(log.root):
        return inspect(storage or OsStorage(), log.paths, log.kind, NOW_MS)


def reasons(report):
    return [problem.reason for problem in report.problems]


class Unreadable(OsStorage):
    """One file of this disk cannot be read."""

    def __init__(self, name):
        self.name = name

    def read(self, path):
        if path.endswith(self.name):
            raise StorageError(f"cannot read {path}: Input/output error")
        return super().read(path)


@pytest.mark.parametrize(
    "line",
    [b'{"engine": "hybrid"}', b'{"uuid": 7}', b'{"uuid": "no hex"}', b"damaged"],
)
def test_an_identity_that_says_nothing_is_named_and_the_log_is_read(log, line):
    log.segment(puts(3))
    log.name()
    if line == b"damaged":
        flip(log.root / "STORE", 5)
    else:
        metafile.write(OsStorage(), log.paths.store, json.loads(line))
    report = report_on(log)
    assert report.state is State.DAMAGED
    assert [problem.path for problem in report.problems] == [log.paths.store]
    assert (report.frame_count, report.lsns.last) == (3, 3)


def test_a_file_that_cannot_be_read_is_named_and_the_log_is_read(log):
    log.segment(puts(3))
    log.name()
    name = "CHECKPOINT" if log.kind is Kind.WAL else "MANIFEST"
    for unreadable in ("STORE", name):
        report = report_on(log, Unreadable(unreadable))
        assert "Input/output error" in reasons(report)[0]
        assert report.frame_count == 3


def test_a_store_whose_creation_was_interrupted_is_noted_as_one(log):
    fields = {"format": 1, "engine": "x", "uuid": UUID.hex(), "state": "creating"}
    metafile.write(OsStorage(), log.paths.store, {**fields, "serializer": None})
    report = report_on(log)
    assert "the creation of this store was interrupted" in report.notes
    assert report.problems == ()


def test_a_store_without_the_file_that_names_its_parts_is_damaged(log):
    log.segment(puts(2))
    report = report_on(log)
    assert reasons(report) == ["the file is missing"]
    assert report.frame_count == 2


def test_segments_of_nobody_are_judged_by_themselves(wal):
    (wal.root / "STORE").unlink()
    report = report_on(wal)
    assert (report.state, report.frame_count) == (State.CLEAN, 0)


def test_a_footer_that_counts_other_frames_is_damage_and_what_was_read_counts(wal):
    file = wal.storage.create(wal.log.segment(1), mapped=False)
    writer = SegmentWriter(file, SegmentHeader(UUID, 1, 1), 4096)
    for number in range(3):
        op = Put(b"key-%03d" % number, b"value")
        writer.append(ops.encode(ops.Packer(), [op]), 1, 0)
    lsns = LsnRange(1, writer.next_lsn, 0)
    footer = footer_bytes(writer._seed, writer.offset, lsns, digest=7)
    file.write_at(writer.offset, footer)
    file.close()
    wal.number = 1
    wal.name()
    report = report_on(wal)
    assert report.state is State.DAMAGED
    assert "footer disagrees" in reasons(report)[0]
    assert report.frame_count == 3
    found = layout.load(wal.storage, wal.paths, wal.kind)
    items = list(Listing(wal.storage, found, Wanted()))
    assert sum(isinstance(item, Line) for item in items) == 3


def bad_payload(wal):
    file = wal.storage.create(wal.log.segment(1), mapped=False)
    writer = SegmentWriter(file, SegmentHeader(UUID, 1, 1), 4096)
    writer.append(b"\xc1", 1, 0)
    writer.seal(0)
    wal.number = 1
    wal.name()


def test_a_payload_that_is_no_op_is_listed_as_damage(wal):
    bad_payload(wal)
    found = layout.load(wal.storage, wal.paths, wal.kind)
    listing = Listing(wal.storage, found, Wanted())
    lines = [item for item in listing if isinstance(item, Line)]
    assert lines == []
    assert [problem.reason[:11] for problem in listing.log.problems] == ["bad payload"]


def test_a_log_that_ends_below_what_is_kept_elsewhere_is_too_short(wal):
    wal.segment(puts(3))
    wal.name(floor_lsn=7)
    assert reasons(report_on(wal)) == ["the log is too short"]


def listed(log, *options):
    words = [str(log.kind), "inspect", str(log.root), "--frames", *options]
    return CliRunner().invoke(main, words, catch_exceptions=False)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_listing_tells_of_torn_tails_damage_and_notes(wal, options):
    first = wal.segment(puts(3))
    last = wal.segment(puts(3), sealed=False)
    wal.name()
    cut(last, last.stat().st_size - 3)
    result = listed(wal, *options)
    assert result.exit_code == exits.REPAIRABLE
    assert ("torn_tail" if options else "torn tail") in result.stdout
    flip(first, 110)
    result = listed(wal, *options)
    assert result.exit_code == exits.DAMAGED
    assert "checksum" in result.stdout
    # One was cut, and one was flipped.
    assert options or result.stdout.count("key-") == 4


def test_what_is_left_over_is_noted_beside_a_listing(wal):
    wal.segment(puts(2))
    wal.segment(puts(2))
    wal.name(first_segment=2, floor_lsn=2)
    (wal.root / "wal" / "CHECKPOINT.tmp").write_bytes(b"half")
    result = listed(wal)
    assert result.exit_code == 0
    assert "was not finished" in result.stderr

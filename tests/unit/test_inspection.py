"""An inspection says what is in a log, what is wrong, and agrees with the engines."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypercache import ops
from hypercache.errors import ConfigError, CorruptionError, StorageError
from hypercache.inspection import layout
from hypercache.inspection.layout import Kind
from hypercache.inspection.listing import Line, Listing, Wanted
from hypercache.inspection.live import BiggestKeys
from hypercache.inspection.report import State
from hypercache.inspection.summary import inspect
from hypercache.log_reader import LogReader
from hypercache.ops import Clear, Delete, Put, Touch
from hypercache.segment import SegmentHeader, SegmentWriter
from hypercache.storage import OsStorage
from hypercache.wal import checkpoint
from tests.support.files import cut, flip, unchanged
from tests.support.logs import UUID, BuiltLog

NOW_MS = 1_000_000
PAST, FUTURE = NOW_MS - 1, NOW_MS + 1


@pytest.fixture
def wal(tmp_path):
    return BuiltLog(tmp_path / "store", Kind.WAL)


@pytest.fixture
def aof(tmp_path):
    return BuiltLog(tmp_path / "store", Kind.AOF)


def report_on(log, **options):
    with unchanged(log.root):
        report = inspect(OsStorage(), log.paths, log.kind, NOW_MS, **options)
    parts = dataclasses.asdict(report.bytes)
    total = parts.pop("total")
    assert sum(parts.values()) == total
    assert total == sum(file.size_bytes for file in report.files)
    assert min(parts.values()) >= 0
    return report


def lines_of(log, **wanted):
    found = layout.load(log.storage, log.paths, log.kind)
    with unchanged(log.root):
        return list(Listing(log.storage, found, Wanted(**wanted)))


def lsns_of(log, **wanted):
    return [item.lsn for item in lines_of(log, **wanted) if isinstance(item, Line)]


def puts(count, size=10, start=0):
    return [[Put(b"key-%03d" % n, bytes(size))] for n in range(start, start + count)]


def reasons(report):
    return [problem.reason for problem in report.problems]


# What a log holds

keys = st.sampled_from([b"a", b"b", b"c", b"dd", b"eee"])
expiries = st.sampled_from([0, PAST, FUTURE])
one_op = st.one_of(
    st.builds(Put, keys, st.binary(max_size=40), expiries),
    st.builds(Delete, keys),
    st.builds(Touch, keys, expiries),
)
batches = st.one_of(st.lists(one_op, min_size=1, max_size=4), st.just([Clear()]))


def live_of(history):
    """Return key -> (LSN, the Put, its expiry) of what is live, the obvious way."""
    live = {}
    lsn = 0
    for batch in history:
        for op in batch:
            lsn += 1
            if isinstance(op, Put):
                live[op.key] = (lsn, op, op.expires_at_ms)
            elif isinstance(op, Delete):
                live.pop(op.key, None)
            elif isinstance(op, Touch) and op.key in live:
                live[op.key] = (*live[op.key][:2], op.expires_at_ms)
            elif isinstance(op, Clear):
                live.clear()
    return {key: found for key, found in live.items() if not 0 < found[2] <= NOW_MS}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(batches, max_size=6), min_size=1, max_size=3), st.data())
def test_live_bytes_and_the_biggest_keys_are_exact(tmp_path_factory, segments, data):
    log = BuiltLog(tmp_path_factory.mktemp("log") / "store", Kind.WAL)
    for batches_of_one in segments:
        log.segment(batches_of_one)
    log.name()
    room = data.draw(st.integers(1, 12))
    report = report_on(log, record_count=room)
    history = [batch for segment in segments for batch in segment]
    live = live_of(history)
    size = {key: len(ops_bytes([op])) for key, (_, op, _) in live.items()}
    assert report.bytes.live == sum(size.values())
    assert report.op_counts == {
        name: sum(isinstance(op, kind) for batch in history for op in batch)
        for name, kind in (
            ("put", Put),
            ("delete", Delete),
            ("touch", Touch),
            ("clear", Clear),
        )
    }
    biggest = sorted(((-len(op.value), lsn, key) for key, (lsn, op, _) in live.items()))
    found = [(-big.value_bytes, big.lsn, big.key) for big in report.biggest_keys]
    assert found == biggest
    assert report.state is State.CLEAN


def ops_bytes(batch):
    return ops.encode(ops.Packer(), batch)


def test_the_summary_of_a_sealed_log_says_what_is_in_it(wal):
    wal.segment([[Put(b"a", b"1" * 50)], [Put(b"b", b"2", FUTURE), Delete(b"a")]])
    wal.segment([[Touch(b"b", 0)], [Put(b"c", b"3" * 30)]])
    wal.name()
    report = report_on(wal)
    assert (report.state, report.verdict) == (
        State.CLEAN,
        "clean: sealed, ends at LSN 5",
    )
    assert [
        (file.name, file.role, file.frame_count, file.first_lsn, file.last_lsn)
        for file in report.files
    ] == [
        ("0000000000000001.wal", "sealed", 2, 1, 3),
        ("0000000000000002.wal", "active", 2, 4, 5),
    ]
    assert all(file.is_sealed for file in report.files)
    assert (report.lsns.first, report.lsns.last, report.frame_count) == (1, 5, 4)
    assert (report.expires_ms.first, report.expires_ms.last) == (FUTURE, FUTURE)
    assert [big.key for big in report.biggest_keys] == [b"c", b"b"]
    assert (report.problems, report.notes) == ((), ())


def test_an_open_log_ends_before_the_reserved_zeros(wal):
    wal.segment(puts(3), sealed=False, capacity=8192, mapped=True)
    wal.name()
    report = report_on(wal)
    assert (report.state, report.verdict) == (State.CLEAN, "open: ends at LSN 3")
    assert report.bytes.total == 8192
    assert report.bytes.unused > 7000


def test_a_log_without_segments_is_clean(wal):
    wal.name()
    report = report_on(wal)
    assert report.verdict == "clean: there are no segments"
    assert (report.bytes.total, report.lsns.first) == (0, None)


def test_only_the_ten_biggest_are_named_and_of_equals_the_oldest(wal):
    wal.segment(puts(8, size=5) + puts(3000, size=1, start=100) + puts(4, 9, 9000))
    wal.name()
    big = report_on(wal).biggest_keys
    assert [each.key for each in big[:4]] == [
        b"key-%03d" % n for n in range(9000, 9004)
    ]
    assert [each.key for each in big[4:]] == [b"key-%03d" % n for n in range(6)]


def test_the_biggest_keys_are_found_again_when_all_bigger_ones_were_deleted(wal):
    small = puts(2500, size=3, start=5000)
    large = puts(2500, size=8)
    deleted = [[Delete(put.key)] for [put] in large]
    wal.segment(small + large + deleted)
    wal.name()
    big = report_on(wal).biggest_keys
    assert [each.key for each in big] == [b"key-%03d" % n for n in range(5000, 5010)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-1, 20)), max_size=200))
def test_the_biggest_keys_are_exact_or_known_not_to_be(changes):
    big, sizes = BiggestKeys(NOW_MS, count=3, room=8), {}
    for lsn, (number, size) in enumerate(changes):
        key = b"%d" % number
        big.add(Put(key, bytes(size)) if size >= 0 else Delete(key), lsn)
        sizes.pop(key, None)
        if size >= 0:
            sizes[key] = size
    if big.complete:
        largest = sorted(sizes.values(), reverse=True)[:3]
        assert [each.value_bytes for each in big.largest()] == largest
        assert all(sizes[each.key] == each.value_bytes for each in big.largest())


def test_long_keys_do_not_fill_the_memory():
    big = BiggestKeys(NOW_MS, room=100_000)
    for number in range(1000):
        big.add(Put(b"%d" % number * 15_000, bytes(number % 400)), number)
    assert sum(map(len, big._keys)) <= 16 << 20
    assert big.complete
    assert [each.value_bytes for each in big.largest()] == [
        399, 399, 398, 398, 397, 397, 396, 396, 395, 395
    ]  # fmt: skip


def test_more_keys_than_there_is_room_for_take_more_passes(wal):
    wal.segment(puts(700) + puts(300))
    wal.name()
    opened = []

    class Counting(OsStorage):
        def open_read(self, path):
            opened.append(path)
            return super().open_read(path)

    report = inspect(Counting(), wal.paths, Kind.WAL, NOW_MS, record_count=100)
    assert len(opened) > 5
    assert (
        report.bytes.live
        == report_on(wal).bytes.live
        == 700 * len(ops_bytes(puts(1)[0]))
    )


# Damage and torn tails


def test_damage_in_the_middle_is_named_and_what_is_behind_it_is_read(wal):
    path = wal.segment(puts(9), synced=True)
    wal.name()
    _, offset = wal.offsets[4]
    flip(path, offset + 40)
    report = report_on(wal)
    [problem] = report.problems
    assert (problem.path, problem.offset, problem.lsn) == (str(path), offset, 4)
    assert problem.reason == "the checksum does not match"
    assert problem.length_bytes == wal.offsets[5][1] - offset == report.bytes.damaged
    assert (report.state, report.frame_count) == (State.DAMAGED, 8)
    assert report.verdict == (
        f"corruption at {path}, offset {offset}, LSN 4: the checksum does not match"
    )
    assert lsns_of(wal) == [1, 2, 3, 5, 6, 7, 8, 9]


def test_each_of_several_holes_is_named(wal):
    path = wal.segment(puts(12), synced=True)
    wal.name()
    for lsn in (3, 7, 8, 12):
        flip(path, wal.offsets[lsn][1])
    report = report_on(wal)
    assert [problem.lsn for problem in report.problems] == [3, 7, 12]
    assert lsns_of(wal) == [1, 2, 4, 5, 6, 9, 10, 11]


def test_a_torn_tail_is_told_from_damage_by_the_watermark_behind_it(wal):
    path = wal.segment(puts(6), sealed=False)
    wal.name()
    flip(path, wal.offsets[4][1])
    report = report_on(wal)
    assert report.state is State.TORN
    assert report.verdict.startswith(f"torn tail at offset {wal.offsets[4][1]} of ")
    assert "nothing acknowledged as synced is in it" in report.verdict
    assert report.bytes.torn == path.stat().st_size - wal.offsets[4][1]
    assert (report.lsns.last, report.problems) == (3, ())
    # The frames behind it are cut as well at the next open.
    assert lsns_of(wal) == [1, 2, 3]


def test_the_same_hole_is_damage_when_what_is_lost_was_synced(wal):
    path = wal.segment(puts(6), sealed=False, synced=True)
    wal.name()
    flip(path, wal.offsets[4][1])
    report = report_on(wal)
    assert (report.state, lsns_of(wal)) == (State.DAMAGED, [1, 2, 3, 5, 6])


def judged_by_the_reader(wal):
    """Return what the code that opens a store makes of the same log."""
    marker = checkpoint.load(wal.storage, wal.paths)
    reader = LogReader(wal.storage, wal.paths.wal_log, UUID, marker.extent)
    try:
        reader.refuse_unknown_segments()
        for _ in reader.replay():
            pass
    except CorruptionError:
        return State.DAMAGED
    return State.TORN if reader.torn_tail else State.CLEAN


def agree(wal):
    report = report_on(wal)
    assert report.state == judged_by_the_reader(wal), report.verdict
    return report.state


@pytest.mark.parametrize("clean", [False, True], ids=["crashed", "closed"])
@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
def test_every_flip_gets_the_verdict_of_the_engine(wal, sealed, clean):
    first = wal.segment(puts(2))
    last = wal.segment([*puts(2), [Delete(b"x")] * 3], synced=True, sealed=sealed)
    wal.name(clean=clean)
    seen = {agree(wal)}
    for path in (first, last):
        for offset in range(0, path.stat().st_size, 5):
            flip(path, offset, 16)
            seen.add(agree(wal))
            flip(path, offset, 16)
    assert State.DAMAGED in seen
    assert (State.TORN in seen) == (not clean)


def test_every_cut_gets_the_verdict_of_the_engine(wal):
    wal.segment(puts(2))
    last = wal.segment(puts(2), sealed=True)
    wal.name()
    seen = set()
    for length in range(last.stat().st_size - 1, -1, -3):
        cut(last, length)
        seen.add(agree(wal))
    assert seen == set(State)


@pytest.mark.parametrize("floor_lsn", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("present", ["all", "first gone", "last gone"])
def test_the_marker_is_believed_as_the_engine_does(wal, floor_lsn, present):
    files = [wal.segment(puts(2)), wal.segment(puts(2), sealed=False)]
    wal.name(floor_lsn=floor_lsn)
    if present != "all":
        files[0 if present == "first gone" else -1].unlink()
    agree(wal)


def test_a_missing_segment_is_named_and_the_rest_is_read(wal):
    wal.segment(puts(2))
    gone = wal.segment(puts(2))
    wal.segment(puts(2))
    wal.name()
    gone.unlink()
    report = report_on(wal)
    assert (report.problems[0].path, reasons(report)[0]) == (
        str(gone),
        "the segment is missing",
    )
    assert lsns_of(wal) == [1, 2, 5, 6]
    assert agree(wal) is State.DAMAGED


def test_a_foreign_segment_is_noted_and_skipped(wal, tmp_path):
    wal.segment(puts(2))
    second = wal.segment(puts(2))
    wal.name()
    second.write_bytes(Path(wal.log.segment(1)).read_bytes())
    report = report_on(wal)
    assert "belongs to another store or place" in reasons(report)[0]
    assert [file.is_read for file in report.files] == [True, False]
    assert report.bytes.damaged == second.stat().st_size
    assert agree(wal) is State.DAMAGED


def test_a_damaged_header_is_noted_and_the_file_skipped(wal):
    wal.segment(puts(2))
    second = wal.segment(puts(2))
    wal.name()
    flip(second, 20)
    report = report_on(wal)
    assert reasons(report) == ["the segment header is damaged"]
    assert (report.frame_count, lsns_of(wal)) == (2, [1, 2])


@pytest.mark.parametrize("kind", Kind)
def test_a_metafile_that_cannot_be_read_is_noted_and_the_log_read(tmp_path, kind):
    log = BuiltLog(tmp_path / "store", kind)
    log.segment(puts(2))
    log.segment(puts(2), sealed=False)
    log.name()
    path = log.paths.checkpoint if kind is Kind.WAL else log.paths.manifest
    flip(Path(path), 5)
    report = report_on(log)
    assert (report.problems[0].path, report.state) == (path, State.DAMAGED)
    assert (report.frame_count, lsns_of(log)) == (4, [1, 2, 3, 4])
    Path(path).unlink()
    assert reasons(report_on(log)) == ["the file is missing"]


def test_a_bare_directory_of_segments_speaks_for_itself(wal):
    wal.segment(puts(2))
    wal.segment(puts(2), sealed=False)
    (wal.root / "STORE").unlink()
    report = report_on(wal)
    assert (report.state, report.verdict) == (State.CLEAN, "open: ends at LSN 4")
    assert "the segments speak for themselves" in report.notes[0]


def test_pruned_segments_are_listed_but_count_for_nothing(wal):
    pruned = wal.segment(puts(2))
    wal.segment(puts(2))
    wal.name(first_segment=2, floor_lsn=2)
    report = report_on(wal)
    assert [file.role for file in report.files] == ["pruned-pending", "active"]
    assert (report.frame_count, report.lsns.first) == (2, 3)
    assert report.bytes.leftover == pruned.stat().st_size
    flip(pruned, 100)
    report = report_on(wal)
    assert (report.state, len(report.notes)) == (State.CLEAN, 1)
    assert "no longer part of the log" in report.notes[0]


@pytest.mark.parametrize("whole", [True, False])
def test_a_segment_begun_before_a_crash_holds_nothing(wal, whole):
    wal.segment(puts(2))
    wal.name()
    begun = wal.segment([], sealed=False)
    if not whole:
        cut(begun, 20)
    report = report_on(wal)
    assert report.files[-1].role == "unnamed"
    assert report.notes == (f"{begun} was begun and holds nothing",)
    assert agree(wal) is State.CLEAN


def test_a_segment_that_nothing_names_but_holds_ops_is_damage(wal):
    wal.segment(puts(2))
    wal.name()
    wal.segment(puts(1))
    assert agree(wal) is State.DAMAGED


def test_a_payload_that_is_no_op_is_named_and_the_rest_is_read(wal):
    file = wal.storage.create(wal.log.segment(1), mapped=False)
    writer = SegmentWriter(file, SegmentHeader(UUID, 1, 1), 4096)
    writer.append(b"\xc1", 1, 0)
    writer.append(ops_bytes([Delete(b"k")]), 1, 0)
    writer.seal(0)
    wal.number = 1
    wal.name()
    report = report_on(wal)
    assert reasons(report)[0].startswith("bad payload")
    assert (report.op_counts["delete"], report.state) == (1, State.DAMAGED)
    assert agree(wal) is State.DAMAGED


# Beside a writer


def test_a_frame_that_was_only_half_there_is_looked_at_again(wal):
    path = wal.segment(puts(3), sealed=False)
    wal.name()
    whole = path.read_bytes()
    cut(path, len(whole) - 5)

    class Writing(OsStorage):
        opened = 0

        def open_read(self, name):
            self.opened += 1
            if self.opened == 2:
                path.write_bytes(whole)
            return super().open_read(name)

    report = inspect(Writing(), wal.paths, Kind.WAL, NOW_MS)
    assert (report.verdict, report.lsns.last) == ("open: ends at LSN 3", 3)


def test_a_log_that_is_pruned_meanwhile_is_read_again(wal):
    first = wal.segment(puts(2))
    wal.segment(puts(2), sealed=False)
    wal.name()

    class Pruning(OsStorage):
        def open_read(self, name):
            if name == str(first) and first.exists():
                wal.name(first_segment=2, floor_lsn=2)
                first.unlink()
            return super().open_read(name)

    report = inspect(Pruning(), wal.paths, Kind.WAL, NOW_MS)
    assert (report.state, report.lsns.first) == (State.CLEAN, 3)


def test_a_leftover_that_goes_away_is_only_noted(wal):
    first = wal.segment(puts(2))
    wal.segment(puts(2), sealed=False)
    wal.name(first_segment=2, floor_lsn=2)

    class Pruning(OsStorage):
        def open_read(self, name):
            if name == str(first):
                first.unlink()
            return super().open_read(name)

    report = inspect(Pruning(), wal.paths, Kind.WAL, NOW_MS)
    assert report.state is State.CLEAN
    assert "was removed while the log was being read" in report.notes[0]


def test_an_error_of_the_disk_is_no_damage(wal):
    wal.segment(puts(2))
    wal.name()

    class Broken(OsStorage):
        def open_read(self, path):
            raise StorageError("cannot open it") from PermissionError()

    with pytest.raises(StorageError, match="cannot open it"):
        inspect(Broken(), wal.paths, Kind.WAL, NOW_MS)


# The append-only log

ENTRIES = {b"a": b"1" * 100, b"b": (b"2", FUTURE), b"c": (b"3", PAST), b"d": b"4" * 9}


@pytest.fixture
def compacted(aof):
    aof.segment(puts(4))
    aof.base_path = aof.write_base(1, 4, ENTRIES)
    aof.segment([[Delete(b"d")], [Put(b"e", b"5" * 50)]])
    aof.name(first_segment=2)
    return aof


def test_base_increments_and_history_are_told_apart(compacted):
    report = report_on(compacted)
    assert (report.state, report.verdict) == (
        State.CLEAN,
        "clean: sealed, ends at LSN 6",
    )
    assert {file.name: file.role for file in report.files} == {
        "base-0000000000000001.base": "base",
        "0000000000000001.aof": "history",
        "0000000000000002.aof": "active",
    }
    assert report.op_counts == {
        "entry": 4,
        "put": 1,
        "delete": 1,
        "touch": 0,
        "clear": 0,
    }
    assert (report.floor_lsn, report.lsns.first, report.lsns.last) == (4, 5, 6)
    assert [big.key for big in report.biggest_keys] == [b"a", b"e", b"b"]


def test_live_bytes_of_a_base_are_its_bytes_in_the_file(aof):
    aof.write_base(1, 4, ENTRIES)
    aof.name()
    report = report_on(aof)
    dead = report.bytes.dead
    assert 0 < dead < report.bytes.live
    payloads = report.bytes.total - report.bytes.overhead
    assert dead + report.bytes.live == payloads


def test_entries_of_a_base_are_listed_with_its_lsn(compacted):
    lines = [item for item in lines_of(compacted) if isinstance(item, Line)]
    entries = [line for line in lines if line.op == "entry"]
    assert [(line.lsn, line.key, line.value_bytes) for line in entries] == [
        (4, b"a", 100),
        (4, b"b", 1),
        (4, b"c", 1),
        (4, b"d", 9),
    ]
    assert [line.expires_at_ms for line in entries] == [0, FUTURE, PAST, 0]
    assert lsns_of(compacted, key=b"e") == [6]


def test_damage_in_a_base_is_never_a_torn_tail(compacted):
    data = compacted.base_path.read_bytes()
    for offset in range(0, len(data), 7):
        flip(compacted.base_path, offset, 4)
        assert report_on(compacted).state is State.DAMAGED, offset
        flip(compacted.base_path, offset, 4)
    for length in (len(data) - 1, len(data) // 2, 64, 10, 0):
        cut(compacted.base_path, length)
        assert report_on(compacted).state is State.DAMAGED, length


@pytest.mark.parametrize("field", ["entry_count", "length_bytes", "digest", "lsn"])
def test_another_base_than_the_manifest_names_is_damage(compacted, field):
    facts = compacted.base
    compacted.base = dataclasses.replace(facts, **{field: getattr(facts, field) + 1})
    compacted.name(first_segment=2)
    assert report_on(compacted).state is State.DAMAGED


def test_a_missing_base_is_damage(compacted):
    compacted.base_path.unlink()
    report = report_on(compacted)
    assert report.problems[0].path == str(compacted.base_path)
    assert report.state is State.DAMAGED


def test_a_compaction_that_was_cut_short_is_only_noted(compacted):
    named = compacted.base
    unfinished = compacted.write_base(2, 6, ENTRIES)
    compacted.base = named
    compacted.name(first_segment=2)
    cut(unfinished, unfinished.stat().st_size - 20)
    (compacted.root / "aof" / "base-0000000000000003.base.tmp").write_bytes(b"half")
    report = report_on(compacted)
    assert report.state is State.CLEAN
    assert len(report.notes) == 2


# Listing


def test_a_listing_names_the_place_of_every_op(wal):
    wal.segment([[Put(b"k", b"value", FUTURE), Delete(b"x")], [Clear()]])
    wal.name()
    file, first, second, third = lines_of(wal)
    assert file.name == "0000000000000001.wal"
    assert first[1:] == (64, 1, "put", b"k", 5, first.stored_bytes, 32 + 22, 2, FUTURE)
    assert second[1:6] == (64, 2, "delete", b"x", None)
    assert first.stored_bytes + second.stored_bytes == 22
    assert third[2:6] == (3, "clear", None, None)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"from_lsn": 3}, [3, 4, 5]),
        ({"to_lsn": 2}, [1, 2]),
        ({"from_lsn": 2, "to_lsn": 4}, [2, 3, 4]),
        ({"from_lsn": 9}, []),
        ({"key": b"a"}, [1, 4, 5]),
        ({"key": b"a", "from_lsn": 2}, [4, 5]),
    ],
    ids=str,
)
def test_a_listing_shows_what_is_wanted(wal, wanted, expected):
    wal.segment(
        [
            [Put(b"a", b"1"), Put(b"b", b"2")],
            [Put(b"c", b"3")],
            [Clear()],
            [Put(b"a", b"")],
        ]
    )
    wal.name()
    assert lsns_of(wal, **wanted) == expected


# Finding a log


def test_a_store_or_the_log_in_it_may_be_named(wal):
    for path in (wal.root, wal.root / "wal"):
        assert layout.find(OsStorage(), str(path), Kind.WAL) == wal.paths


def test_where_there_is_no_log_the_message_says_what_there_is(wal, tmp_path):
    def words(path, kind):
        with pytest.raises(ConfigError) as caught:
            layout.find(OsStorage(), str(path), kind)
        return str(caught.value)

    assert "hypercache wal inspect" in words(wal.root, Kind.AOF)
    assert "hypercache wal inspect" in words(wal.root / "wal", Kind.AOF)
    assert "does not exist" in words(tmp_path / "no", Kind.WAL)
    assert "is a file" in words(wal.root / "STORE", Kind.WAL)
    (tmp_path / "other").mkdir()
    assert "it is empty" in words(tmp_path / "other", Kind.WAL)
    (tmp_path / "other" / "letter").write_bytes(b"")
    assert "there is letter" in words(tmp_path / "other", Kind.WAL)


def test_no_descriptor_is_left_open(wal):
    wal.segment(puts(5), sealed=False)
    wal.name()
    flip(Path(wal.log.segment(1)), 70)
    before = len(list(Path("/proc/self/fd").iterdir()))
    report_on(wal)
    lines_of(wal)
    assert len(list(Path("/proc/self/fd").iterdir())) == before

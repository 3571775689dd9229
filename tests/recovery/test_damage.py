"""Damaged metafiles, headers and bases, missing and foreign files: what they cost."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from hypercache import Cache
from hypercache.checksum import crc32c
from hypercache.errors import UnsupportedFormatError
from hypercache.inspection.layout import Kind as LogKind
from hypercache.ops import Clear, Delete, Put, Touch
from hypercache.recovery import Loss, Verdict
from hypercache.recovery.findings import Kind
from hypercache.segment import HEADER_BYTES
from tests.recovery.stores import (
    EVERY_BYTE,
    LOGS,
    build,
    contents,
    examine,
    flipped,
    read,
    salvage,
)
from tests.support.files import unchanged
from tests.support.logs import BuiltLog

SEED = 9
METAFILES = {
    "memory": ("STORE", "aof/MANIFEST"),
    "hybrid": ("STORE", "CHECKPOINT"),
    "persistent": ("STORE", "CHECKPOINT"),
}


@pytest.fixture
def store(engine: str, tmp_path: Path) -> Path:
    path = tmp_path / "store"
    build(path, engine, 60, killed=engine != "persistent")
    return path


def test_a_damaged_byte_of_a_metafile_costs_nothing(store: Path, engine: str):
    expected, rng = read(store), random.Random(SEED)
    for name in METAFILES[engine]:
        size = (store / name).stat().st_size
        for offset in range(size) if EVERY_BYTE else rng.sample(range(size), 8):
            with flipped(store / name, offset, rng.randrange(1, 256)):
                found = read(store)
            assert (found.contents, found.loss) == (expected.contents, Loss.NONE)
            assert found.lsn == expected.lsn
            assert [each.file for each in found.findings if each.kept] == [name]


def test_a_metafile_that_is_gone_is_made_anew(store, engine, tmp_path, in_this_process):
    identity = json.loads((store / "STORE").read_text().splitlines()[0])
    expected = contents(store, engine)
    for name in METAFILES[engine]:
        (store / name).unlink()
    report = salvage(store, tmp_path / "output")
    assert report.verdict is Verdict.REPAIRABLE
    assert contents(tmp_path / "output", engine) == expected
    made = json.loads((tmp_path / "output" / "STORE").read_text().splitlines()[0])
    assert made["engine"] == engine
    if engine in LOGS:
        assert made["uuid"] == identity["uuid"]


def test_a_metafile_full_of_garbage_is_made_anew(store, engine):
    expected = read(store)
    for name in METAFILES[engine]:
        (store / name).write_bytes(b"\xff\0garbage" * 20)
    found = read(store)
    assert (found.contents, found.loss) == (expected.contents, Loss.NONE)


def test_a_store_of_a_later_version_is_told_and_left_alone(store, tmp_path):
    fields = json.loads((store / "STORE").read_text().splitlines()[0])
    line = json.dumps({**fields, "format": 99}).encode()
    (store / "STORE").write_bytes(b"%s\n%08x\n" % (line, crc32c(line)))
    with unchanged(store):
        for attempt in (examine, lambda path: salvage(path, tmp_path / "output")):
            with pytest.raises(UnsupportedFormatError, match="99"):
                attempt(store)


@pytest.mark.parametrize("engine", ["memory", "hybrid"], indirect=True)
def test_a_log_whose_uuid_nothing_tells_any_more_is_read_all_the_same(store, engine):
    expected = read(store)
    (store / "STORE").unlink()
    [log] = (store / LOGS[engine]).glob(f"*.{LOGS[engine]}")
    data = log.read_bytes()
    log.write_bytes(bytes(HEADER_BYTES) + data[HEADER_BYTES:])
    found = read(store)
    assert (found.contents, found.loss) == (expected.contents, Loss.NONE)
    assert found.lsn == expected.lsn


@pytest.fixture(params=[LogKind.WAL, LogKind.AOF], ids=["wal", "aof"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> BuiltLog:
    """Return a log of four segments, the last of them not sealed."""
    built = BuiltLog(tmp_path / "log", request.param)
    for number in range(4):
        puts = [[Put(b"s%d-%d" % (number, at), b"value")] for at in range(5)]
        built.segment(puts, sealed=number < 3, synced=True)
    built.name()
    if request.param is LogKind.WAL:
        live = tmp_path / "empty"
        Cache(live, engine="hybrid", serializer="bytes").close()
        shutil.copytree(live / "lmdb", built.root / "lmdb")
    return built


def keys(*numbers: int) -> set[bytes]:
    return {b"s%d-%d" % (number, at) for number in numbers for at in range(5)}


def path_of(log: BuiltLog, number: int) -> Path:
    return Path(log.log.segment(number))


def test_a_missing_segment_is_named_with_its_lsns(log: BuiltLog):
    path_of(log, 2).unlink()
    found = read(log.root)
    assert set(found.contents) == keys(0, 2, 3)
    kinds = {each.kind: each for each in found.findings}
    assert kinds[Kind.MISSING_FILE].file.endswith("2.wal") or LOGS
    gap = kinds[Kind.GAP]
    assert (gap.first_lsn, gap.last_lsn, gap.loss) == (6, 10, Loss.CERTAIN)


def test_a_missing_active_segment_is_a_possible_loss_from_its_lsn_on(log: BuiltLog):
    path_of(log, 4).unlink()
    found = read(log.root)
    assert set(found.contents) == keys(0, 1, 2)
    gap = next(each for each in found.findings if each.kind is Kind.GAP)
    assert (gap.first_lsn, gap.last_lsn, gap.loss) == (16, None, Loss.POSSIBLE)


def test_a_foreign_segment_is_not_applied(log: BuiltLog, tmp_path: Path):
    shutil.copy(path_of(log, 2), path_of(log, 3))
    found = read(log.root)
    assert set(found.contents) == keys(0, 1, 3)
    foreign = next(e for e in found.findings if e.kind is Kind.FOREIGN_SEGMENT)
    assert foreign.file.startswith(log.log.directory.rpartition("/")[2])
    gap = next(each for each in found.findings if each.kind is Kind.GAP)
    assert (gap.first_lsn, gap.last_lsn) == (11, 15)


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_header_that_is_all_gone_costs_nothing(log: BuiltLog, number: int):
    path = path_of(log, number)
    path.write_bytes(b"\xa5" * 64 + path.read_bytes()[64:])
    found = read(log.root)
    assert (set(found.contents), found.loss) == (keys(0, 1, 2, 3), Loss.NONE)
    assert Kind.HEADER in [each.kind for each in found.findings]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_footer_that_is_gone_costs_nothing(log: BuiltLog, number: int):
    path = path_of(log, number)
    last, offset = log.offsets[number * 5]
    assert last == path
    data = path.read_bytes()
    end = (
        len(data) - len(data[offset:]) + 32 + len(b"\x93\x01\xc4\x04s0-0\xc4\x05value")
    )
    path.write_bytes(data[: end + 3])
    found = read(log.root)
    assert (set(found.contents), found.loss) == (keys(0, 1, 2, 3), Loss.NONE)
    assert found.findings


def test_a_segment_that_no_metafile_knows_counts(log: BuiltLog):
    log.number = 3
    log.began_at = 11
    log.name()
    found = read(log.root)
    assert set(found.contents) == keys(0, 1, 2, 3)
    assert Kind.OLDER in [each.kind for each in found.findings]


def test_ops_behind_a_lost_one_mean_what_they_say(tmp_path: Path):
    log = BuiltLog(tmp_path / "log", LogKind.AOF)
    batches = [
        [Put(b"a", b"1")],
        [Put(b"b", b"2")],
        [Touch(b"b", 5_000_000_000_000)],
        [Put(b"c", b"3")],
        [Delete(b"b")],
        [Clear()],
        [Put(b"d", b"4")],
    ]
    log.segment(batches, synced=True)
    log.name(clean=False)
    for lsn in range(1, len(batches) + 1):
        path, offset = log.offsets[lsn]
        with flipped(path, offset):
            found = read(log.root)
        expected = {b"d"} if lsn < 6 else {b"a", b"c", b"d"} if lsn == 6 else set()
        assert set(found.contents) == expected, lsn
        assert [each.first_lsn for each in found.findings if each.loss] != [], lsn


def test_a_damaged_block_costs_its_entries_and_they_are_counted(tmp_path: Path):
    log = BuiltLog(tmp_path / "log", LogKind.AOF)
    entries = {b"key%02d" % at: b"value%02d" % at for at in range(12)}
    base = log.write_base(1, 20, entries)
    log.next_lsn = log.began_at = 21
    log.segment([[Put(b"later", b"x")]], synced=True)
    log.name(clean=False)
    whole = read(log.root)
    assert (len(whole.contents), whole.loss) == (13, Loss.NONE)
    size, lost = base.stat().st_size, 0
    for offset in range(0, size, 3):
        with flipped(base, offset):
            found = read(log.root)
        missing = whole.contents.items() - found.contents.items()
        assert found.contents.items() <= whole.contents.items()
        assert len(missing) in {0, 3}, offset
        assert (found.loss is Loss.CERTAIN) == bool(missing), offset
        lost += bool(missing)
        if missing:
            reasons = [each.reason for each in found.findings]
            assert "9 entries were read where 12 belong" in reasons, offset
    assert lost


def test_a_missing_base_is_a_certain_loss(tmp_path: Path):
    log = BuiltLog(tmp_path / "log", LogKind.AOF)
    base = log.write_base(1, 20, {b"key": b"value"})
    log.next_lsn = log.began_at = 21
    log.segment([[Put(b"later", b"x")]], synced=True)
    log.name(clean=False)
    base.unlink()
    found = read(log.root)
    assert (set(found.contents), found.loss) == ({b"later"}, Loss.CERTAIN)


def test_foreign_files_do_no_harm(store: Path, engine: str, in_this_process):
    (store / "notes.txt").write_text("mine")
    before = examine(store)
    assert Kind.FOREIGN_FILE in [each.kind for each in before.findings]
    assert before.loss is Loss.NONE


def test_an_lmdb_file_older_than_the_marker_is_continued_by_the_log(tmp_path: Path):
    path, old = tmp_path / "store", tmp_path / "old.mdb"
    with Cache(path, engine="hybrid", serializer="bytes") as cache:
        cache.set(b"first", b"1")
    shutil.copy(path / "lmdb" / "data.mdb", old)
    with Cache(path, engine="hybrid", serializer="bytes") as cache:
        cache.set(b"second", b"2")
        cache.checkpoint()
        cache.set(b"third", b"3")
        cache.sync()
        shutil.copytree(path, tmp_path / "copy")
    shutil.copy(old, tmp_path / "copy" / "lmdb" / "data.mdb")
    found = read(tmp_path / "copy")
    assert set(found.contents) == {b"first", b"third"}
    assert found.loss is Loss.CERTAIN
    assert {each.kind for each in found.findings} >= {Kind.OLDER, Kind.GAP}

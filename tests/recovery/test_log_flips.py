"""One damaged byte in a log costs at most the record that covers it, and that is said.

HYPERCACHE_EVERY_BYTE=1 flips every byte; else a seeded sample of them.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from hypercache.recovery import Loss
from hypercache.recovery.findings import Kind
from tests.recovery.stores import EVERY_BYTE, Built, contents, flipped, read, salvage

SAMPLE = 12
WRITTEN_COUNT = 6
HEADER_BYTES = 64
SEED = 20


def places(built: Built, seed: int = SEED) -> list[int]:
    """Return all offsets up to the footer's end, or some of each part of the file."""
    end = built.records[-1].end + HEADER_BYTES
    end = min(end, built.log.stat().st_size)
    if EVERY_BYTE:
        return list(range(end))
    rng = random.Random(seed)
    heads = rng.sample(range(HEADER_BYTES), 12)
    ends = rng.sample(range(built.records[-1].start, end), 12)
    return [*heads, *ends, *rng.sample(range(end), SAMPLE)]


def test_a_flipped_byte_costs_at_most_the_record_covering_it(thousand: Built):
    assert len(thousand.records) > 800
    whole = read(thousand.path)
    assert (whole.contents, whole.loss) == (thousand.without(), Loss.NONE)
    named = total = 0
    for offset in places(thousand):
        with flipped(thousand.log, offset):
            found = read(thousand.path)
        record = thousand.covering(offset)
        where = f"offset {offset} of {thousand.path.name}"
        if record is None:
            assert found.contents == thousand.without(), where
            assert found.loss is Loss.NONE, where
            continue
        assert found.contents == thousand.without(record.lsn), where
        assert found.lsn >= thousand.records[-1].lsn - 1, where
        said = [
            each
            for each in found.findings
            if each.first_lsn is not None
            and each.first_lsn <= record.lsn <= (each.last_lsn or record.lsn)
        ]
        assert said, where
        covers = range(said[0].offset, said[0].offset + said[0].length_bytes)
        assert offset in covers, where
        if said[0].kind is not Kind.TORN_TAIL:
            assert found.loss is Loss.CERTAIN or record is thousand.records[-1], where
            total += 1
            named += any(lost.key == record.op.key for lost in said[0].keys)
    assert named > total / 2, (named, total)


def test_what_is_written_is_what_was_read(thousand, tmp_path: Path, in_this_process):
    rng = random.Random(SEED)
    for offset in rng.sample(places(thousand), WRITTEN_COUNT):
        output = tmp_path / str(offset)
        with flipped(thousand.log, offset):
            report = salvage(thousand.path, output)
            expected = read(thousand.path).contents
        assert contents(output, thousand.engine) == expected
        assert report.entry_count == len(expected)
        shutil.rmtree(output)


@pytest.mark.parametrize("length", [0, 10, 63, 64, 65, 96, 500, 5_000, 20_000])
def test_what_is_before_the_cut_of_a_log_is_kept(thousand, tmp_path: Path, length):
    copy = tmp_path / "store"
    shutil.copytree(thousand.path, copy)
    log = copy / thousand.log.relative_to(thousand.path)
    with log.open("r+b") as file:
        file.truncate(length)
    kept = [rec.lsn for rec in thousand.records if rec.end <= length]
    gone = [rec.lsn for rec in thousand.records if rec.end > length]
    found = read(copy)
    assert found.contents == thousand.without(*gone)
    assert len(kept) + len(gone) == len(thousand.records)
    if thousand.path.name.endswith("closed"):
        # The manifest knows where the log ended.
        assert found.loss is Loss.CERTAIN
        assert found.lsn >= thousand.records[-1].lsn


def test_the_frames_behind_a_torn_tail_are_kept_when_asked_for(tmp_path: Path):
    from hypercache import Cache
    from hypercache.recovery import sources
    from hypercache.recovery.entries import Entries
    from tests.recovery.stores import STORAGE, described

    path = tmp_path / "store"
    with Cache(tmp_path / "live", engine="memory", serializer="bytes", sync="no") as it:
        for number in range(9):
            it.set(b"key%d" % number, b"value")
        shutil.copytree(tmp_path / "live", path)
    built = described(path, "memory")
    data = bytearray(built.log.read_bytes())
    data[built.records[4].end - 1] ^= 1
    built.log.write_bytes(data)
    found = read(path)
    assert sorted(found.contents) == [b"key%d" % number for number in range(4)]
    assert "--keep-tail" in found.findings[-1].reason
    source = sources.load(STORAGE, str(path), int, keep_tail=True)
    assert len(Entries(source.items(int, []))) == 8

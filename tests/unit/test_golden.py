"""The worked example of docs/wal_format.md, its file and the code are one."""

import re
from pathlib import Path

import pytest

from hypercache import ops, segment
from hypercache.ops import Put
from hypercache.segment import NO_SEGMENT, SegmentHeader, SegmentReader, SegmentWriter
from hypercache.storage import OsStorage

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "segment-v1.wal"
FORMAT = ROOT / "docs" / "wal_format.md"
HEADER = SegmentHeader(bytes(range(16)), 1, 1, NO_SEGMENT)
HEX_LINE = re.compile(r"^    ([0-9a-f]{4})  +((?:[0-9a-f]{2} )*[0-9a-f]{2})(?=  |$)")


def hex_of_the_document():
    """Return the bytes that the worked example prints, each at its offset."""
    text = FORMAT.read_text().partition("### Worked example")[2]
    data = bytearray()
    for line in text.partition("## Torn or corrupt")[0].splitlines():
        match = HEX_LINE.match(line)
        if match:
            assert int(match[1], 16) == len(data), line
            data += bytes.fromhex(match[2])
    return bytes(data)


def test_the_document_prints_the_bytes_of_the_file():
    assert hex_of_the_document() == GOLDEN.read_bytes()


def test_reading_the_file_gives_the_ops_of_the_example():
    reader = SegmentReader(GOLDEN.read_bytes(), "golden")
    [found] = list(reader)
    assert list(ops.decode(found.payload, found.op_count)) == [Put(b"k", b"v")]
    assert (found.lsn, found.op_count, found.synced_lsn) == (1, 1, 0)
    assert (reader.header, reader.sealed, reader.hole) == (HEADER, True, None)
    assert reader.next_lsn == 2


def test_the_checksums_are_those_of_the_document():
    data = GOLDEN.read_bytes()
    [found] = list(SegmentReader(data, "golden"))
    assert (segment.seed_of(data), found.crc) == (0x43C78E69, 0x1736058C)


@pytest.mark.parametrize("mapped", [True, False])
def test_writing_the_ops_gives_the_bytes_of_the_file(tmp_path, mapped):
    path = str(tmp_path / "1.wal")
    file = OsStorage().create(path, 4096 if mapped else 0, mapped=mapped)
    writer = SegmentWriter(file, HEADER, 4096)
    assert writer.append(ops.encode(ops.Packer(), [Put(b"k", b"v")]), 1, 0) == 1
    facts = writer.seal(synced_lsn=1)
    assert Path(path).read_bytes() == GOLDEN.read_bytes()
    assert facts == (len(GOLDEN.read_bytes()), 0x1736058C)

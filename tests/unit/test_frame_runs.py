"""Frames read many at once are the frames read one by one, to the byte and the LSN."""

import pytest
from crc32c import crc32c

from hypercache import frame, segment
from hypercache.errors import UnsupportedFormatError
from hypercache.frame import CRC, HEADER_BYTES, REST, Frame, FrameScanner
from hypercache.options import MAX_LSN
from hypercache.segment import NO_SEGMENT, SegmentHeader, SegmentReader, seed_of

SEED = 0x12345678
START = 64


def encoded(offset, lsn, op_count=1, payload=b"payload", kind=frame.KIND_OPS):
    return frame.encode(SEED, offset, lsn, 0, op_count, kind, payload)[1]


def log_of(*frames):
    """Return frames that follow each other, each given by LSN and op count."""
    data = b""
    for lsn, op_count in frames:
        data += encoded(START + len(data), lsn, op_count)
    return bytes(START) + data


def one_by_one(data, lsn=1):
    scanner = FrameScanner(data, START, SEED, lsn)
    frames = list(scanner)
    return [bytes(found.payload) for found in frames], scanner


def in_runs(data, lsn=1):
    scanner = FrameScanner(data, START, SEED, lsn)
    scanner._window.holds(START, 1)
    payloads = []
    while (run := scanner.maybe_run()) is not None:
        payloads += run.payloads
    return payloads, scanner


def assert_alike(data, lsn=1):
    """Both ways find the same frames, and stop at the same place."""
    single, scanner = one_by_one(data, lsn)
    many, runner = in_runs(data, lsn)
    assert many == single
    assert (runner.offset, runner.next_lsn) == (scanner.offset, scanner.next_lsn)
    return len(single), scanner.hole


def test_all_frames_are_found_and_their_ops_counted():
    assert assert_alike(log_of((1, 1), (2, 3), (5, 1))) == (3, None)


@pytest.mark.parametrize("lsn", [1, 3, 4, 2**40])
def test_a_run_ends_where_the_lsns_have_a_gap(lsn):
    count, hole = assert_alike(log_of((1, 1), (lsn, 1), (lsn + 1, 1)))
    assert count == 1
    assert "must follow" in hole.reason


def test_next_to_the_last_lsn_there_is_both_ways_stop_at_the_same_frame():
    # Runs went on past it, and what an open replayed a recovery took for damage.
    first = MAX_LSN - 2
    head = SegmentHeader(bytes(16), 1, first).encode()
    data = head
    for lsn in range(first, first + 5):
        place = seed_of(head), len(data), lsn, 0, 1, frame.KIND_OPS, b"payload"
        data += frame.encode(*place)[1]
    single, many = SegmentReader(data, "x"), SegmentReader(data, "x")
    assert len(list(single)) == 2
    assert sum(len(run.payloads) for run in many.runs()) == 2
    assert single.hole == many.hole
    assert "makes no sense" in single.hole.reason


def test_a_frame_that_ends_behind_the_data_is_none_whatever_its_checksum_says():
    # The checksum is made for the bytes that are there, not for those announced.
    payload = b"ten bytes."
    rest = REST.pack(100, 2, 0, 1, frame.KIND_OPS, 0, frame.MAGIC) + payload
    data = log_of((1, 1))
    offset = len(data)
    data += CRC.pack(crc32c(rest, SEED ^ offset)) + rest
    count, hole = assert_alike(data)
    assert count == 1
    assert (hole.offset, hole.reason) == (offset, "the file ends inside a frame")


@pytest.mark.parametrize("at", range(HEADER_BYTES))
def test_a_run_ends_at_a_header_with_a_flipped_byte(at):
    data = bytearray(log_of((1, 1), (2, 1)))
    second = START + HEADER_BYTES + len(b"payload")
    data[second + at] ^= 0xFF
    assert assert_alike(bytes(data))[0] == 1


@pytest.mark.parametrize("kind", [frame.KIND_FOOTER, frame.KIND_BLOCK])
def test_a_run_is_of_ops_alone(kind):
    data = log_of((1, 1))
    data += encoded(len(data), 2, 0, kind=kind)
    payloads, scanner = in_runs(data)
    assert payloads == [b"payload"]
    assert next(iter(scanner)).kind == kind


def test_a_frame_over_the_limit_is_none_even_if_it_verifies(monkeypatch):
    data = bytes(START) + encoded(START, 1, payload=b"x" * 40)
    assert isinstance(frame.decode_at(memoryview(data), START, SEED), Frame)
    monkeypatch.setattr(frame, "MAX_PAYLOAD_BYTES", 39)
    found = frame.decode_at(memoryview(data), START, SEED)
    assert found == "the file ends inside a frame"


def test_a_segment_with_a_gap_ends_before_it_however_it_is_read():
    header = SegmentHeader(bytes(16), 1, 1, NO_SEGMENT).encode()
    data = header
    for lsn in (1, 3):
        data += frame.encode(seed_of(header), len(data), lsn, 0, 1, 1, b"ops")[1]
    for read in (SegmentReader.__iter__, SegmentReader.runs):
        reader = SegmentReader(data, "segment")
        assert len(list(read(reader))) == 1
        assert (reader.next_lsn, reader.sealed) == (2, False)
        assert reader.hole is not None


def test_a_header_that_verifies_and_is_no_logs_is_told_as_another_format():
    for magic, version in ((b"HCLOG2", 1), (b"HCLOG\n", 0)):
        head = segment._HEADER.pack(magic, version, bytes(16), 1, 1, 0, 0, 0)
        data = head + CRC.pack(crc32c(head))
        with pytest.raises(UnsupportedFormatError):
            SegmentHeader.decode(data, "segment")

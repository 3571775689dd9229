"""A segment is whole, or says where and why not."""

import pytest

from hypercache import frame, segment
from hypercache.errors import CorruptionError, UnsupportedFormatError
from hypercache.segment import (
    FOOTER_ROOM,
    HEADER_BYTES,
    LsnRange,
    SealedFacts,
    SegmentFullError,
    SegmentHeader,
    SegmentReader,
    SegmentWriter,
)

UUID = bytes(range(16))
HEADER = SegmentHeader(UUID, 3, 100, SealedFacts(4096, 12345))
SYNCED = 99  # nothing of the segment is known to be synced


class MemoryFile:
    """A File in a bytearray that counts its syncs."""

    path = "wal/0000000000000003.wal"

    def __init__(self, reserved=0):
        self.data, self.window = bytearray(reserved), self
        self.syncs, self.closed, self.linked = 0, False, True

    def __setitem__(self, where, data):
        assert where.stop - where.start == len(data)
        self.write_at(where.start, data)

    def write_at(self, offset, data):
        self.data[offset : offset + len(data)] = data

    def sync(self):
        self.syncs += 1

    def truncate(self, length):
        del self.data[length:]

    def is_linked(self):
        return self.linked

    def close(self):
        self.closed = True


def written(*payloads, capacity=4096, reserved=0):
    file = MemoryFile(reserved)
    writer = SegmentWriter(file, HEADER, capacity)
    for payload in payloads:
        writer.append(payload, 1, 0)
    return file, writer


def read(file):
    reader = SegmentReader(bytes(file.data), file.path)
    return [bytes(found.payload) for found in reader], reader


def test_a_header_reads_back_as_it_was_written():
    data = HEADER.encode()
    assert len(data) == HEADER_BYTES
    assert SegmentHeader.decode(data, "x") == HEADER


def test_every_flipped_bit_of_a_header_is_noticed():
    for bit in range(HEADER_BYTES * 8):
        data = bytearray(HEADER.encode())
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptionError, match="header is damaged"):
            SegmentHeader.decode(bytes(data), "x")


@pytest.mark.parametrize("length", [0, 1, 59, 60, 63])
def test_a_cut_header_is_noticed(length):
    with pytest.raises(CorruptionError, match="header is damaged"):
        SegmentHeader.decode(HEADER.encode()[:length], "x")


def test_a_whole_header_of_another_version_is_no_damage():
    head = segment._HEADER.pack(b"HCLOG\n", 2, UUID, 1, 1, 0, 0, 0)
    data = head + segment._CRC.pack(segment.crc32c(head))
    with pytest.raises(UnsupportedFormatError, match="format 2 is not supported"):
        SegmentHeader.decode(data, "x")


def test_a_first_lsn_past_62_bits_is_damage_though_the_checksum_is_right():
    data = SegmentHeader(UUID, 1, 2**62).encode()
    with pytest.raises(CorruptionError, match="its first LSN makes no sense"):
        SegmentHeader.decode(data, "x")


def test_lsns_are_handed_out_without_gaps():
    file, writer = written()
    assert writer.append(b"one", 1, 0) == 100
    assert writer.append(b"three", 3, 100) == 103
    assert writer.append(b"one", 1, 103) == 104
    _, reader = read(file)
    assert [(found.lsn, found.op_count, found.synced_lsn) for found in reader] == []
    frames = list(SegmentReader(bytes(file.data), file.path))
    assert [(f.lsn, f.op_count, f.synced_lsn) for f in frames] == [
        (100, 1, 0),
        (101, 3, 100),
        (104, 1, 103),
    ]


def test_append_writes_what_the_one_encoder_writes():
    file, _ = written(b"payload")
    seed = segment.seed_of(HEADER.encode())
    _, expected = frame.encode(
        seed, HEADER_BYTES, 100, 0, 1, frame.KIND_OPS, b"payload"
    )
    assert bytes(file.data[HEADER_BYTES:]) == expected


def test_a_frame_that_does_not_fit_writes_nothing():
    file, writer = written(b"a")
    before = bytes(file.data)
    with pytest.raises(SegmentFullError):
        writer.append(bytes(4096), 1, 0)
    assert bytes(file.data) == before
    assert writer.append(b"b", 1, 0) == 101


def test_a_segment_full_to_its_last_byte_can_still_be_sealed():
    room = 4096 - FOOTER_ROOM - HEADER_BYTES - frame.HEADER_BYTES
    file, writer = written(capacity=4096, reserved=4096)
    with pytest.raises(SegmentFullError):
        writer.append(bytes(room + 1), 1, 0)
    writer.append(bytes(room), 1, 0)
    assert writer.seal(SYNCED).length <= 4096
    assert read(file)[1].sealed


def test_the_footer_never_outgrows_the_room_kept_for_it():
    top = (1 << 64) - 2
    footer = segment.footer_bytes(0, 64, LsnRange(0, top, top), (1 << 64) - 1)
    assert len(footer) <= FOOTER_ROOM


@pytest.mark.parametrize("reserved", [0, 4096])
def test_sealing_cuts_syncs_and_closes(reserved):
    file, writer = written(b"a", b"b", reserved=reserved)
    facts = writer.seal(SYNCED)
    assert (file.syncs, file.closed, len(file.data)) == (1, True, facts.length)
    payloads, reader = read(file)
    assert payloads == [b"a", b"b"]
    assert (reader.sealed, reader.facts, reader.hole) == (True, facts, None)
    assert reader.next_lsn == 102


def test_an_empty_segment_can_be_sealed():
    file, writer = written()
    facts = writer.seal(SYNCED)
    payloads, reader = read(file)
    assert (payloads, reader.sealed, reader.facts) == ([], True, facts)
    assert (facts.digest, reader.next_lsn) == (0, 100)


def test_the_digest_is_the_sum_of_the_frames_checksums():
    file, writer = written(b"a", b"b")
    crcs = [found.crc for found in SegmentReader(bytes(file.data), "x")]
    assert writer.seal(SYNCED).digest == sum(crcs)


def test_an_active_segment_ends_plainly_with_zeros_behind_it():
    file, writer = written(b"a", reserved=4096)
    _, reader = read(file)
    assert (reader.sealed, reader.hole, reader.end) == (False, None, writer.offset)


def test_a_footer_whose_cut_was_lost_counts_as_not_written():
    file, writer = written(b"a")
    end = writer.offset
    writer.seal(SYNCED)
    file.data += bytes(100)
    _, reader = read(file)
    assert (reader.sealed, reader.hole, reader.end) == (False, None, end)
    assert reader.next_lsn == 101


def test_a_footer_with_bytes_behind_it_counts_as_not_written_either():
    # A half frame that was cut away, and is back after a crash that lost the cut.
    file, writer = written(b"a")
    end = writer.offset
    writer.seal(SYNCED)
    file.data += b"\0\0x"
    payloads, reader = read(file)
    assert (payloads, reader.sealed, reader.end) == ([b"a"], False, end)
    assert reader.hole == frame.Hole(end, "there are bytes behind the footer")


def test_a_footer_claims_no_more_to_be_synced_than_was_before_it():
    file, writer = written(b"lost", b"kept")
    hole = HEADER_BYTES
    writer.seal(SYNCED)
    file.data[hole] ^= 1
    _, reader = read(file)
    assert (reader.hole.offset, reader.synced_lsn_behind_hole()) == (hole, SYNCED)


def test_a_footer_that_counts_other_frames_is_damage():
    file, writer = written(b"a")
    seed = segment.seed_of(HEADER.encode())
    file.data += segment.footer_bytes(
        seed, writer.offset, LsnRange(100, 101, SYNCED), digest=1
    )
    with pytest.raises(CorruptionError, match="footer disagrees") as caught:
        read(file)
    assert (caught.value.offset, caught.value.lsn) == (writer.offset, 101)


def test_every_flipped_byte_of_a_sealed_segment_is_noticed():
    file, writer = written(b"first", b"second")
    writer.seal(SYNCED)
    whole, frames = bytes(file.data), [b"first", b"second"]
    for at in range(len(whole)):
        file.data[:] = whole
        file.data[at] ^= 0xFF
        try:
            payloads, reader = read(file)
        except CorruptionError:
            continue
        assert not reader.sealed, at
        assert reader.hole is not None, at
        assert payloads == frames[: len(payloads)], at


def test_the_watermark_behind_a_hole_is_the_highest_one():
    file, writer = written(b"a")
    hole = writer.offset
    writer.append(b"lost", 1, 100)
    writer.append(b"c", 1, 101)
    writer.append(b"d", 1, 100)
    file.data[hole] ^= 1
    _, reader = read(file)
    assert reader.hole.offset == hole
    assert reader.synced_lsn_behind_hole() == 101


def test_cut_back_removes_what_a_failed_append_left():
    file, writer = written(b"a")
    file.data += b"half a frame"
    writer.cut_back()
    assert writer.append(b"b", 1, 0) == 101
    assert read(file)[0] == [b"a", b"b"]


def sealed_with_block(payload):
    """Return a segment that holds one block frame, as a base does."""
    data = HEADER.encode()
    seed = segment.seed_of(data)
    crc, block = frame.encode(seed, 64, 100, SYNCED, 0, frame.KIND_BLOCK, payload)
    data += block
    return data + segment.footer_bytes(
        seed, len(data), LsnRange(100, 100, SYNCED), digest=crc
    )


def test_blocks_are_read_like_ops_and_take_no_lsn():
    reader = SegmentReader(sealed_with_block(b"block"), "base")
    [block] = reader
    assert (block.kind, block.lsn, block.op_count) == (frame.KIND_BLOCK, 100, 0)
    assert bytes(block.payload) == b"block"
    assert (reader.sealed, reader.next_lsn, reader.digest) == (True, 100, block.crc)


def test_a_source_is_read_like_bytes():
    file, writer = written(b"a", b"b")
    facts = writer.seal(SYNCED)
    reader = SegmentReader(frame.BytesSource(file.data), file.path)
    assert [bytes(found.payload) for found in reader] == [b"a", b"b"]
    assert (reader.sealed, reader.facts, reader.length) == (True, facts, facts.length)


def test_a_limit_hides_what_a_writer_does_behind_it():
    file, writer = written(b"a", reserved=4096)
    limit = writer.offset
    writer.append(b"b", 1, 100)
    reader = SegmentReader(bytes(file.data), file.path, limit)
    assert [bytes(found.payload) for found in reader] == [b"a"]
    assert (reader.length, reader.end, reader.hole) == (limit, limit, None)
    reader = SegmentReader(bytes(file.data), file.path, limit=1 << 20)
    assert (reader.length, len(list(reader))) == (4096, 2)


def test_a_limit_inside_the_header_is_a_damaged_header():
    file, _ = written(b"a")
    with pytest.raises(CorruptionError, match="header is damaged"):
        SegmentReader(bytes(file.data), file.path, limit=HEADER_BYTES - 1)

"""Frames verify at their own place and nowhere else, and never lie about why not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypercache import frame
from hypercache.frame import BytesSource, FrameScanner, Hole, Window

SEED = 0x12345678
START = 64


def encoded(offset=START, lsn=1, payload=b"payload", *, synced=0, seed=SEED, ops=1):
    return frame.encode(seed, offset, lsn, synced, ops, frame.KIND_OPS, payload)[1]


def log_of(*payloads, tail=b"", synced=0):
    """Return a header's worth of zeros and one frame of one op for each payload."""
    data = bytes(START)
    for lsn, payload in enumerate(payloads, start=1):
        data += encoded(len(data), lsn, payload, synced=synced)
    return data + tail


def scanned(data, lsn=1):
    scanner = FrameScanner(memoryview(data), START, SEED, lsn)
    return list(scanner), scanner


@given(
    seed=st.integers(0, 2**32 - 1),
    offset=st.integers(0, 300),
    lsn=st.integers(0, 2**62 - 2**32),
    synced=st.integers(0, 2**64 - 1),
    ops=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(sorted(frame.KINDS)),
    payload=st.binary(max_size=200),
    behind=st.binary(max_size=40),
)
def test_a_frame_reads_back_as_it_was_written(
    seed, offset, lsn, synced, ops, kind, payload, behind
):
    crc, data = frame.encode(seed, offset, lsn, synced, ops, kind, payload)
    found = frame.decode_at(memoryview(bytes(offset) + data + behind), offset, seed)
    assert found == (offset, lsn, synced, ops, kind, crc, payload)
    assert found.end == offset + len(data)
    assert found.next_lsn == lsn + ops


def test_every_flipped_bit_of_a_frame_is_noticed():
    data = encoded(payload=b"some bytes")
    for bit in range(len(data) * 8):
        damaged = bytearray(bytes(START) + data)
        damaged[START + bit // 8] ^= 1 << bit % 8
        assert isinstance(frame.decode_at(memoryview(damaged), START, SEED), str), bit


def test_every_shortened_frame_is_noticed():
    data = bytes(START) + encoded()
    for length in range(START, len(data)):
        found = frame.decode_at(memoryview(data[:length]), START, SEED)
        assert isinstance(found, str), length


def test_a_frame_moved_to_another_place_does_not_verify():
    data = encoded(START)
    moved = memoryview(bytes(START + 8) + data)
    assert frame.decode_at(moved, START + 8, SEED) == "the checksum does not match"


def test_a_frame_of_another_segment_does_not_verify():
    data = memoryview(bytes(START) + encoded(seed=SEED + 1))
    assert frame.decode_at(data, START, SEED) == "the checksum does not match"


def test_the_seed_takes_only_32_bits_of_the_offset():
    far = (1 << 32) + START
    assert encoded(far) == encoded(START)


def test_an_announced_length_beyond_the_data_is_refused_before_it_is_used():
    huge = bytearray(bytes(START) + encoded())
    huge[START + 4 : START + 8] = b"\xff\xff\xff\xff"
    found = frame.decode_at(memoryview(huge), START, SEED)
    assert found == "the file ends inside a frame"


@pytest.mark.parametrize(("kind", "flags"), [(0, 0), (4, 0), (1, 1), (2, 128)])
def test_unknown_kinds_and_flags_are_named(kind, flags):
    rest = frame.REST.pack(0, 1, 0, 0, kind, flags, frame.MAGIC)
    crc = frame.crc32c(rest, SEED ^ START)
    data = memoryview(bytes(START) + frame.CRC.pack(crc) + rest)
    found = frame.decode_at(data, START, SEED)
    assert found == f"unknown kind {kind} or flags {flags}"


@pytest.mark.parametrize("lsn", [2**62, 2**62 - 1, 2**64 - 1])
def test_an_lsn_past_62_bits_makes_no_sense_though_the_checksum_is_right(lsn):
    data = memoryview(bytes(START) + encoded(lsn=lsn))
    assert frame.decode_at(data, START, SEED) == f"its LSN {lsn} makes no sense"


def test_a_scan_yields_all_frames_up_to_the_plain_end():
    frames, scanner = scanned(log_of(b"a", b"bb", b""))
    assert [bytes(found.payload) for found in frames] == [b"a", b"bb", b""]
    assert (scanner.hole, scanner.next_lsn) == (None, 4)


@pytest.mark.parametrize("zeros", [1, 31, 32, 33, 4096])
def test_zeros_behind_the_last_frame_are_its_plain_end(zeros):
    data = log_of(b"a")
    frames, scanner = scanned(data + bytes(zeros))
    assert len(frames) == 1
    assert (scanner.hole, scanner.offset) == (None, len(data))


def test_zeros_are_never_a_frame():
    frames, scanner = scanned(bytes(START + 500))
    assert (frames, scanner.hole, scanner.offset) == ([], None, START)


def test_one_byte_that_is_not_zero_makes_the_tail_a_hole():
    data = log_of(b"a")
    frames, scanner = scanned(data + bytes(100) + b"\1")
    assert len(frames) == 1
    assert scanner.hole == Hole(len(data), "no frame starts here")


def test_a_gap_in_the_lsns_is_a_hole():
    data = log_of(b"a")
    _, scanner = scanned(data + encoded(len(data), lsn=3))
    assert scanner.hole == Hole(len(data), "LSN 3 where 2 must follow")


def test_valid_frames_behind_a_hole_are_found_and_no_others():
    first, second, third = encoded(START, 1), None, None
    at_second = START + len(first)
    second = encoded(at_second, 2, b"lost")
    at_third = at_second + len(second)
    third = encoded(at_third, 3, synced=2)
    data = bytes(START) + first + bytes(len(second)) + third + third
    frames, scanner = scanned(data)
    assert [found.lsn for found in frames] == [1]
    assert scanner.hole is not None
    behind = list(scanner.frames_behind_hole())
    assert [(found.offset, found.synced_lsn) for found in behind] == [(at_third, 2)]


@settings(deadline=None)
@given(gap=st.integers(1, 200), step=st.sampled_from([1, 7, 32, 64]))
def test_the_search_for_the_magic_misses_nothing_between_two_windows(gap, step):
    wanted = gap + START
    data = BytesSource(bytes(wanted) + encoded(wanted))
    window = Window(data, step=step)
    assert window.find_candidate(1) == wanted
    assert window.find_candidate(wanted) == wanted
    assert window.find_candidate(wanted + 1) == -1


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 16, 17])
def test_the_end_is_zero_only_if_every_byte_is_whatever_the_step(length):
    assert Window(BytesSource(bytes(length)), step=8).is_zero_from(0)
    for at in range(length):
        data = bytearray(length)
        data[at] = 1
        window = Window(BytesSource(data), step=8)
        assert not window.is_zero_from(0)
        assert window.is_zero_from(at + 1)


class Counted(BytesSource):
    """A Source that remembers the largest piece it was asked for."""

    largest = 0

    def read_at(self, offset, length):
        self.largest = max(self.largest, length)
        return super().read_at(offset, length)


class Shrinking(BytesSource):
    """A file that a writer cuts after it was opened."""

    def read_at(self, offset, length):
        return super().read_at(offset, max(0, min(length, self.cut - offset)))


def through(source, step, limit=None):
    scanner = FrameScanner(source, START, SEED, 1, limit, step)
    return [bytes(found.payload) for found in scanner], scanner


PAYLOADS = [b"a" * size for size in (0, 1, 31, 200, 5, 64, 33, 0, 90)]


@pytest.mark.parametrize("step", [1, 31, 32, 33, 64, 100, 1 << 20])
def test_frames_are_found_across_the_borders_of_windows(step):
    data = log_of(*PAYLOADS)
    payloads, scanner = through(BytesSource(data), step)
    assert payloads == PAYLOADS
    assert (scanner.hole, scanner.offset) == (None, len(data))


@pytest.mark.parametrize("step", [1, 31, 32, 33, 64, 100, 1 << 20])
def test_a_hole_is_found_at_every_border_of_a_window(step):
    whole = log_of(*PAYLOADS)
    frames = list(FrameScanner(whole, START, SEED, 1))
    for lost in frames:
        data = bytearray(whole)
        data[lost.offset] ^= 1
        payloads, scanner = through(BytesSource(data), step)
        assert payloads == PAYLOADS[: lost.lsn - 1]
        assert scanner.hole == Hole(lost.offset, "the checksum does not match")
        behind = [found.lsn for found in scanner.frames_behind_hole()]
        assert behind == [found.lsn for found in frames if found.lsn > lost.lsn]


@pytest.mark.parametrize("step", [16, 64, 1 << 20])
def test_zeros_through_several_windows_are_the_plain_end(step):
    data = log_of(b"a")
    _, scanner = through(BytesSource(data + bytes(1000)), step)
    assert (scanner.hole, scanner.offset) == (None, len(data))
    _, scanner = through(BytesSource(data + bytes(1000) + b"\1"), step)
    assert scanner.hole == Hole(len(data), "no frame starts here")


def test_a_window_grows_for_a_large_frame_and_shrinks_behind_it():
    large = bytes(5000)
    source = Counted(log_of(b"a", large, *[b"b"] * 500))
    payloads, _ = through(source, 256)
    assert payloads == [b"a", large, *[b"b"] * 500]
    assert source.largest == frame.HEADER_BYTES + len(large)


def test_an_announced_length_reads_no_more_than_the_source_holds():
    data = bytearray(log_of(b"a") + bytes(3000))
    data[START + 4 : START + 8] = b"\xff\xff\xff\x3f"
    source = Counted(data)
    _, scanner = through(source, 256)
    assert scanner.hole == Hole(START, "the file ends inside a frame")
    assert list(scanner.frames_behind_hole()) == []
    assert source.largest <= 256


@pytest.mark.parametrize("step", [16, 1 << 20])
def test_nothing_behind_the_limit_is_read(step):
    first, data = log_of(b"a"), log_of(b"a", b"b")
    payloads, scanner = through(BytesSource(data), step, len(first))
    assert (payloads, scanner.hole) == ([b"a"], None)
    _, scanner = through(BytesSource(data), step, len(data) - 1)
    assert scanner.hole == Hole(len(first), "the file ends inside a frame")
    assert list(scanner.frames_behind_hole()) == []
    payloads, scanner = through(BytesSource(data), step, len(data) + 100)
    assert (payloads, scanner.hole) == ([b"a", b"b"], None)


@pytest.mark.parametrize("step", [16, 64, 1 << 20])
def test_a_file_cut_while_it_is_read_ends_there(step):
    first = log_of(b"a")
    source = Shrinking(log_of(b"a", b"b", b"c"))
    source.cut = len(first)
    payloads, scanner = through(source, step)
    assert (payloads, scanner.hole, scanner.size_bytes) == ([b"a"], None, len(first))
    source.cut = len(first) + 5
    payloads, scanner = through(source, step)
    assert payloads == [b"a"]
    assert scanner.hole == Hole(len(first), "the file ends inside a frame header")

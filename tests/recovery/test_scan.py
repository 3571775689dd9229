"""What is found behind damage is a frame of this log that fits what was before."""

import pytest

from hypercache import frame
from hypercache.frame import Frame
from hypercache.recovery.scan import CarefulWindow, Gap, frames_and_gaps

SEED = 0x12345678
DAMAGE = b"damaged " * 9
START = 64


def encoded(offset, lsn, synced_lsn=0, payload=b"\x82\xc4\x01k\xc4\x01v"):
    return frame.encode(SEED, offset, lsn, synced_lsn, 1, frame.KIND_OPS, payload)[1]


def log_of(*pieces):
    """Join bytes, and functions from an offset to a frame there."""
    data = bytes(START)
    for piece in pieces:
        data += piece(len(data)) if callable(piece) else piece
    return data


def found_in(data):
    source = frame.BytesSource(data)
    return list(frames_and_gaps(source, START, SEED, 1))


def test_a_frame_behind_damage_is_found():
    data = log_of(lambda at: encoded(at, 1), DAMAGE, lambda at: encoded(at, 5))
    before, gap, behind = found_in(data)
    assert (before.lsn, behind.lsn) == (1, 5)
    assert gap == Gap(before.end, behind.offset, "no frame starts here")


@pytest.mark.parametrize(
    ("lsn", "synced_lsn"), [(4, 0), (0, 0), (9, 10)], ids=["past", "zero", "future"]
)
def test_a_frame_that_cannot_follow_is_damage_though_it_verifies(lsn, synced_lsn):
    data = log_of(
        lambda at: encoded(at, 4),
        DAMAGE,
        lambda at: encoded(at, lsn, synced_lsn),
        lambda at: encoded(at, 12),
    )
    before, gap, behind = found_in(data)
    assert isinstance(gap, Gap)
    assert (before.lsn, behind.lsn) == (4, 12)


@pytest.mark.parametrize("size", [100, 5 << 20])
def test_a_frame_that_is_cut_off_says_so_whatever_its_size(size):
    whole = encoded(START, 1, payload=bytes(size))
    window = CarefulWindow(frame.BytesSource(log_of(whole[:-1])))
    assert window.decode_at(START, SEED) == "the file ends inside a frame"
    window = CarefulWindow(frame.BytesSource(log_of(whole[:20])))
    assert window.decode_at(START, SEED) == "the file ends inside a frame header"
    window = CarefulWindow(frame.BytesSource(log_of(whole)))
    assert isinstance(window.decode_at(START, SEED), Frame)


def test_a_large_frame_is_summed_up_before_it_is_read():
    whole = bytearray(log_of(encoded(START, 1, payload=bytes(5 << 20))))
    whole[-1] ^= 1
    source = Counting(bytes(whole))
    window = CarefulWindow(source, step=1 << 16)
    assert window.decode_at(START, SEED) == "the checksum does not match"
    assert source.longest <= 1 << 20


class Counting(frame.BytesSource):
    longest = 0

    def read_at(self, offset, length):
        self.longest = max(self.longest, length)
        return super().read_at(offset, length)

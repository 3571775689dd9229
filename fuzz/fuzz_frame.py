"""Invariant: any bytes are frames, an end or a hole; nothing raised; memory bounded.

Behind a right segment header, iteration, `runs` and small windows find the same, and
what is found behind a hole is a frame that the encoder would write there.
"""

from __future__ import annotations

from crc32c import crc32c

from fuzz import seal
from fuzz.feed import Feed
from hypercache import frame, segment
from hypercache.errors import CorruptionError
from hypercache.frame import BytesSource, Frame, FrameScanner
from hypercache.segment import LsnRange, SegmentHeader, SegmentReader

_UUID = bytes(range(16))
_HEADER = SegmentHeader(_UUID, 1, 1).encode()
_SEED = segment.seed_of(_HEADER)
_START = len(_HEADER)


def check(data: bytes) -> None:
    """Read the bytes as the frames of a segment, as they are or made right."""
    feed = Feed(data)
    mode, step = feed.number(), 32 + feed.number()
    whole = _HEADER + feed.rest()
    if mode % 4:
        first_lsn = 1 if mode % 4 > 1 else None
        whole = seal.frames(whole, _START, _SEED, first_lsn).data
    _check_scan(whole, step)
    assert _read(whole, by_runs=False) == _read(whole, by_runs=True)


def _check_scan(whole: bytes, step: int) -> None:
    scan, small = _scan(whole, step=1 << 18), _scan(whole, step)
    found = [_copied(each) for each in scan]
    assert found == [_copied(each) for each in small]
    for each in found:
        _check_frame(whole, each)
    assert (scan.hole, scan.offset) == (small.hole, small.offset)
    if scan.hole is None:
        assert not any(whole[scan.offset :])
        return
    assert scan.hole.offset == scan.offset
    behind = [_copied(each) for each in scan.frames_behind_hole()]
    assert behind == [_copied(each) for each in small.frames_behind_hole()]
    for each in behind:
        assert each.offset > scan.offset
        _check_frame(whole, each)


def _scan(whole: bytes, step: int) -> FrameScanner:
    return FrameScanner(BytesSource(whole), _START, _SEED, 1, step=step)


def _copied(found: Frame) -> Frame:
    return found._replace(payload=memoryview(bytes(found.payload)))


def _check_frame(whole: bytes, found: Frame) -> None:
    fields = (found.lsn, found.synced_lsn, found.op_count, found.kind)
    crc, data = frame.encode(_SEED, found.offset, *fields, bytes(found.payload))
    assert (crc, data) == (found.crc, whole[found.offset : found.end])


def _read(whole: bytes, *, by_runs: bool) -> object:
    reader = SegmentReader(whole, "segment")
    payloads, count, problem = b"", 0, ""
    try:
        if by_runs:
            for run in reader.runs():
                payloads += b"".join(run.payloads)
                count += run.op_count
        else:
            for found in reader:
                payloads += found.payload
                count += found.op_count
    except CorruptionError as error:
        problem = str(error)
    end = reader.end, reader.next_lsn, reader.hole, reader.digest, reader.sealed
    return payloads, count, problem, end


def seeds() -> dict[str, bytes]:
    """Return segments as they are written, cut, holed and followed by zeros."""
    offset, parts, digest = _START, [], 0
    for lsn, payload in enumerate((b"\x93\x01\xc4\x01k\xc4\x01v", b"", b"x" * 300), 1):
        crc, data = frame.encode(_SEED, offset, lsn, lsn - 1, 1, 1, payload)
        parts.append(data)
        offset, digest = offset + len(data), digest + crc
    footer = segment.footer_bytes(_SEED, offset, LsnRange(1, 4, 3), digest)
    open_end, sealed = b"".join(parts), b"".join([*parts, footer])
    holed = parts[0] + b"\xff" * len(parts[1]) + parts[2] + footer
    assert crc32c(_HEADER[:60]) == _SEED
    return {
        "sealed": b"\x00\x00" + sealed,
        "open": b"\x00\x07" + open_end + bytes(100),
        "hole": b"\x00\x20" + holed,
        "torn": b"\x00\x01" + open_end[:-40],
        "resealed": b"\x01\x00" + sealed,
        "reordered": b"\x02\x09" + parts[1] + parts[0] + footer + parts[2],
        "zeros": bytes(200),
    }

"""Survey one file of frames: what is in it, what is damaged, how it ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgpack

from hypercache.errors import CorruptionError
from hypercache.frame import KIND_FOOTER, Frame
from hypercache.read_file import ReadFile
from hypercache.recovery.scan import Gap, frames_and_gaps
from hypercache.recovery.seeds import find_seed
from hypercache.segment import (
    HEADER_BYTES,
    SealedFacts,
    SegmentHeader,
    seed_of,
)
from hypercache.storage import Storage

_DIGEST_MASK = (1 << 64) - 1
MAX_GAPS = 10_000  # of one file; what is behind them is not looked at
Tell = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Hole:
    """Damage between two frames: the LSN that is missing, and the one behind it.

    `next_lsn` is None where nothing follows in this file.
    """

    start: int
    end: int
    reason: str
    lsn: int
    next_lsn: int | None


@dataclass
class Survey:
    """What is in one file of frames.

    Attributes:
        header: None where it is damaged.
        seed: None where no frame can be verified.
        holes: what is damaged, without zeros at the end.
        end: behind the last frame; `zeros` if only zeros follow.
        synced_lsn: the highest watermark in frames behind the first hole.
        footer_offset: where the footer is, None without one.
        sealed: the footer ends the file.
        contradiction: the footer disagrees with the frames, and none is missing.
    """

    path: str
    name: str
    number: int
    size_bytes: int
    header: SegmentHeader | None = None
    version: str | None = None
    seed: int | None = None
    first_lsn: int = 0
    next_lsn: int = 0
    frame_count: int = 0
    digest: int = 0
    holes: list[Hole] = field(default_factory=list)
    end: int = HEADER_BYTES
    zeros: bool = False
    synced_lsn: int = 0
    highest_lsn: int = 0
    footer_offset: int | None = None
    sealed: bool = False
    contradiction: bool = False
    beyond_limit: bool = False
    cut: int | None = None  # a torn tail begins here, and nothing behind it counts

    @property
    def facts(self) -> SealedFacts | None:
        """Return what the next file must say about this one, None if not known."""
        if self.sealed and not self.holes:
            return SealedFacts(self.end, self.digest)
        return None


def survey(
    storage: Storage,
    path: str,
    number: int,
    expected: Callable[[], SegmentHeader | None],
    root: str,
    tell: Tell,
) -> Survey:
    """Read a file once and return what is in it.

    `expected` is what the header should say, as far as others know; it is asked where
    the header is damaged.

    Raises:
        StorageError: it cannot be read.
        UnsupportedFormatError: it is whole, and of a later version.
    """
    with storage.open_read(path) as file:
        found = Survey(path, os.path.relpath(path, root), number, file.size_bytes)
        _read_header(file, found, expected)
        if found.seed is not None:
            _read_frames(file, found, tell)
    return found


def frames(
    storage: Storage, found: Survey, tell: Tell, stop: int | None = None
) -> Iterator[Frame]:
    """Yield the valid frames of a surveyed file, up to its footer or `stop`."""
    if found.seed is None:
        return
    stop = found.end if stop is None else stop
    lsn = found.first_lsn
    with storage.open_read(found.path) as file:
        for each in frames_and_gaps(file, HEADER_BYTES, found.seed, lsn, stop):
            if isinstance(each, Gap):
                continue
            if each.kind == KIND_FOOTER:
                return
            tell(each.end)
            yield each
            del each


def _read_header(
    file: ReadFile, found: Survey, expected: Callable[[], SegmentHeader | None]
) -> None:
    head = file.read_at(0, min(HEADER_BYTES, file.size_bytes))
    try:
        found.header = SegmentHeader.decode(head, found.path)
        found.seed = seed_of(head)
        found.first_lsn = found.header.first_lsn
    except CorruptionError:
        known = expected()
        found.seed = find_seed(file, known)
        found.first_lsn = known.first_lsn if known is not None else 0


def _read_frames(file: ReadFile, found: Survey, tell: Tell) -> None:
    assert found.seed is not None
    found.next_lsn = found.first_lsn
    pending: Gap | None = None
    for each in frames_and_gaps(file, HEADER_BYTES, found.seed, found.first_lsn):
        if isinstance(each, Gap):
            pending = each
            continue
        _fill(found, pending, each)
        pending = None
        tell(each.end)
        if each.kind == KIND_FOOTER:
            _take_footer(found, each, file.size_bytes)
        else:
            _take_frame(found, each)
        if len(found.holes) >= MAX_GAPS:
            found.beyond_limit = True
            return
        del each
    if pending is not None:
        _end_with(found, pending)


def _fill(found: Survey, gap: Gap | None, behind: Frame) -> None:
    """Note what is missing before a frame."""
    if not found.frame_count and found.header is None and not found.first_lsn:
        # Nobody knows where a file with a damaged header began, if not its frames.
        found.first_lsn = found.next_lsn = behind.lsn
    if gap is not None:
        hole = Hole(gap.start, gap.end, gap.reason, found.next_lsn, behind.lsn)
        found.holes.append(hole)
    elif behind.lsn != found.next_lsn and behind.kind != KIND_FOOTER:
        reason = f"LSN {behind.lsn} where {found.next_lsn} must follow"
        at = behind.offset
        found.holes.append(Hole(at, at, reason, found.next_lsn, behind.lsn))
    if found.holes:
        found.synced_lsn = max(found.synced_lsn, behind.synced_lsn)


def _take_frame(found: Survey, frame: Frame) -> None:
    found.frame_count += 1
    found.digest = (found.digest + frame.crc) & _DIGEST_MASK
    found.end, found.next_lsn = frame.end, frame.next_lsn
    found.highest_lsn = max(found.highest_lsn, frame.next_lsn - 1)
    found.footer_offset, found.sealed = None, False


def _take_footer(found: Survey, footer: Frame, size_bytes: int) -> None:
    found.footer_offset, found.sealed = footer.offset, footer.end == size_bytes
    says = _footer_says(footer)
    op_count, last_lsn = footer.lsn - found.first_lsn, footer.lsn - 1
    if not found.holes and says != [op_count, last_lsn, found.digest]:
        found.contradiction = True
    found.end = footer.end
    found.next_lsn = max(found.next_lsn, footer.lsn)
    found.highest_lsn = max(found.highest_lsn, footer.lsn - 1)


def _footer_says(footer: Frame) -> list[int] | None:
    try:
        says = msgpack.unpackb(footer.payload)
    except (msgpack.UnpackException, ValueError):
        return None
    return says if isinstance(says, list) and len(says) == 3 else None


def _end_with(found: Survey, gap: Gap) -> None:
    if gap.zeros:
        found.zeros = True
        return
    found.holes.append(Hole(gap.start, gap.end, gap.reason, found.next_lsn, None))

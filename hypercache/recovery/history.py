"""Survey the segments of a log, and judge what of its history is missing.

What tells a torn tail from damage is `Extent.must_be_whole`, as in the engines; see
docs/wal_format.md, "Torn or corrupt".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

from hypercache.log_reader import Extent
from hypercache.ops import Op
from hypercache.paths import LogPaths
from hypercache.recovery.findings import Finding, Kind, Loss, Need
from hypercache.recovery.guesses import keys_of_frames
from hypercache.recovery.payloads import ops_of
from hypercache.recovery.segments import MAX_GAPS, Hole, Survey, Tell, frames, survey
from hypercache.segment import HEADER_BYTES, SealedFacts, SegmentHeader
from hypercache.storage import Storage

# The shortest op takes so many bytes: of damage at the end of a log nobody can tell
# how many LSNs were given out in it, and none of them may come again.
_LEAST_OP_BYTES = 5


@dataclass
class History:
    """The segments of a log that count, in order, and what is wrong with them.

    `next_lsn` is above every LSN that was, or may have been, given out.
    """

    storage: Storage
    root: str
    extent: Extent
    uuid: bytes | None
    keep_tail: bool = False
    segments: list[Survey] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    next_lsn: int = 1

    def ops(self, tell: Tell, bad: list[Finding]) -> Iterator[tuple[int, Op]]:
        """Yield what can be read above the floor, in the order of LSNs.

        What verifies and holds no ops goes to `bad`.
        """
        floor_lsn = self.extent.floor_lsn
        for each in self.segments:
            if each.next_lsn - 1 <= floor_lsn and each.next_lsn:
                continue
            for found in frames(self.storage, each, tell, each.cut):
                yield from ops_of(found, each, floor_lsn, bad)
                del found


def load(
    storage: Storage,
    paths: LogPaths,
    history: History,
    numbers: list[int],
    tell: Tell,
) -> None:
    """Survey the segments with these numbers and judge them."""
    expected_lsn: int | None = None
    for number in numbers:
        before = history.segments[-1] if history.segments else None
        if before is not None and before.number == number - 1 and not before.holes:
            expected_lsn = before.next_lsn
        expected = _Expected(history, number, before, expected_lsn)
        path = paths.segment(number)
        found = survey(storage, path, number, expected, history.root, tell)
        expected_lsn = None
        if _belongs(history, found):
            history.segments.append(found)
    _judge(history, storage, paths, numbers)


@dataclass(frozen=True, slots=True)
class _Expected:
    history: History
    number: int
    before: Survey | None
    lsn: int | None

    def __call__(self) -> SegmentHeader | None:
        """Return the header that this segment should have."""
        extent, uuid = self.history.extent, self.history.uuid
        lsn = self.lsn
        if lsn is None and self.number == extent.active_segment and not extent.clean:
            lsn = extent.next_lsn
        if uuid is None or lsn is None:
            return None
        facts = self.before.facts if self.before is not None else None
        previous = facts or SealedFacts(0, 0)
        return SegmentHeader(uuid, self.number, lsn, previous)


def _belongs(history: History, found: Survey) -> bool:
    header = found.header
    if header is None:
        return True
    if history.uuid is None:
        history.uuid = header.uuid
    if header.uuid == history.uuid and header.number == found.number:
        return True
    reason = "the segment belongs to another store or place"
    # What of this log should be here is noted as a gap.
    history.findings.append(
        Finding(Kind.FOREIGN_SEGMENT, found.name, reason, 0, found.size_bytes)
    )
    return False


def _judge(
    history: History, storage: Storage, paths: LogPaths, numbers: list[int]
) -> None:
    extent = history.extent
    _note_missing_files(history, paths, numbers)
    # The LSN that must come next; None behind damage of unknown extent.
    expected: int | None = extent.floor_lsn + 1
    open_hole: Finding | None = None
    for index, found in enumerate(history.segments):
        _judge_header(history, found)
        if found.seed is None:
            open_hole, expected = _lost_segment(found), None
            history.findings.append(open_hole)
            continue
        if expected is not None and found.first_lsn > expected:
            _gap(history, found, expected, found.first_lsn)
        elif open_hole is not None:
            _close(history, open_hole, found.first_lsn)
        elif index:
            _judge_link(history, history.segments[index - 1], found)
        open_hole = None
        _judge_frames(history, storage, found)
        expected = found.next_lsn
        last = found.holes[-1] if found.holes else None
        if last is not None and last.next_lsn is None and found.cut is None:
            open_hole, expected = history.findings[-1], None
    _judge_end(history, expected, open_hole)


def _note_missing_files(history: History, paths: LogPaths, numbers: list[int]) -> None:
    extent, present = history.extent, set(numbers)
    span = extent.active_segment - extent.first_segment + 1
    inside = [n for n in present if extent.first_segment <= n <= extent.active_segment]
    if span == len(inside):
        return
    # As a range it may be long, if a damaged metafile says so.
    gone = next(n for n in extent.numbers if n not in present)
    name = paths.segment(gone).removeprefix(f"{history.root}/")
    more = span - len(inside) - 1
    reason = "the segment is missing" + (f", and {more} more" if more else "")
    history.findings.append(Finding(Kind.MISSING_FILE, name, reason))


def _judge_header(history: History, found: Survey) -> None:
    if found.header is not None:
        return
    reason = "the segment header is damaged"
    if found.seed is not None:
        reason += "; its frames are whole"
    length = min(HEADER_BYTES, found.size_bytes)
    history.findings.append(
        Finding(Kind.HEADER, found.name, reason, 0, length, kept=length > 0)
    )


def _lost_segment(found: Survey) -> Finding:
    length = max(0, found.size_bytes - HEADER_BYTES)
    reason = "without its header no frame of this segment can be verified"
    return Finding(
        Kind.FRAME,
        found.name,
        reason,
        HEADER_BYTES,
        length,
        loss=Loss.POSSIBLE if length else Loss.NONE,
        kept=length > 0,
    )


def _gap(history: History, found: Survey, lsn: int, next_lsn: int) -> None:
    reason = f"it begins with LSN {next_lsn}, where {lsn} must follow"
    history.findings.append(
        Finding(
            Kind.GAP,
            found.name,
            reason,
            first_lsn=lsn,
            last_lsn=next_lsn - 1,
            loss=Loss.CERTAIN,
        )
    )


def _judge_link(history: History, before: Survey, found: Survey) -> None:
    if before.number != found.number - 1 or found.header is None:
        return
    if before.facts is not None and found.header.previous == before.facts:
        return
    if before.holes or (history.findings and history.findings[-1].file == before.name):
        return  # then it is that one that is damaged
    reason = "the segment does not continue the one before it"
    history.findings.append(
        Finding(Kind.FOOTER, found.name, reason, loss=Loss.POSSIBLE)
    )


def _judge_frames(history: History, storage: Storage, found: Survey) -> None:
    first = found.holes[0] if found.holes else None
    if found.beyond_limit:
        reason = f"more than {MAX_GAPS} places are damaged; what follows is not read"
        history.findings.append(
            Finding(Kind.FRAME, found.name, reason, loss=Loss.CERTAIN)
        )
    whole = _must_be_whole(history, found, first)
    if first is not None and not whole:
        _note_torn(history, found, first)
        return
    for hole in found.holes:
        history.findings.append(_damage(history, storage, found, hole))
    if found.contradiction:
        reason = "the footer disagrees with the frames before it"
        history.findings.append(
            Finding(
                Kind.FOOTER,
                found.name,
                reason,
                found.footer_offset,
                loss=Loss.POSSIBLE,
            )
        )
    elif whole and first is None and not found.sealed:
        reason = "the segment has no footer"
        history.findings.append(Finding(Kind.FOOTER, found.name, reason, found.end))


def _must_be_whole(history: History, found: Survey, first: Hole | None) -> bool:
    lsn = first.lsn if first is not None else found.next_lsn
    synced_lsn = found.synced_lsn if first is not None else 0
    return history.extent.must_be_whole(found.number, lsn, synced_lsn)


def _note_torn(history: History, found: Survey, hole: Hole) -> None:
    behind = found.next_lsn > hole.lsn
    reason = f"torn tail: {hole.reason}"
    loss = Loss.NONE
    if behind and history.keep_tail:
        reason += "; the frames behind it were kept, as was asked for"
        loss = Loss.POSSIBLE
    elif behind:
        reason += "; there are valid frames behind it, see --keep-tail"
    if not (behind and history.keep_tail):
        found.cut, found.next_lsn = hole.start, hole.lsn
    end = hole.end if behind and history.keep_tail else found.size_bytes
    history.findings.append(
        Finding(
            Kind.TORN_TAIL,
            found.name,
            reason,
            hole.start,
            end - hole.start,
            hole.lsn,
            None,
            loss=loss,
            need=Need.OPEN,
            kept=True,
        )
    )


def _damage(history: History, storage: Storage, found: Survey, hole: Hole) -> Finding:
    finding = Finding(
        Kind.FRAME,
        found.name,
        hole.reason,
        hole.start,
        hole.end - hole.start,
        hole.lsn,
        loss=Loss.POSSIBLE,
        kept=hole.end > hole.start,
    )
    lsns = None
    if hole.next_lsn is not None:
        lsns = range(hole.lsn, hole.next_lsn)
        finding = _limited(finding, hole.lsn, hole.next_lsn, history.extent.floor_lsn)
    if finding.loss is Loss.NONE:
        return finding
    with storage.open_read(found.path) as file:
        keys = keys_of_frames(file, hole.start, hole.end, lsns)
    return dataclasses.replace(finding, keys=keys)


def _close(history: History, hole: Finding, next_lsn: int) -> None:
    """Say of damage at the end of a segment what the next one knows of it."""
    at = history.findings.index(hole)
    lsn = hole.first_lsn
    floor_lsn = history.extent.floor_lsn
    if lsn is None:
        # A whole segment: it began where the one before it ended.
        lsn = max((each.next_lsn for each in _before(history, hole)), default=0)
        lsn = lsn or floor_lsn + 1
    history.findings[at] = _limited(hole, lsn, next_lsn, floor_lsn)


def _before(history: History, hole: Finding) -> Iterator[Survey]:
    for each in history.segments:
        if each.name == hole.file:
            return
        yield each


def _limited(hole: Finding, lsn: int, next_lsn: int, floor_lsn: int) -> Finding:
    """Return damage of which the first and the next LSN are known."""
    if next_lsn == lsn:  # of the footer, then, or of nothing
        return dataclasses.replace(
            hole, kind=Kind.FOOTER, first_lsn=None, keys=(), loss=Loss.NONE
        )
    loss = Loss.CERTAIN if next_lsn - 1 > floor_lsn else Loss.NONE
    if next_lsn < lsn:
        return dataclasses.replace(hole, loss=Loss.POSSIBLE)
    first = max(lsn, floor_lsn + 1) if loss is Loss.CERTAIN else lsn
    keys = () if loss is Loss.NONE else hole.keys
    return dataclasses.replace(
        hole, first_lsn=first, last_lsn=next_lsn - 1, keys=keys, loss=loss
    )


def _judge_end(
    history: History, expected: int | None, open_hole: Finding | None
) -> None:
    extent = history.extent
    # At a clean close the marker knows where the log ends.
    known = extent.next_lsn if extent.clean else None
    least = max(extent.floor_lsn + 1, extent.next_lsn)
    highest = max((each.highest_lsn for each in history.segments), default=0)
    if open_hole is not None and known is not None:
        _close(history, open_hole, known)
        expected = known
    elif open_hole is not None:
        _extend(history, open_hole)
    elif expected is not None and expected < least:
        _end_missing(history, expected, least)
    _judge_active(history, max(expected or 0, least))
    history.next_lsn = max(history.next_lsn, least, highest + 1, expected or 0)


def _judge_active(history: History, lsn: int) -> None:
    """Note an active segment that is not there: nobody knows what was in it."""
    extent = history.extent
    if extent.clean or extent.active_segment < extent.first_segment:
        return
    if any(each.number >= extent.active_segment for each in history.segments):
        return
    reason = "the active segment is missing, and with it whatever was in it"
    history.findings.append(
        Finding(Kind.GAP, "", reason, first_lsn=lsn, loss=Loss.POSSIBLE)
    )


def _extend(history: History, hole: Finding) -> None:
    """Leave room for the LSNs that may have been given out in lost bytes."""
    lsn = hole.first_lsn or history.extent.next_lsn
    history.next_lsn = lsn + hole.length_bytes // _LEAST_OP_BYTES


def _end_missing(history: History, lsn: int, next_lsn: int) -> None:
    extent = history.extent
    last = history.segments[-1] if history.segments else None
    name = last.name if last is not None else ""
    certain = next_lsn - 1 > extent.floor_lsn and lsn < next_lsn
    lsn = max(lsn, extent.floor_lsn + 1)
    history.findings.append(
        Finding(
            Kind.GAP,
            name,
            f"the log ends before LSN {lsn}, and had reached {next_lsn - 1}",
            first_lsn=lsn if certain else None,
            last_lsn=next_lsn - 1 if certain and extent.clean else None,
            loss=Loss.CERTAIN if certain else Loss.NONE,
        )
    )

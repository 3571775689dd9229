"""Replay the segments of a log in order, and tell a torn tail from corruption.

The argument for the verdict is in docs/wal_format.md, "Torn or corrupt".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

from hypercache import ops
from hypercache.errors import CorruptionError, StorageError
from hypercache.frame import Run
from hypercache.ops import Op, Unpacked
from hypercache.paths import LogPaths
from hypercache.read_file import ReadFile
from hypercache.segment import NO_SEGMENT, SealedFacts, SegmentReader, is_only_begun
from hypercache.storage import Storage


@dataclass(frozen=True, slots=True)
class Extent:
    """Which segments of a log must exist, and from which op on they count.

    Attributes:
        floor_lsn: ops up to this one are kept elsewhere and not replayed.
        first_segment: the lowest segment that must exist.
        active_segment: the highest; `first_segment - 1` when there is none.
        next_lsn: the LSN at which the active segment began, or with `clean` the LSN
            of the next op.
        clean: the log ended with a clean close, so all of it must be sealed.
    """

    floor_lsn: int = 0
    first_segment: int = 1
    active_segment: int = 0
    next_lsn: int = 1
    clean: bool = False

    @property
    def numbers(self) -> range:
        """Return the numbers of the segments."""
        return range(self.first_segment, self.active_segment + 1)

    def must_be_whole(self, number: int, lsn: int, synced_lsn: int) -> bool:
        """Tell whether a segment that stops before `lsn`, unsealed, is corrupt.

        `synced_lsn` is the highest watermark in valid frames behind the stop, else 0.
        """
        return (
            number != self.active_segment
            or self.clean
            or lsn <= self.floor_lsn
            or synced_lsn >= lsn
        )


@dataclass(frozen=True, slots=True)
class TornTail:
    """The incomplete end of the last segment, as a crash leaves it."""

    path: str
    offset: int
    lsn: int
    reason: str


class SegmentEnd(NamedTuple):
    """The last LSN of a segment, and its length."""

    last_lsn: int
    length_bytes: int


class Progress(NamedTuple):
    """How far a log was read: the first segments of its extent, all sealed."""

    next_lsn: int
    facts: SealedFacts
    ends: dict[int, SegmentEnd]


class Packed(NamedTuple):
    """The payloads of frames that follow each other, as one."""

    path: str
    lsn: int
    op_count: int
    payload: bytes

    def unpack(self, floor_lsn: int) -> tuple[int, Unpacked] | None:
        """Return the ops above the floor with the LSN of the first, None without any.

        Raises:
            ValueError: the payloads are no ops.
        """
        found = ops.unpack(self.payload, self.op_count)
        below = max(0, floor_lsn + 1 - self.lsn)
        if below >= self.op_count:
            return None
        return self.lsn + below, ops.without_first(found, below)


class LogReader:
    """Read the log that an extent describes, changing nothing.

    After `replay` is exhausted, `next_lsn`, `torn_tail` and `last` (the reader of the
    last segment, None when there is no segment) describe its end. Beside a writer,
    `active_bytes` is how much of the active segment it had written; where that is not
    known, the segments are `held` open. `read_bytes` is how much was read so far.
    """

    def __init__(
        self,
        storage: Storage,
        paths: LogPaths,
        uuid: bytes,
        extent: Extent,
        active_bytes: int | None = None,
        held: HeldLog | None = None,
    ) -> None:
        self._active_bytes, self._held = active_bytes, held
        self._synced_behind = 0
        self._storage, self._paths = storage, paths
        self._uuid, self._extent = uuid, extent
        self.next_lsn, self._previous = extent.next_lsn, NO_SEGMENT
        self.ends: dict[int, SegmentEnd] = {}  # by the number of the segment
        self._early: tuple[SegmentReader, list[Run]] | None = None
        self.read_bytes = 0
        self.torn_tail: TornTail | None = None
        self.last: SegmentReader | None = None

    def replay(self) -> Iterator[tuple[int, Op]]:
        """Yield every op above the floor with its LSN, in order.

        Raises:
            CorruptionError: a segment is missing, foreign, or damaged where a crash
                cannot explain it.
        """
        for lsn, found in self.runs():
            yield from enumerate(found, start=lsn)

    def runs(self) -> Iterator[tuple[int, Sequence[Op]]]:
        """Yield the ops above the floor, many at once, with the LSN of the first."""
        for lsn, unpacked in self.unpacked():
            yield lsn, ops.as_ops(unpacked)

    def unpacked(self) -> Iterator[tuple[int, Unpacked]]:
        """Yield the same as `ops.unpack` has it, which takes half of the time."""
        for packed in self.packed():
            try:
                found = packed.unpack(self._extent.floor_lsn)
            except ValueError as error:
                # Somebody has written frames that verify and hold no ops.
                reason = f"bad payload: {error}"
                raise CorruptionError(packed.path, reason, lsn=packed.lsn) from error
            if found is not None:
                yield found

    def packed(self) -> Iterator[Packed]:
        """Yield the payloads of all frames, many at once; what is in them is not read.

        Afterwards all frames are verified, and what the segments say of each other.
        """
        for number in self._extent.numbers[len(self.ends) :]:
            with self._open(number) as file:
                reader, runs = self._begin(number, file)
                before_bytes = self.read_bytes
                for run in runs:
                    self.read_bytes = before_bytes + reader.end
                    payload = b"".join(run.payloads)
                    yield Packed(reader.path, run.lsn, run.op_count, payload)
                self._judge_end(reader)
            self.last, self.next_lsn = reader, reader.next_lsn
            self._previous = reader.facts
            self.ends[number] = SegmentEnd(reader.next_lsn - 1, reader.end)
        if self.next_lsn <= self._extent.floor_lsn:
            raise CorruptionError(
                self._paths.directory, "the log is too short", lsn=self.next_lsn
            )

    @property
    def progress(self) -> Progress:
        """Return what must be known of the segments read to go on behind them."""
        return Progress(self.next_lsn, self._previous, dict(self.ends))

    def go_on_behind(self, progress: Progress) -> None:
        """Leave out the segments that another reader has read."""
        self.next_lsn, self._previous, ends = progress
        self.ends = dict(ends)

    def read_last_early(self, most_bytes: int) -> None:
        """Read the last segment into memory before its turn, unless it is longer.

        What is wrong with it is found at its turn, when it is read again.
        """
        try:
            with self._open(self._extent.active_segment) as file:
                reader = SegmentReader(file, file.path)
                if reader.length > most_bytes:
                    return
                runs = [_joined(run) for run in reader.runs()]
        except (CorruptionError, StorageError):
            return
        if reader.hole is None:
            self._early = reader, runs

    def refuse_unknown_segments(self) -> None:
        """Make sure that the extent knows every segment that holds something.

        One more is left by a roll that a crash cut short; the next roll replaces it.

        Raises:
            CorruptionError: there are segments that the extent should know.
        """
        active = self._extent.active_segment
        present = segment_numbers(self._storage, self._paths)
        beyond = [number for number in present if number > active]
        if not beyond:
            return
        path = self._paths.segment(beyond[0])
        with self._storage.open_read(path) as file:
            begun = is_only_begun(file)
        if beyond != [active + 1] or not begun:
            reason = "the segment is newer than what names the segments knows"
            raise CorruptionError(path, reason)

    def _runs(self, reader: SegmentReader, file: ReadFile) -> Iterator[Run]:
        yield from reader.runs()
        while self._held is not None and reader.hole is not None:
            # The writer may have been in the middle of that frame. Those behind it
            # come first, or the frames written meanwhile would look like a proof.
            self._synced_behind = reader.synced_lsn_behind_hole()
            end = reader.end
            reader.look_again(file)
            yield from reader.runs()
            if reader.end == end:
                return

    def _open(self, number: int) -> AbstractContextManager[ReadFile]:
        if self._held is not None:
            return nullcontext(self._held.files[number])
        path = self._paths.segment(number)
        if self._storage.info(path) is None:
            raise CorruptionError(path, "the segment is missing")
        return self._storage.open_read(path)

    def _begin(
        self, number: int, file: ReadFile
    ) -> tuple[SegmentReader, Iterable[Run]]:
        active = number == self._extent.active_segment
        if active and self._early is not None:
            (reader, runs), self._early = self._early, None
            self._check_place(number, reader)
            return reader, runs
        limit = self._active_bytes if active else None
        reader = SegmentReader(file, file.path, limit)
        self._check_place(number, reader)
        return reader, self._runs(reader, file)

    def _check_place(self, number: int, reader: SegmentReader) -> None:
        path = reader.path
        header = reader.header
        if header.uuid != self._uuid or header.number != number:
            raise CorruptionError(path, "the segment belongs to another store or place")
        if not self.ends:
            fits = header.first_lsn <= self._extent.floor_lsn + 1
        else:
            fits = header.first_lsn == self.next_lsn
            fits = fits and header.previous == self._previous
        if not fits:
            reason = "the segment does not continue the one before it"
            raise CorruptionError(path, reason, lsn=header.first_lsn)

    def _judge_end(self, reader: SegmentReader) -> None:
        if reader.sealed:
            return
        hole, lsn = reader.hole, reader.next_lsn
        reason = hole.reason if hole else "the segment has no footer"
        extent = self._extent
        number = reader.header.number
        synced_lsn = self._synced_lsn_behind(reader) if hole is not None else 0
        if extent.must_be_whole(number, lsn, synced_lsn):
            raise CorruptionError(reader.path, reason, offset=reader.end, lsn=lsn)
        if hole is not None:
            self.torn_tail = TornTail(reader.path, hole.offset, lsn, hole.reason)

    def _synced_lsn_behind(self, reader: SegmentReader) -> int:
        if self._held is not None:
            return self._synced_behind
        return reader.synced_lsn_behind_hole()


@dataclass(frozen=True, slots=True)
class HeldLog:
    """Files of a log, by number, that stay readable when a writer removes them."""

    files: dict[int, ReadFile]

    def close(self) -> None:
        """Let go of the files."""
        for file in self.files.values():
            file.close()

    def __enter__(self) -> HeldLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def hold(storage: Storage, paths: LogPaths, extent: Extent) -> HeldLog | None:
    """Open all segments of an extent; None when one is not there (any more)."""
    held = HeldLog({})
    try:
        for number in extent.numbers:
            path = paths.segment(number)
            if storage.info(path) is None:
                held.close()
                return None
            held.files[number] = storage.open_read(path)
    except StorageError as error:
        held.close()
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    return held


def refuse_unknown(reader: LogReader, is_last_named: Callable[[], bool]) -> None:
    """Refuse segments that the extent should know, beside a writer.

    What it has begun meanwhile is none of these: then `is_last_named`, whether the
    segment that was the last one named still is, says no.

    Raises:
        CorruptionError: there is one.
    """
    try:
        reader.refuse_unknown_segments()
    except (CorruptionError, StorageError):
        if is_last_named():
            raise


def _joined(run: Run) -> Run:
    return run._replace(payloads=[b"".join(run.payloads)])


def facts_of_last(reader: SegmentReader | None) -> SealedFacts:
    """Return what the next segment must say about the last sealed one."""
    return reader.facts if reader is not None else NO_SEGMENT


def segment_numbers(storage: Storage, paths: LogPaths) -> list[int]:
    """Return the numbers of the segments on disk, in order."""
    if not storage.is_directory(paths.directory):
        reason = "the directory of segments is missing"
        raise CorruptionError(paths.directory, reason)
    numbers = map(paths.maybe_number, storage.list(paths.directory))
    return sorted(number for number in numbers if number is not None)


def prune(storage: Storage, paths: LogPaths, first_segment: int) -> int:
    """Remove the segments below `first_segment`; return how many there were.

    What names the segments must be on the medium already: only then does nothing
    refer to them.
    """
    below = [n for n in segment_numbers(storage, paths) if n < first_segment]
    for number in below:
        storage.unlink(paths.segment(number))
    if below:
        storage.sync_directory(paths.directory)
    return len(below)

"""Walk the frames of a whole log, over damage and out at its other side.

`LogWalk` goes through the files in order and holds each against the one before it;
`FileWalk` goes through one file. What is wrong is yielded where it stands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hypercache.errors import CorruptionError, StorageError, UnsupportedFormatError
from hypercache.frame import KIND_FOOTER, Frame, FrameScanner, Hole
from hypercache.inspection.layout import (
    LEFTOVER,
    Layout,
    LogFile,
    Problem,
    Role,
    changed,
)
from hypercache.log_reader import Extent, TornTail
from hypercache.read_file import ReadFile
from hypercache.segment import HEADER_BYTES, SealedFacts, SegmentReader, is_only_begun
from hypercache.storage import Storage


@dataclass
class FileWalk:
    """Iterate the frames and the damage of one file; afterwards know how it ends.

    Attributes:
        end: the offset behind the last frame that was read.
        sealed: a footer ends the file.
        unused_bytes: preallocated zeros behind the last frame.
        torn: the torn tail, or None; it takes the last `torn_bytes` of the file.
    """

    file: LogFile
    open_file: ReadFile
    extent: Extent
    storage: Storage
    reader: SegmentReader
    limit: int | None = None
    first_lsn: int | None = None
    next_lsn: int = 0
    frame_count: int = 0
    end: int = HEADER_BYTES
    sealed: bool = False
    unused_bytes: int = 0
    torn: TornTail | None = None
    torn_bytes: int = 0
    problems: list[Problem] = field(default_factory=list)

    def __iter__(self) -> Iterator[Frame | Problem]:
        with contextlib.ExitStack() as files:
            try:
                yield from self._whole_part(files)
            except CorruptionError as error:
                lost = self.length_bytes - (error.offset or 0)
                yield self._problem(error.reason, error.offset, error.lsn, lost)
                self._ended(self.reader.end, self.reader.next_lsn)
                return
            self._ended(self.reader.end, self.reader.next_lsn)
            self.sealed = self.reader.sealed
            if not self.sealed:
                yield from self._judged()

    @property
    def length_bytes(self) -> int:
        """Return the length of the file as far as it was read."""
        return self.reader.length

    @property
    def facts(self) -> SealedFacts | None:
        """Return what the next file must say about this one, None if not known."""
        return self.reader.facts if self.sealed and not self.problems else None

    def _whole_part(self, files: contextlib.ExitStack) -> Iterator[Frame]:
        tried = -1
        while True:
            for found in self.reader:
                self._count(found)
                yield found
                del found
            if self.reader.hole is None or self.reader.end == tried:
                return
            # A writer may have been in the middle of this frame: look once more.
            tried = self.reader.end
            try:
                again = self.storage.open_read(self.file.path)
            except StorageError:
                return
            self.open_file = files.enter_context(again)
            self.reader.look_again(again)

    def _judged(self) -> Iterator[Frame | Problem]:
        hole, lsn = self.reader.hole, self.next_lsn
        synced_lsn = self.reader.synced_lsn_behind_hole() if hole else 0
        number = self.file.number
        base = self.file.path.endswith(".base")
        if base or self.extent.must_be_whole(number, lsn, synced_lsn):
            if hole is not None:
                yield from self._damaged_part(hole)
            else:
                self.unused_bytes = self.length_bytes - self.end
                yield self._problem("the segment has no footer", self.end, lsn, 0)
        elif hole is not None:
            self.torn = TornTail(self.file.path, hole.offset, lsn, hole.reason)
            self.torn_bytes = self.length_bytes - hole.offset
        else:
            self.unused_bytes = self.length_bytes - self.end

    def _damaged_part(self, hole: Hole) -> Iterator[Frame | Problem]:
        lsn = self.next_lsn
        while True:
            # From the hole itself on: a frame in a wrong place of the order is whole.
            found = next(self._scan(hole.offset - 1, 0).frames_behind_hole(), None)
            stop = found.offset if found is not None else self.length_bytes
            yield self._problem(hole.reason, hole.offset, lsn, stop - hole.offset)
            if found is None:
                return
            scan = self._scan(found.offset, found.lsn)
            del found
            for frame in scan:
                if frame.kind == KIND_FOOTER:
                    self._ended(frame.end, frame.lsn)
                    self.sealed = frame.end == self.length_bytes
                    return
                self._count(frame)
                yield frame
            self._ended(scan.offset, scan.next_lsn)
            if scan.hole is None:
                self.unused_bytes = self.length_bytes - self.end
                return
            hole, lsn = scan.hole, scan.next_lsn

    def _scan(self, offset: int, lsn: int) -> FrameScanner:
        return FrameScanner(self.open_file, offset, self.reader.seed, lsn, self.limit)

    def _count(self, frame: Frame) -> None:
        self.frame_count += 1
        if self.first_lsn is None:
            self.first_lsn = frame.lsn

    def _ended(self, end: int, next_lsn: int) -> None:
        self.end, self.next_lsn = end, next_lsn

    def _problem(
        self, reason: str, offset: int | None, lsn: int | None, length_bytes: int
    ) -> Problem:
        problem = Problem(self.file.path, reason, offset, lsn, length_bytes)
        self.problems.append(problem)
        return problem


_REMOVED = "was removed while the log was being read"
_NO_LONGER = "it is no longer part of the log"
_CUT_SHORT = "is of a compaction that was cut short"


class LogWalk:
    """Go through the files of a layout; afterwards know what is wrong with the log.

    `limits` are the lengths to which the files are read, by path: a second walk reads
    no more than the first has.
    """

    def __init__(
        self,
        storage: Storage,
        layout: Layout,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self._storage, self._layout = storage, layout
        self._limits = limits
        self._uuid = layout.uuid
        self._extent = layout.judged_by
        self.problems: list[Problem] = list(layout.problems)
        self.notes: list[str] = list(layout.notes)
        self.moved = False  # a writer was ahead of the layout
        self.torn: TornTail | None = None
        self.last: FileWalk | None = None  # of the segments that count

    def walks(self, *, leftovers: bool = True) -> Iterator[FileWalk]:
        """Yield the walk of each file that can be read; iterate it before the next."""
        for path in self._layout.missing:
            self._note_missing(path)
        for file in self._layout.files:
            if file.role not in LEFTOVER or leftovers:
                yield from self._walk(file)
        extent = self._extent
        if self.last is not None:
            self._judge_length(self.last.next_lsn)
        elif not extent.numbers:
            self._judge_length(extent.next_lsn)

    def _judge_length(self, next_lsn: int) -> None:
        if next_lsn <= self._extent.floor_lsn:
            path, reason = self._layout.directory, "the log is too short"
            self.problems.append(Problem(path, reason, lsn=next_lsn))

    def _walk(self, file: LogFile) -> Iterator[FileWalk]:
        if self._limits is not None and file.path not in self._limits:
            return
        try:
            open_file = self._storage.open_read(file.path)
        except StorageError as error:
            self._note_unreadable(file, error)
            return
        with open_file:
            walk = self._begin(file, open_file)
            if walk is None:
                return
            yield walk
            self._judge(walk)

    def _note_unreadable(self, file: LogFile, error: StorageError) -> None:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise error
        if file.role in LEFTOVER:
            self.notes.append(f"{file.path} {_REMOVED}")
        else:
            self._note_missing(file.path)

    def _note_missing(self, path: str) -> None:
        problem = Problem(path, "the segment is missing")
        self._add_unless_moved(problem, f"{path} {_REMOVED}")

    def _add_unless_moved(self, problem: Problem, note: str) -> None:
        """Take what a writer at work explains for that, anything else as damage."""
        if changed(self._storage, self._layout):
            self.moved = True
            self.notes.append(note)
        else:
            self.problems.append(problem)

    def _begin(self, file: LogFile, open_file: ReadFile) -> FileWalk | None:
        limit = self._limits[file.path] if self._limits is not None else None
        try:
            reader = SegmentReader(open_file, file.path, limit)
        except (CorruptionError, UnsupportedFormatError) as error:
            self._note_header(file, open_file, error)
            return None
        header = reader.header
        if self._uuid is None:
            self._uuid = header.uuid
        if header.uuid != self._uuid or header.number != file.number:
            reason = "the segment belongs to another store or place"
            self._skip(file, reason)
            return None
        extent = self._extent
        if file.role in LEFTOVER:
            extent = Extent()  # it was sealed when it was part of the log
        elif file.role is Role.UNNAMED:
            extent = Extent(active_segment=file.number)
        return FileWalk(file, open_file, extent, self._storage, reader, limit)

    def _note_header(
        self,
        file: LogFile,
        open_file: ReadFile,
        error: CorruptionError | UnsupportedFormatError,
    ) -> None:
        unnamed = file.role is Role.UNNAMED and isinstance(error, CorruptionError)
        if unnamed and self._may_be_begun(file, open_file):
            # Its creation did not reach the medium, so nothing was in it.
            self.notes.append(f"{file.path} was begun and holds nothing")
            return
        reason = error.reason if isinstance(error, CorruptionError) else str(error)
        self._skip(file, reason)

    def _may_be_begun(self, file: LogFile, open_file: ReadFile) -> bool:
        """Tell whether a crash can leave this file that nothing names."""
        is_next = file.number == self._extent.active_segment + 1
        return file.path.endswith(".base") or (is_next and is_only_begun(open_file))

    def _skip(self, file: LogFile, reason: str) -> None:
        problem = Problem(file.path, reason, 0, length_bytes=file.size_bytes)
        # No open reads these, it removes them.
        if file.role in LEFTOVER:
            self.notes.append(f"{_where(problem)}; {_NO_LONGER}")
        elif file.role is Role.UNNAMED and file.path.endswith(".base"):
            self.notes.append(f"{file.path} {_CUT_SHORT}")
        else:
            self.problems.append(problem)

    def _judge(self, walk: FileWalk) -> None:
        file = walk.file
        if file.role in LEFTOVER:
            self.notes += [f"{_where(each)}; {_NO_LONGER}" for each in walk.problems]
        elif file.role is Role.UNNAMED:
            self._judge_unnamed(walk)
        else:
            self.problems += walk.problems
            if file.role is Role.BASE:
                self._judge_base(walk)
            else:
                self._judge_order(walk)
                self.torn, self.last = walk.torn, walk

    def _judge_base(self, walk: FileWalk) -> None:
        named, facts = self._layout.base, walk.facts
        if named is None or facts is None:
            return
        header = walk.reader.header
        found = (facts.length, facts.digest, header.first_lsn - 1)
        if found != (named.length_bytes, named.digest, named.lsn):
            reason = "the base is not the one that the manifest names"
            self.problems.append(Problem(walk.file.path, reason))

    def _judge_unnamed(self, walk: FileWalk) -> None:
        path, number = walk.file.path, walk.file.number
        holds = walk.frame_count or walk.sealed or walk.torn is not None
        if not path.endswith(".base"):
            self.problems += walk.problems
        if path.endswith(".base"):
            self.notes.append(f"{path} {_CUT_SHORT}")
        elif number != self._extent.active_segment + 1 or holds:
            reason = "the segment is newer than what names the segments knows"
            note = f"{path} was begun while the log was being read"
            self._add_unless_moved(Problem(path, reason), note)
        else:
            self.notes.append(f"{path} was begun and holds nothing")

    def _judge_order(self, walk: FileWalk) -> None:
        header, before = walk.reader.header, self.last
        fits = True
        if before is None and self._layout.extent is not None:
            fits = header.first_lsn <= self._extent.floor_lsn + 1
        elif before is not None and before.file.number == walk.file.number - 1:
            known = before.facts
            fits = header.first_lsn == before.next_lsn
            fits = fits and (known is None or header.previous == known)
        if not fits and not self._problem_before(walk):
            reason = "the segment does not continue the one before it"
            path, lsn = walk.file.path, header.first_lsn
            self.problems.append(Problem(path, reason, 0, lsn))

    def _problem_before(self, walk: FileWalk) -> bool:
        # Then it is that one that is damaged, and this one may well be right.
        before = self.last
        return before is not None and before is not walk and bool(before.problems)


def _where(problem: Problem) -> str:
    place = f" at offset {problem.offset}" if problem.offset is not None else ""
    return f"{problem.path}{place}: {problem.reason}"

"""Sum a log up, in one pass or, with very many keys, in a few."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from hypercache.frame import KIND_BLOCK, Frame
from hypercache.inspection import layout as layouts
from hypercache.inspection.contents import ENTRY, NAMES, lsns_of, ops_of
from hypercache.inspection.layout import LEFTOVER, Kind, Layout, LogFile, Problem, Role
from hypercache.inspection.live import (
    BUCKET_COUNT,
    RECORD_COUNT,
    BiggestKeys,
    LiveBytes,
)
from hypercache.inspection.report import (
    Bytes,
    FileReport,
    Range,
    Report,
    state_of,
    verdict_of,
)
from hypercache.inspection.walk import FileWalk, LogWalk
from hypercache.paths import StorePaths
from hypercache.storage import Storage

_ATTEMPTS = 5  # at a log whose writer takes files away meanwhile
_LARGE_ROOM = 100_000


def inspect(
    storage: Storage,
    paths: StorePaths,
    kind: Kind,
    now_ms: int,
    record_count: int = RECORD_COUNT,
) -> Report:
    """Read the whole log and report on it; changes nothing.

    `record_count` bounds the keys held in memory at a time: fewer mean more passes.

    Raises:
        StorageError: something cannot be read.
    """
    for _ in range(_ATTEMPTS):
        layout = layouts.load(storage, paths, kind)
        summary = _Summary(storage, layout, now_ms, record_count)
        report = summary.report()
        if not summary.log.moved:
            break
    return report


@dataclass
class _Totals:
    frame_count: int = 0
    entry_count: int = 0
    op_bytes: int = 0
    counts: dict[type, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    first_lsn: int | None = None
    last_lsn: int | None = None
    first_expiry: int | None = None
    last_expiry: int | None = None

    def expires(self, expires_at_ms: int) -> None:
        first, last = self.first_expiry, self.last_expiry
        self.first_expiry = min(
            expires_at_ms, expires_at_ms if first is None else first
        )
        self.last_expiry = max(expires_at_ms, expires_at_ms if last is None else last)


class _Summary:
    def __init__(
        self, storage: Storage, layout: Layout, now_ms: int, record_count: int
    ) -> None:
        self._storage, self._layout, self._now_ms = storage, layout, now_ms
        self._record_count = record_count
        self.log = LogWalk(storage, layout)
        self._totals = _Totals()
        self._walks: dict[str, FileWalk] = {}
        self._ends: dict[str, int] = {}  # of the files that count
        self._big = BiggestKeys(now_ms)

    def report(self) -> Report:
        live = LiveBytes(self._now_ms, record_count=self._record_count)
        for walk in self.log.walks():
            counted = _counts(walk.file)
            for found in walk:
                if isinstance(found, Frame) and counted:
                    self._add(found, walk, live)
                del found
            self._walks[walk.file.path] = walk
            if counted:
                self._ends[walk.file.path] = walk.end
        self._check_entry_count()
        live_bytes = self._further_passes(live)
        return self._result(live_bytes)

    def _add(self, frame: Frame, walk: FileWalk, live: LiveBytes) -> None:
        totals = self._totals
        totals.frame_count += 1
        try:
            sized = ops_of(frame)
        except ValueError as error:
            self._bad_payload(frame, walk, error)
            return
        if frame.kind == KIND_BLOCK:
            totals.entry_count += len(sized)
        else:
            if totals.first_lsn is None:
                totals.first_lsn = frame.lsn
            totals.last_lsn = frame.next_lsn - 1
        counts, add_live, add_big = totals.counts, live.add, self._big.add
        for (op, stored_bytes), lsn in zip(
            sized, lsns_of(frame, len(sized)), strict=False
        ):
            counts[type(op)] += 1
            totals.op_bytes += stored_bytes
            add_live(op, stored_bytes)
            add_big(op, lsn)
            if len(op) > 1 and (expires_at_ms := op[-1]) and type(expires_at_ms) is int:
                totals.expires(expires_at_ms)

    def _bad_payload(self, frame: Frame, walk: FileWalk, error: ValueError) -> None:
        problem = Problem(
            walk.file.path,
            f"bad payload: {error}",
            frame.offset,
            frame.lsn,
            len(frame.payload),
        )
        walk.problems.append(problem)

    def _check_entry_count(self) -> None:
        base, found = self._layout.base, self._totals.entry_count
        if base is not None and not self.log.problems and found != base.entry_count:
            reason = f"{found} entries where {base.entry_count} belong"
            path = self._layout.directory
            self.log.problems.append(Problem(path, reason))

    def _further_passes(self, live: LiveBytes) -> int | None:
        """Add up what the first pass had no room for; None where files are gone."""
        total = live.total()
        retries_big = not self._big.complete
        while live.stop < BUCKET_COUNT or retries_big:
            if retries_big:
                self._big = BiggestKeys(self._now_ms, room=_LARGE_ROOM)
            big = self._big if retries_big else None
            retries_big = False
            live = LiveBytes(self._now_ms, live.stop, self._record_count)
            if not self._pass(live, big):
                self.log.notes.append(
                    "a file was removed while the log was being read: what is live "
                    "cannot be told"
                )
                return None
            total += live.total()
        if not self._big.complete:
            self.log.notes.append("there may be larger keys than the ones named")
        return total

    def _pass(self, live: LiveBytes, big: BiggestKeys | None) -> bool:
        seen = 0
        again = LogWalk(self._storage, self._layout, self._ends)
        for walk in again.walks(leftovers=False):
            seen += 1
            for frame in walk:
                if not isinstance(frame, Frame):
                    continue
                with contextlib.suppress(ValueError):  # noted by the first pass
                    sized = ops_of(frame)
                    for op, stored_bytes in sized:
                        live.add(op, stored_bytes)
                    if big is not None:
                        for (op, _), lsn in zip(
                            sized, lsns_of(frame, len(sized)), strict=True
                        ):
                            big.add(op, lsn)
        return seen == len(self._ends)

    def _result(self, live_bytes: int | None) -> Report:
        totals, log, layout = self._totals, self.log, self._layout
        times = [file.mtime_ns // 1_000_000 for file in layout.files]
        counts = {NAMES[kind]: count for kind, count in totals.counts.items()}
        counts["put"] -= totals.entry_count
        if layout.kind is Kind.AOF:
            counts = {ENTRY: totals.entry_count, **counts}
        extent = layout.extent
        return Report(
            kind=layout.kind,
            directory=layout.directory,
            state=state_of(log),
            verdict=verdict_of(log),
            files=tuple(map(self._file, layout.files)),
            frame_count=totals.frame_count,
            op_counts=counts,
            bytes=self._bytes(live_bytes),
            floor_lsn=extent.floor_lsn if extent is not None else None,
            lsns=Range(totals.first_lsn, totals.last_lsn),
            written_ms=Range(min(times, default=None), max(times, default=None)),
            expires_ms=Range(totals.first_expiry, totals.last_expiry),
            biggest_keys=tuple(self._big.largest()),
            problems=tuple(log.problems),
            notes=tuple(log.notes),
        )

    def _bytes(self, live: int | None) -> Bytes:
        layout, walks = self._layout, self._walks
        counted = [walk for walk in walks.values() if walk.file.path in self._ends]
        leftover = sum(
            walk.length_bytes for path, walk in walks.items() if path not in self._ends
        )
        unread_files = [file for file in layout.files if file.path not in walks]
        skipped = sum(each.size_bytes for each in unread_files if _counts(each))
        leftover += sum(each.size_bytes for each in unread_files if not _counts(each))
        unused = sum(walk.unused_bytes for walk in counted)
        torn = sum(walk.torn_bytes for walk in counted)
        unread = sum(each.length_bytes for walk in counted for each in walk.problems)
        total = leftover + skipped + sum(walk.length_bytes for walk in counted)
        ops = self._totals.op_bytes
        parts = ops + unused + torn + unread + skipped + leftover
        dead = ops - live if live is not None else None
        return Bytes(
            total=total,
            live=live,
            dead=dead,
            overhead=total - parts,
            unused=unused,
            torn=torn,
            damaged=unread + skipped,
            leftover=leftover,
        )

    def _file(self, file: LogFile) -> FileReport:
        walk = self._walks.get(file.path)
        mtime_ms = file.mtime_ns // 1_000_000
        if walk is None:
            return FileReport(file.name, file.role, file.size_bytes, mtime_ms)
        return FileReport(
            name=file.name,
            role=file.role,
            size_bytes=walk.length_bytes,
            mtime_ms=mtime_ms,
            is_read=True,
            is_sealed=walk.sealed,
            frame_count=walk.frame_count,
            first_lsn=walk.first_lsn,
            last_lsn=walk.next_lsn - 1 if walk.frame_count else None,
        )


def _counts(file: LogFile) -> bool:
    return file.role not in LEFTOVER and file.role is not Role.UNNAMED

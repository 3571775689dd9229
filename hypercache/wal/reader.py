"""Replay segments in order, and tell a torn tail from corruption.

The argument for the verdict is in docs/wal_format.md, "Torn or corrupt".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hypercache import ops
from hypercache.errors import CorruptionError
from hypercache.frame import Frame
from hypercache.ops import Op
from hypercache.paths import StorePaths
from hypercache.segment import NO_SEGMENT, SealedFacts, SegmentReader
from hypercache.storage import Storage
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker


@dataclass(frozen=True, slots=True)
class TornTail:
    """The incomplete end of the last segment, as a crash leaves it."""

    path: str
    offset: int
    lsn: int
    reason: str


class WalReader:
    """Read the log that a marker describes, changing nothing.

    After `replay` is exhausted, `next_lsn`, `torn_tail` and `last` (the reader of the
    last segment, None when there is no segment) describe its end. Beside a writer,
    `active_bytes` is how much of the active segment it had written.
    """

    def __init__(
        self,
        storage: Storage,
        paths: StorePaths,
        uuid: bytes,
        marker: Marker,
        active_bytes: int | None = None,
    ) -> None:
        self._active_bytes = active_bytes
        self._storage, self._paths = storage, paths
        self._uuid, self._marker = uuid, marker
        self.next_lsn = marker.next_lsn
        self.total_bytes = 0
        self.torn_tail: TornTail | None = None
        self.last: SegmentReader | None = None

    def replay(self) -> Iterator[tuple[int, Op]]:
        """Yield every op above the marker's checkpoint with its LSN, in order.

        Raises:
            CorruptionError: a segment is missing, foreign, or damaged where a crash
                cannot explain it.
        """
        marker = self._marker
        for number in range(marker.first_segment, marker.active_segment + 1):
            reader = self._open(number)
            for found in reader:
                lsn = found.lsn
                for op in self._ops(reader, found):
                    if lsn > marker.checkpoint_lsn:
                        yield lsn, op
                    lsn += 1
            self._judge_end(reader)
            self.last, self.next_lsn = reader, reader.next_lsn
            self.total_bytes += reader.end
        if self.next_lsn <= self._marker.checkpoint_lsn:
            raise CorruptionError(
                self._paths.wal, "the log is too short", lsn=self.next_lsn
            )

    def refuse_unknown_segments(self) -> None:
        """Make sure that the marker knows every segment that holds something.

        One more is left by a roll that a crash cut short; the next roll replaces it.

        Raises:
            CorruptionError: there are segments that the marker should know.
        """
        active = self._marker.active_segment
        present = checkpoint.segment_numbers(self._storage, self._paths)
        beyond = [number for number in present if number > active]
        if not beyond:
            return
        path = self._paths.segment(beyond[0])
        if beyond != [active + 1] or self._holds_frames(path):
            reason = "the segment is newer than the checkpoint marker knows"
            raise CorruptionError(path, reason)

    def _holds_frames(self, path: str) -> bool:
        try:
            reader = SegmentReader(self._storage.read(path), path)
        except CorruptionError:
            return False  # its creation did not reach the medium: nothing was in it
        return any(True for _ in reader) or reader.sealed

    def _open(self, number: int) -> SegmentReader:
        path = self._paths.segment(number)
        if self._storage.info(path) is None:
            raise CorruptionError(path, "the segment is missing")
        data = self._storage.read(path)
        if number == self._marker.active_segment:
            data = data[: self._active_bytes]
        reader = SegmentReader(data, path)
        header = reader.header
        if header.uuid != self._uuid or header.number != number:
            raise CorruptionError(path, "the segment belongs to another store or place")
        if self.last is None:
            fits = header.first_lsn <= self._marker.checkpoint_lsn + 1
        else:
            fits = header.first_lsn == self.next_lsn
            fits = fits and header.previous == self.last.facts
        if not fits:
            reason = "the segment does not continue the one before it"
            raise CorruptionError(path, reason, lsn=header.first_lsn)
        return reader

    def _ops(self, reader: SegmentReader, found: Frame) -> Sequence[Op]:
        try:
            return ops.decode(found.payload, found.op_count)
        except ValueError as error:
            raise CorruptionError(
                reader.path,
                f"bad payload: {error}",
                offset=found.offset,
                lsn=found.lsn,
            ) from error

    def _judge_end(self, reader: SegmentReader) -> None:
        if reader.sealed:
            return
        hole, lsn = reader.hole, reader.next_lsn
        reason = hole.reason if hole else "the segment has no footer"
        marker = self._marker
        must_be_whole = (
            reader.header.number != marker.active_segment
            or marker.clean
            or lsn <= marker.checkpoint_lsn
            or (hole is not None and reader.synced_lsn_behind_hole() >= lsn)
        )
        if must_be_whole:
            raise CorruptionError(reader.path, reason, offset=reader.end, lsn=lsn)
        if hole is not None:
            self.torn_tail = TornTail(reader.path, hole.offset, lsn, hole.reason)


def facts_of_last(reader: SegmentReader | None) -> SealedFacts:
    """Return what the next segment must say about the last sealed one."""
    return reader.facts if reader is not None else NO_SEGMENT

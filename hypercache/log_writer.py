"""Append ops to the active segment: LSNs, rotation, watermarks, failures.

Which file names the segments is the subclass's matter. All methods are called under
the lock of the engine, except `appended_lsn` and `sync_active`, which group commit
calls while others append.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hypercache import ops, segment
from hypercache.durability import DurabilityBackend
from hypercache.errors import (
    DiskFullError,
    LimitError,
    ReentrantCallError,
    StorageError,
)
from hypercache.frame import HEADER_BYTES, MAX_PAYLOAD_BYTES
from hypercache.group_commit import GroupCommit
from hypercache.log_reader import (
    Extent,
    LogReader,
    SegmentEnd,
    TornTail,
    facts_of_last,
)
from hypercache.mounts import RESERVING_MOUNTS
from hypercache.ops import Op, Unpacked
from hypercache.options import MIB, LogIO, Options
from hypercache.paths import TEMP_SUFFIX, LogPaths
from hypercache.segment import (
    FOOTER_ROOM,
    NO_SEGMENT,
    SegmentFullError,
    SegmentHeader,
    SegmentReader,
    SegmentWriter,
)
from hypercache.segment import HEADER_BYTES as SEGMENT_HEADER_BYTES
from hypercache.storage import File, Storage

FIRST_SEGMENT_BYTES = MIB
_PIECE_BYTES = MIB


class LogEnd(NamedTuple):
    """How far the log reaches; `active_bytes` is None when all of it is sealed."""

    next_lsn: int
    active_bytes: int | None


class LogWriter(DurabilityBackend):
    """Own the end of a log of segments.

    There is no active segment between a seal and the next append: an append that
    finds none begins one, and may be repeated when the disk was full.
    """

    def __init__(
        self, storage: Storage, paths: LogPaths, options: Options, uuid: bytes
    ) -> None:
        self._storage, self._paths, self._uuid = storage, paths, uuid
        self._mapped = _use_map(storage, paths, options.log_io)
        self._largest = options.segment_bytes
        self._capacity = min(FIRST_SEGMENT_BYTES, options.segment_bytes)
        self._segment: SegmentWriter | None = None
        self._previous = NO_SEGMENT
        self._next_lsn = 1
        self._unsealed: SegmentReader | None = None
        self._sealing = False
        self._sealed: dict[int, SegmentEnd] = {}  # those not trimmed yet, by number
        self.torn_tail: TornTail | None = None
        self.on_seal: Callable[[], None] = lambda: None

    @property
    @abstractmethod
    def extent(self) -> Extent:
        """Return what the file that names the segments says."""

    @abstractmethod
    def name_active(self, number: int) -> None:
        """Let that file name a new active segment, durably."""

    def attach(self, commit: GroupCommit) -> None:
        """Name the group commit that syncs this log; needed before an append."""
        self._commit, self._state = commit, commit.state

    def replay(self) -> Iterator[tuple[int, Op]]:
        """Yield every op above the floor with its LSN; note where the log ends."""
        for lsn, unpacked in self.unpacked():
            yield from enumerate(ops.as_ops(unpacked), start=lsn)

    def reader(self) -> LogReader:
        """Return what reads this log, for `unpacked`."""
        return LogReader(self._storage, self._paths, self._uuid, self.extent)

    def unpacked(
        self, reader: LogReader | None = None
    ) -> Iterator[tuple[int, Unpacked]]:
        """Yield the same as `LogReader.unpacked` does, or the rest of it."""
        reader = reader or self.reader()
        yield from reader.unpacked()
        reader.refuse_unknown_segments()
        self._next_lsn, self._previous = reader.next_lsn, facts_of_last(reader.last)
        self._sealed, self.torn_tail = reader.ends, reader.torn_tail
        self._unsealed = reader.last

    def settle(self) -> None:
        """Bring all that was read to the medium, so that appends may follow.

        Whoever wrote it may have been killed before a sync, or have met one that
        failed: what reads show is then nowhere else. A torn tail is cut.
        """
        last = self._unsealed
        if last is not None and not self.extent.clean:
            _seal_anew(self._storage, last)
            self._previous = last.facts
        self._unsealed = None

    @property
    def next_lsn(self) -> int:
        """Return the LSN of the next op."""
        active = self._segment
        return self._next_lsn if active is None else active.next_lsn

    def appended_lsn(self) -> int:
        """Return the LSN of the last op appended."""
        return self.next_lsn - 1

    @property
    def io_name(self) -> str:
        """Return how frames reach the segment: "mmap" or "write"."""
        return (LogIO.MMAP if self._mapped else LogIO.WRITE).value

    @property
    def kept_bytes(self) -> int:
        """Return the length of the log that was not trimmed yet."""
        active = self._segment
        return self.sealed_bytes + (active.offset if active else 0)

    @property
    def sealed_bytes(self) -> int:
        """Return the length of the sealed segments that were not trimmed yet."""
        return sum(end.length_bytes for end in self._sealed.values())

    def append(self, payload: bytes, op_count: int) -> int:
        """Append one frame of ops and return the LSN of its last op.

        On return the frame is in the operating system. It is durable when the
        commit state has reached the LSN.

        Raises:
            LimitError: the payload is over 1 GiB; nothing was written.
            DiskFullError: nothing was written; it works again with free space.
            StorageError: the log failed and is latched.
        """
        active = self._segment
        if active is not None:
            try:
                return active.append(payload, op_count, self._state.synced_lsn)
            except SegmentFullError:
                pass
            except StorageError as error:
                self._give_up_or_heal(active, error)
                raise
        self._make_room(len(payload))
        return self.append(payload, op_count)

    def seal_active(self) -> None:
        """Seal the active segment, if any; all ops are on the medium on return."""
        active = self._segment
        if active is None:
            return
        try:
            with self._commit.sync_mutex:  # a sync must not meet a closed file
                self._sealing = True
                try:
                    _refuse_moved(active)
                    self._previous = active.seal(self._state.synced_lsn)
                    self._next_lsn, self._segment = active.next_lsn, None
                finally:
                    self._sealing = False
        except StorageError as error:
            self._give_up_or_heal(active, error)
            raise
        except BaseException as error:  # KeyboardInterrupt: it is half sealed
            self._commit.fail(error)
            raise
        end = SegmentEnd(active.next_lsn - 1, self._previous.length)
        self._sealed[active.header.number] = end
        self._commit.reached(self._next_lsn - 1)
        self.on_seal()

    def sync_in_place(self) -> None:
        """Bring everything appended to the medium while nobody may append."""
        try:
            with self._commit.sync_mutex:
                self.sync_active()
        except StorageError as error:
            self._commit.fail(error)
            raise
        self._commit.reached(self.appended_lsn())

    def sync_active(self) -> None:
        """Bring the active segment to the medium; called without the lock."""
        active = self._segment
        if active is None:
            return  # it was sealed meanwhile, and that synced it
        if self._sealing:  # by this thread, which has the mutex: a signal handler syncs
            raise ReentrantCallError(
                f"{active.path} is being completed in this thread; let the signal "
                "handler leave a note, and sync when it has ended"
            )
        active.sync()
        _refuse_moved(active)

    def first_above(self, lsn: int) -> int:
        """Return the first segment that holds, or will hold, an op above `lsn`."""
        above = (n for n, end in self._sealed.items() if end.last_lsn > lsn)
        active = self.extent.active_segment
        return min(above, default=active if self._segment else active + 1)

    def forget_below(self, number: int) -> None:
        """Drop the lengths and LSNs of the segments below this one."""
        self._sealed = {n: end for n, end in self._sealed.items() if n >= number}

    def latching(self, write: Callable[[], None]) -> None:
        """Replace the file that names the segments; a failure latches the log.

        Its fate is then unknown, but for a full disk, which leaves it as it was.
        """
        try:
            write()
        except DiskFullError:
            raise
        except BaseException as error:
            self._commit.fail(error)
            raise

    def end(self) -> LogEnd:
        """Return how far the log reaches at this moment."""
        offset = self._segment.offset if self._segment else None
        return LogEnd(self.next_lsn, offset)

    def close(self) -> None:
        """Let go of the active segment as it is."""
        if self._segment is not None:
            self._segment.close()

    def _make_room(self, payload_bytes: int) -> None:
        if payload_bytes > MAX_PAYLOAD_BYTES:
            raise LimitError(
                f"a batch takes at most {MAX_PAYLOAD_BYTES} bytes in the log, this one "
                f"has {payload_bytes}: split it"
            )
        self.seal_active()
        frame_bytes = HEADER_BYTES + payload_bytes
        needed = SEGMENT_HEADER_BYTES + frame_bytes + FOOTER_ROOM
        try:
            self._segment = self._begin_segment(max(self._capacity, needed))
        except DiskFullError:
            raise
        except StorageError as error:
            self._commit.fail(error)
            raise
        self._capacity = min(self._capacity * 2, self._largest)

    def _begin_segment(self, capacity: int) -> SegmentWriter:
        number = self.extent.active_segment + 1
        path = self._paths.segment(number)
        header = SegmentHeader(self._uuid, number, self._next_lsn, self._previous)
        # What an earlier try left behind holds nothing: it was never named.
        self._storage.unlink(path)
        reserve = capacity if self._mapped else 0
        file = self._storage.create(path, reserve, mapped=self._mapped)
        try:
            begun = SegmentWriter(file, header, capacity)
            begun.sync()
            self._storage.sync_directory(self._paths.directory)
            self.name_active(number)
        except BaseException:
            file.close()
            raise
        return begun

    def _give_up_or_heal(self, active: SegmentWriter, error: StorageError) -> None:
        # Sealing a mapped segment gives up its map: there is no way back from there.
        if isinstance(error, DiskFullError) and not self._mapped:
            try:
                active.cut_back()
                return
            except StorageError as second:
                error = second
        self._commit.fail(error)


def _refuse_moved(active: SegmentWriter) -> None:
    if not active.is_linked():
        raise StorageError(
            f"{active.path} was removed while it was in use, or renamed, or replaced"
        )


def _use_map(storage: Storage, paths: LogPaths, log_io: LogIO) -> bool:
    if log_io is LogIO.AUTO:
        return storage.mount_type(paths.directory) in RESERVING_MOUNTS
    return log_io is LogIO.MMAP


def _seal_anew(storage: Storage, reader: SegmentReader) -> None:
    """Write a segment again, sealed, and put it in the place of the old one.

    After a failed sync the system may call pages clean that never reached the medium;
    a sync of that file would do nothing. Where there is no room, it is sealed in place.
    """
    temporary = reader.path + TEMP_SUFFIX
    storage.unlink(temporary)
    try:
        file = storage.create(temporary, mapped=False)
        try:
            _copy(storage, reader, file)
            end = _end_with_footer(file, reader)
        finally:
            file.close()
    except DiskFullError:
        storage.unlink(temporary)
        end = _seal_in_place(storage, reader)
    else:
        storage.rename(temporary, reader.path)
    reader.sealed_at(end)


def _seal_in_place(storage: Storage, reader: SegmentReader) -> int:
    file = storage.open(reader.path)
    try:
        file.truncate(reader.end)
        # Or a crash could keep the footer, and the tail behind it or a hole before.
        file.sync()
        return _end_with_footer(file, reader)
    finally:
        file.close()


def _copy(storage: Storage, reader: SegmentReader, file: File) -> None:
    with storage.open_read(reader.path) as source:
        for offset in range(0, reader.end, _PIECE_BYTES):
            wanted = min(_PIECE_BYTES, reader.end - offset)
            file.write_at(offset, source.read_at(offset, wanted))


def _end_with_footer(file: File, reader: SegmentReader) -> int:
    """Write the footer unless there is one, sync, return where the file ends."""
    end = reader.end
    if not reader.sealed:
        last = reader.next_lsn
        lsns = segment.LsnRange(reader.header.first_lsn, last, last - 1)
        footer = segment.footer_bytes(reader.seed, end, lsns, reader.digest)
        file.write_at(end, footer)
        end += len(footer)
    file.sync()
    return end

"""Append ops to the active segment: LSNs, rotation, watermarks, failures.

All methods are called under the lock of the engine, except `appended_lsn` and
`sync_active`, which group commit calls while others append.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from hypercache.errors import DiskFullError, LimitError, StorageError
from hypercache.frame import HEADER_BYTES, MAX_PAYLOAD_BYTES
from hypercache.group_commit import GroupCommit
from hypercache.options import MIB, LogIO, Options
from hypercache.paths import StorePaths
from hypercache.segment import (
    FOOTER_ROOM,
    SealedFacts,
    SegmentFullError,
    SegmentHeader,
    SegmentWriter,
)
from hypercache.segment import HEADER_BYTES as SEGMENT_HEADER_BYTES
from hypercache.storage import RESERVING_MOUNTS, FileInfo, Storage
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker

FIRST_SEGMENT_BYTES = MIB


class LogEnd(NamedTuple):
    """How far the log reaches; `active_bytes` is None when all of it is sealed."""

    next_lsn: int
    active_bytes: int | None


class WalWriter:
    """Own the end of the log.

    There is no active segment between a seal and the next append: an append that
    finds none begins one, and may be repeated when the disk was full.
    """

    def __init__(
        self,
        storage: Storage,
        paths: StorePaths,
        options: Options,
        uuid: bytes,
        marker: Marker,
        *,
        next_lsn: int,
        previous: SealedFacts,
    ) -> None:
        self._storage, self._paths, self._uuid = storage, paths, uuid
        self._mapped = _use_map(storage, paths, options.log_io)
        self._largest = options.segment_bytes
        self._capacity = min(FIRST_SEGMENT_BYTES, options.segment_bytes)
        self._segment: SegmentWriter | None = None
        self._previous = previous
        self._next_lsn = next_lsn
        self.marker = marker
        self.sealed_bytes = 0  # in segments that no checkpoint has folded yet
        self.on_seal: Callable[[], None] = lambda: None

    def attach(self, commit: GroupCommit) -> None:
        """Name the group commit that syncs this log; needed before anything else."""
        self._commit, self._state = commit, commit.state

    @property
    def next_lsn(self) -> int:
        """Return the LSN of the next op."""
        segment = self._segment
        return self._next_lsn if segment is None else segment.next_lsn

    def appended_lsn(self) -> int:
        """Return the LSN of the last op appended."""
        return self.next_lsn - 1

    @property
    def io_name(self) -> str:
        """Return how frames reach the segment: "mmap" or "write"."""
        return (LogIO.MMAP if self._mapped else LogIO.WRITE).value

    @property
    def unfolded_bytes(self) -> int:
        """Return the length of the log that no checkpoint has folded yet."""
        segment = self._segment
        return self.sealed_bytes + (segment.offset if segment else 0)

    def append(self, payload: bytes, op_count: int) -> int:
        """Append one frame of ops and return the LSN of its last op.

        On return the frame is in the operating system. It is durable when the
        commit state has reached the LSN.

        Raises:
            LimitError: the payload is over 1 GiB; nothing was written.
            DiskFullError: nothing was written; it works again with free space.
            StorageError: the log failed and is latched.
        """
        segment = self._segment
        if segment is not None:
            try:
                return segment.append(payload, op_count, self._state.synced_lsn)
            except SegmentFullError:
                pass
            except StorageError as error:
                self._give_up_or_heal(segment, error)
                raise
        self._make_room(len(payload))
        return self.append(payload, op_count)

    def seal_active(self) -> None:
        """Seal the active segment, if any; all ops are on the medium on return."""
        segment = self._segment
        if segment is None:
            return
        try:
            with self._commit.sync_mutex:  # a sync must not meet a closed file
                self._previous = segment.seal(self._state.synced_lsn)
                self._next_lsn, self._segment = segment.next_lsn, None
        except StorageError as error:
            self._give_up_or_heal(segment, error)
            raise
        except BaseException as error:  # KeyboardInterrupt: it is half sealed
            self._commit.fail(error)
            raise
        self.sealed_bytes += self._previous.length
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
        segment = self._segment
        if segment is None:
            return  # it was sealed meanwhile, and that synced it
        segment.sync()
        if not segment.is_linked():
            raise StorageError(f"{segment.path} was removed while it was in use")

    def set_marker(self, marker: Marker) -> None:
        """Replace the marker; a failure latches the log, as its fate is unknown.

        Raises:
            StorageError: the marker could not be written.
        """
        try:
            checkpoint.store(self._storage, self._paths, marker)
        except DiskFullError:
            raise  # the temporary file failed, the marker is as it was
        except BaseException as error:
            self._commit.fail(error)
            raise
        self.marker = marker

    def folded(self, reached_lsn: int, last_segment: int, lmdb_txn: int) -> None:
        """Put a finished checkpoint into the marker, so that pruning may follow."""
        empty = self._segment is None and self.marker.active_segment == last_segment
        self.set_marker(
            dataclasses.replace(
                self.marker,
                checkpoint_lsn=reached_lsn,
                first_segment=last_segment + 1,
                next_lsn=self._next_lsn if empty else self.marker.next_lsn,
                lmdb_txn=lmdb_txn,
            )
        )

    def closed(self, lmdb_txn: int, lmdb: FileInfo) -> None:
        """Put a clean close into the marker; the log must be sealed."""
        self.set_marker(
            dataclasses.replace(
                self.marker,
                next_lsn=self._next_lsn,
                clean=True,
                lmdb_txn=lmdb_txn,
                lmdb_size_bytes=lmdb.size_bytes,
                lmdb_mtime_ns=lmdb.mtime_ns,
            )
        )

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
        number = self.marker.active_segment + 1
        path = self._paths.segment(number)
        header = SegmentHeader(self._uuid, number, self._next_lsn, self._previous)
        # What an earlier try left behind holds nothing: no marker ever named it.
        self._storage.unlink(path)
        reserve = capacity if self._mapped else 0
        file = self._storage.create(path, reserve, mapped=self._mapped)
        try:
            segment = SegmentWriter(file, header, capacity)
            segment.sync()
            self._storage.sync_directory(self._paths.wal)
            self.set_marker(
                dataclasses.replace(
                    self.marker,
                    active_segment=number,
                    next_lsn=self._next_lsn,
                    clean=False,
                )
            )
        except BaseException:
            file.close()
            raise
        return segment

    def _give_up_or_heal(self, segment: SegmentWriter, error: StorageError) -> None:
        # Sealing a mapped segment gives up its map: there is no way back from there.
        if isinstance(error, DiskFullError) and not self._mapped:
            try:
                segment.cut_back()
                return
            except StorageError as second:
                error = second
        self._commit.fail(error)


def _use_map(storage: Storage, paths: StorePaths, log_io: LogIO) -> bool:
    if log_io is LogIO.AUTO:
        return storage.mount_type(paths.root) in RESERVING_MOUNTS
    return log_io is LogIO.MMAP

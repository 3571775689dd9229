"""Read a hybrid or a persistent store without opening it for writing.

What LMDB has is read from a snapshot of it; what only the log of a hybrid store has is
replayed into a memtable of our own, up to where the log ends at that moment.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from hypercache.engines import (
    auditing,
    backup,
    identity,
    lmdb_trust,
    lmdb_walk,
    merging,
    opening,
)
from hypercache.engines.backup import Wanted
from hypercache.engines.base import CheckReport, EngineStats, Entry, Problem
from hypercache.engines.lmdb_snapshot import LmdbSnapshot, SnapshotLostError
from hypercache.engines.memtable import Memtable
from hypercache.engines.read_cache import ReadCache
from hypercache.engines.read_only import ReadOnlyEngine, too_fast
from hypercache.engines.slots import Absent, Slot, slot_of
from hypercache.errors import CorruptionError
from hypercache.log_reader import HeldLog, LogReader, hold, refuse_unknown
from hypercache.options import Options
from hypercache.storage import Clock, Storage
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker

_ATTEMPTS = 100
_NO_CACHE = ReadCache(0)
_Steps = Iterator[tuple[bytes, Slot]]


class _Cut(NamedTuple):
    """A snapshot of LMDB, and the files of the log that continues it."""

    marker: Marker
    held: HeldLog
    snapshot: LmdbSnapshot


@dataclass(frozen=True, slots=True)
class _View:
    """What is shown: a snapshot of LMDB, and above it what the log had by then."""

    snapshot: LmdbSnapshot
    memtable: Memtable
    lsn: int
    log_bytes: int = 0
    recovery: tuple[str, ...] = ()

    def slot(self, key: bytes) -> Slot:
        """Return what is stored under a key."""
        slot = self.memtable.find(key)
        if not isinstance(slot, Absent):
            return slot
        found = None if self.memtable.cleared_lsn else self.snapshot.get(key)
        return slot_of(found.value, found.expires_at_ms) if found else None


class LmdbReader(ReadOnlyEngine):
    """Show an LMDB store as of one moment.

    A writer of the same process that needs a larger map ends that moment: then every
    read raises StorageError, until `refresh`.

    Raises:
        ConfigError, UnsupportedFormatError, CorruptionError, StorageError: at
            construction.
    """

    engine = "hybrid"

    def __init__(
        self,
        path: str,
        options: Options,
        *,
        storage: Storage | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(path, options, storage=storage, clock=clock)
        self._lock = threading.RLock()
        self._refreshing = threading.Lock()
        if not self._may_be_written():
            self._verify()
        self._view = self._load()

    def get_entry(self, key: bytes) -> Entry | None:
        """Return value and expiry, None for a key that is absent or expired."""
        self._refuse()
        with self._lock:
            self._refuse()
            return self._live(self._view.slot(key))

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values of the keys that are present."""
        self._refuse()
        with self._lock:
            found = ((key, self.get(key)) for key in keys)
            return {key: value for key, value in found if value is not None}

    def scan(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        *,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, Entry]]:
        """Yield the live entries with start <= key < stop in key order."""
        view: _View | None = None
        steps: _Steps = iter(())
        while True:
            self._refuse()
            with self._lock:
                self._refuse()
                if view is not self._view:  # a refresh: go on behind the last key
                    view, steps = self._view, self._steps(start, stop, reverse)
                found = next(steps, None)
            if found is None:
                return
            key, slot = found
            start, stop = (start, key) if reverse else (key + b"\0", stop)
            entry = self._live(slot)
            if entry is not None:
                yield key, entry

    def count(self) -> int:
        """Return the number of live keys; reads all entries if any can expire."""
        self._refuse()
        with self._lock:
            self._refuse()
            exact = merging.maybe_count(self._view.memtable, self._view.snapshot)
        return exact if exact is not None else sum(1 for _ in self.scan())

    def refresh(self) -> int:
        """Move the snapshot forward to now and return its LSN."""
        self._refuse()
        with self._refreshing:
            view = self._load()
            with self._lock:
                try:
                    self._refuse()
                    self._refuse_backwards(self._view.lsn, view.lsn)
                except BaseException:
                    view.snapshot.close()
                    raise
                before, self._view = self._view, view
                before.snapshot.close()
            return view.lsn

    def check(self) -> CheckReport:
        """Read everything back and report what is wrong.

        What a writer does meanwhile is no problem, nor is a torn tail.
        """
        self._refuse()
        try:
            identity.load_ready(self._storage, self._paths, self._options, self.engine)
            problems = self._walk()
            self._load().snapshot.close()
        except CorruptionError as error:
            problems = [auditing.problem_of(error)]
        return CheckReport(tuple(problems), 0 if problems else self.count())

    def stats(self) -> EngineStats:
        """Return the numbers of the snapshot."""
        self._refuse()
        with self._lock:
            self._refuse()
            view, state = self._view, self._view.snapshot.state()
        return EngineStats(
            engine=self.engine,
            path=self._paths.root,
            read_only=True,
            appended_lsn=view.lsn,
            checkpoint_lsn=state.checkpoint_lsn,
            memtable_count=len(view.memtable),
            log_bytes=view.log_bytes,
            disk_bytes=auditing.disk_bytes(self._storage, self._paths),
            recovery=view.recovery,
        )

    def backup(self, destination: str) -> int:
        """Copy the store as it is now into a new directory; return the LSN reached."""
        return self.copy(Wanted(destination, self._view.lsn))

    def copy(self, wanted: Wanted) -> int:
        """Make a backup that must reach an LSN; return the LSN reached."""
        self._refuse()
        place = self._storage, self._paths, self.engine, self._uuid
        for _ in range(_ATTEMPTS):
            marker, held, snapshot = self._cut()
            with held, contextlib.closing(snapshot):
                cut = backup.LmdbCut(marker, held, snapshot.copy_to)
                try:
                    return backup.back_up_lmdb(*place, cut, wanted)
                except SnapshotLostError:
                    continue
        raise too_fast(self._paths)

    def close(self) -> None:
        """Let go of all files."""
        if self._is_forked():
            return  # the parent's; another thread may have held the lock at the fork
        with self._lock:
            if not self._closed:
                self._closed = True
                self._view.snapshot.close()

    def _steps(self, start: bytes | None, stop: bytes | None, reverse: bool) -> _Steps:
        view = self._view
        source = merging.Source(view.memtable, _NO_CACHE, view.snapshot, view.slot)
        return merging.scan(source, start, stop, reverse)

    def _verify(self) -> None:
        marker = checkpoint.load(self._storage, self._paths)
        try:
            lmdb_trust.verify_lmdb(self._storage, self._paths, self._options, marker)
        except CorruptionError:
            # It may be a writer that has come and is at work.
            if not self._has_moved(marker):
                raise

    def _walk(self) -> list[Problem]:
        """Return what is wrong with the pages of LMDB."""
        marker = checkpoint.load(self._storage, self._paths)
        walk = partial(lmdb_walk.maybe_verify, self._paths.lmdb)
        problems = walk(shared=self._may_be_written())
        if problems and self._has_moved(marker):
            problems = walk(shared=True)
        if problems is None:
            with contextlib.closing(self._snapshot()) as snapshot:
                problems = lmdb_walk.verify_here(self._paths.lmdb, snapshot)
        return problems

    def _has_moved(self, marker: Marker) -> bool:
        """Tell whether a writer is there, or has been since the marker was read."""
        now = checkpoint.load(self._storage, self._paths)
        return self._may_be_written() or now != marker

    def _snapshot(self) -> LmdbSnapshot:
        shared = self._may_be_written()
        return LmdbSnapshot(self._storage, self._paths.lmdb, shared=shared)

    def _load(self) -> _View:
        for _ in range(_ATTEMPTS):
            marker, held, snapshot = self._cut()
            try:
                with held:
                    return self._replay(marker, held, snapshot)
            except SnapshotLostError:
                snapshot.close()
            except BaseException:
                snapshot.close()
                raise
        raise too_fast(self._paths)

    def _cut(self) -> _Cut:
        for _ in range(_ATTEMPTS):
            marker, snapshot = checkpoint.load(self._storage, self._paths), None
            try:
                snapshot = self._snapshot()
                lmdb_trust.refuse_other(self._paths, snapshot, marker, self._uuid)
                cut = self._maybe_cut(snapshot)
            except BaseException as error:
                if snapshot is not None:
                    snapshot.close()
                if isinstance(error, SnapshotLostError):
                    continue
                raise
            if cut is not None:
                return cut
            snapshot.close()
        raise too_fast(self._paths)

    def _maybe_cut(self, snapshot: LmdbSnapshot) -> _Cut | None:
        """Return what continues a snapshot, None if a checkpoint has ended meanwhile.

        The marker is read behind the snapshot: then it names all segments that a
        checkpoint under way may have folded into the snapshot in part.
        """
        marker = checkpoint.load(self._storage, self._paths)
        reached_lsn = snapshot.state().checkpoint_lsn
        if marker.checkpoint_lsn > reached_lsn:
            return None
        held = hold(self._storage, self._paths.wal_log, marker.extent)
        if held is None:
            if checkpoint.load(self._storage, self._paths) != marker:
                return None
            missing = f"segments {marker.first_segment} to {marker.active_segment}"
            raise CorruptionError(self._paths.wal, f"not all {missing} are there")
        marker = dataclasses.replace(marker, checkpoint_lsn=reached_lsn)
        return _Cut(marker, held, snapshot)

    def _replay(self, marker: Marker, held: HeldLog, snapshot: LmdbSnapshot) -> _View:
        log, memtable = self._paths.wal_log, Memtable()
        reader = LogReader(self._storage, log, self._uuid, marker.extent, held=held)
        for first_lsn, run in reader.runs():
            for lsn, op in enumerate(run, start=first_lsn):
                opening.replay_op(memtable, snapshot, lsn, op)
        refuse_unknown(reader, partial(self._is_active, marker.active_segment))
        # What looks torn beside a writer is what it is writing.
        tail = None if self._may_be_written() else reader.torn_tail
        return _View(
            snapshot,
            memtable,
            reader.next_lsn - 1,
            sum(end.length_bytes for end in reader.ends.values()),
            opening.notes_on(tail, cut=False),
        )

    def _is_active(self, number: int) -> bool:
        marker = checkpoint.load(self._storage, self._paths)
        return marker.active_segment == number


class PersistentReader(LmdbReader):
    """Show a persistent store as of one moment; it has no log beside LMDB.

    Other processes that write keep the pages of that moment until `refresh` or
    `close`, so their file grows meanwhile.
    """

    engine = "persistent"

    def _maybe_cut(self, snapshot: LmdbSnapshot) -> _Cut:
        return _Cut(Marker(), HeldLog({}), snapshot)

    def _replay(self, marker: Marker, held: HeldLog, snapshot: LmdbSnapshot) -> _View:
        del marker, held
        return _View(snapshot, Memtable(), snapshot.state().checkpoint_lsn)

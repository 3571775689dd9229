"""Read a hybrid or a persistent store without opening it for writing.

What LMDB has is read from a snapshot of it; what only the log of a hybrid store has is
replayed into a memtable of our own, up to where the log ends at that moment.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Iterator

from hypercache.engines import auditing, backup, identity, lmdb_walk, merging, opening
from hypercache.engines.base import CheckReport, EngineStats, Entry
from hypercache.engines.lmdb_snapshot import LmdbSnapshot
from hypercache.engines.memtable import Memtable
from hypercache.engines.read_cache import ReadCache
from hypercache.engines.read_only import ReadOnlyEngine, no_store
from hypercache.engines.slots import Absent, Slot, slot_of
from hypercache.errors import CorruptionError, StorageError
from hypercache.log_reader import HeldLog, LogReader, hold
from hypercache.options import Options
from hypercache.paths import StorePaths
from hypercache.storage import Clock, OsStorage, Storage, SystemClock
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker

_ATTEMPTS = 100


class LmdbReader(ReadOnlyEngine):
    """Show an LMDB store as of one moment.

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
        paths = StorePaths(path.rstrip("/") or "/")
        super().__init__(storage or OsStorage(), paths, clock or SystemClock())
        self._options = options
        identity.refuse_unfit(self._storage, paths, options)
        found = None
        if self._storage.is_directory(paths.root):
            found = identity.load_ready(self._storage, paths, options, self.engine)
        if found is None:
            raise no_store(paths, self.engine)
        self._uuid = found.uuid_bytes
        marker = checkpoint.load(self._storage, paths)
        shared = self._storage.may_be_written(paths.lock)
        if not shared:
            opening.verify_lmdb(self._storage, paths, options, marker)
        self._lock = threading.RLock()
        self._snapshot = LmdbSnapshot(self._storage, paths.lmdb, shared=shared)
        self._no_cache = ReadCache(0)
        try:
            self._load()
        except BaseException:
            self._snapshot.close()
            raise

    def get_entry(self, key: bytes) -> Entry | None:
        """Return value and expiry, None for a key that is absent or expired."""
        with self._lock:
            self._refuse()
            return self._live(self._slot(key))

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values of the keys that are present."""
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
        self._refuse()
        source = merging.Source(
            self._memtable, self._no_cache, self._snapshot, self._slot
        )
        for key, slot in merging.scan(source, start, stop, reverse):
            self._refuse()
            entry = self._live(slot)
            if entry is not None:
                yield key, entry

    def count(self) -> int:
        """Return the number of live keys; reads all entries if any can expire."""
        with self._lock:
            self._refuse()
            exact = merging.maybe_count(self._memtable, self._snapshot)
        return exact if exact is not None else sum(1 for _ in self.scan())

    def refresh(self) -> int:
        """Move the snapshot forward to now and return its LSN."""
        with self._lock:
            self._refuse()
            self._load()
            return self._lsn

    def check(self) -> CheckReport:
        """Read everything back and report what is wrong.

        What a writer does meanwhile is no problem, nor is a torn tail.
        """
        self._refuse()
        shared = self._storage.may_be_written(self._paths.lock)
        problems = lmdb_walk.maybe_verify(self._paths.lmdb, shared=shared)
        if problems is None:
            problems = lmdb_walk.verify_here(self._paths.lmdb, self._snapshot)
        try:
            self.refresh()
        except CorruptionError as error:
            problems = [*problems, auditing.problem_of(error)]
        return CheckReport(tuple(problems), 0 if problems else self.count())

    def stats(self) -> EngineStats:
        """Return the numbers of the snapshot."""
        self._refuse()
        return EngineStats(
            engine=self.engine,
            path=self._paths.root,
            read_only=True,
            appended_lsn=self._lsn,
            checkpoint_lsn=self._snapshot.state().checkpoint_lsn,
            memtable_count=len(self._memtable),
            log_bytes=self._log_bytes,
            disk_bytes=auditing.disk_bytes(self._storage, self._paths),
            recovery=self._recovery,
        )

    def backup(self, destination: str) -> int:
        """Copy the store as it is now into a new directory; return the LSN reached."""
        with self._lock:
            self._refuse()
            marker, held = self._cut()
            with held:
                cut = backup.LmdbCut(marker, held, self._snapshot.copy_to)
                return backup.back_up_lmdb(
                    self._storage, self._paths, self.engine, cut, destination
                )

    def close(self) -> None:
        """Let go of all files."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._snapshot.close()

    def _cut(self) -> tuple[Marker, HeldLog]:
        """Renew the snapshot, and hold the files of the log that continues it.

        A checkpoint may take files away in between: then it has brought LMDB forward,
        and the next attempt needs fewer.
        """
        for _ in range(_ATTEMPTS):
            marker = checkpoint.load(self._storage, self._paths)
            self._snapshot.renew()
            reached_lsn = self._snapshot.state().checkpoint_lsn
            opening.refuse_older(self._paths, self._snapshot, marker)
            marker = dataclasses.replace(marker, checkpoint_lsn=reached_lsn)
            held = hold(self._storage, self._paths.wal_log, marker.extent)
            if held is not None:
                return marker, held
            if checkpoint.load(self._storage, self._paths) == marker:
                break
        missing = f"segments from {marker.first_segment} to {marker.active_segment}"
        raise CorruptionError(self._paths.wal, f"not all of the {missing} are there")

    def _load(self) -> None:
        for _ in range(_ATTEMPTS):
            marker, held = self._cut()
            with held:
                reader = LogReader(
                    self._storage,
                    self._paths.wal_log,
                    self._uuid,
                    marker.extent,
                    held=held,
                )
                if self._replay(reader, marker):
                    return
        raise StorageError(f"{self._paths.root}: checkpoints come faster than reads")

    def _replay(self, reader: LogReader, marker: Marker) -> bool:
        """Replay the log; tell whether it goes as far as LMDB does."""
        memtable = Memtable()
        try:
            for first_lsn, batch in reader.runs():
                for lsn, op in enumerate(batch, start=first_lsn):
                    opening.replay_op(memtable, self._snapshot, lsn, op)
        except CorruptionError:
            # A checkpoint that ended between the marker and the snapshot has folded
            # more than the segments that the marker names.
            if checkpoint.load(self._storage, self._paths).active_segment != (
                marker.active_segment
            ):
                return False
            raise
        self._memtable, self._lsn = memtable, reader.next_lsn - 1
        self._log_bytes = sum(end.length_bytes for end in reader.ends.values())
        self._recovery = opening.notes_on(reader.torn_tail, cut=False)
        return True

    def _slot(self, key: bytes) -> Slot:
        slot = self._memtable.find(key)
        if not isinstance(slot, Absent):
            return slot
        found = None if self._memtable.cleared_lsn else self._snapshot.get(key)
        return slot_of(found.value, found.expires_at_ms) if found else None


class PersistentReader(LmdbReader):
    """Show a persistent store as of one moment; it has no log beside LMDB.

    Other processes that write keep the pages of that moment until `refresh` or
    `close`, so their file grows meanwhile.
    """

    engine = "persistent"

    def _cut(self) -> tuple[Marker, HeldLog]:
        marker = checkpoint.load(self._storage, self._paths)
        self._snapshot.renew()
        opening.refuse_older(self._paths, self._snapshot, marker)
        return marker, HeldLog({})

    def _load(self) -> None:
        self._cut()
        self._memtable, self._log_bytes = Memtable(), 0
        self._lsn = self._snapshot.state().checkpoint_lsn
        self._recovery: tuple[str, ...] = ()

"""Run the checkpoints of a hybrid store: by itself, when asked, and at close.

A checkpoint seals the log, sets the memtable aside, folds the sealed segments into
LMDB, puts the LSN reached into the marker, and prunes. A helper process does the
folding where one can be started. Writers go on meanwhile into a new segment and a new
memtable, unless the log has grown by another `checkpoint_bytes`: then they wait,
because a log that outruns its checkpoints would fill the disk.
"""

from __future__ import annotations

import logging
import threading

from hypercache.engines import fold_helper, helper
from hypercache.engines.lmdb_store import LmdbStore
from hypercache.engines.memtable import Memtable
from hypercache.engines.read_cache import ReadCache
from hypercache.engines.slots import Slot
from hypercache.errors import (
    CorruptionError,
    DiskFullError,
    HyperCacheError,
    StorageError,
)
from hypercache.group_commit import GroupCommit
from hypercache.locking import DirectoryLock
from hypercache.options import Maintenance, Options
from hypercache.paths import StorePaths
from hypercache.storage import Clock, Storage
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker
from hypercache.wal.fold import fold
from hypercache.wal.writer import WalWriter

_log = logging.getLogger(__name__)


class Checkpointer:
    """Own the passage from the log to LMDB.

    `run` and `close_cleanly` are called under `maintenance`, which is taken before the
    engine's lock.
    """

    def __init__(
        self,
        place: tuple[Storage, StorePaths, bytes, Options],
        log: tuple[threading.RLock, WalWriter, GroupCommit],
        tables: tuple[Memtable, ReadCache, LmdbStore],
        clock: Clock,
        directory_lock: DirectoryLock,
    ) -> None:
        self._storage, self._paths, self._uuid, self._options = place
        self._lock, self._log, self._commit = log
        self._memtable, self._cache, self._store = tables
        self._log.on_seal = self._note_log_length
        self._clock, self._directory_lock = clock, directory_lock
        self._in_process = (
            self._options.maintenance is not Maintenance.INLINE and helper.can_start()
        )
        self._starting = threading.Lock()
        self._background: threading.Thread | None = None
        self.maintenance = threading.Lock()
        self.wait_ms = 0
        self.damaged = False
        self.due = False
        self._note_log_length()  # what the last process left may be due already
        self.count = 0
        self.error: str | None = None

    def run_if_due(self) -> None:
        """See to the checkpoint that the log's length asks for.

        In a thread of its own that waits for a helper process, or here. A writer
        that comes while the last one is still running has to wait for it: that is
        the back-pressure. An error is logged and kept in `error`, because the write
        that came across it is acknowledged already and must not fail.
        """
        began = self._clock.monotonic()
        with self._starting:
            if self._background is not None:
                self._background.join()
            if self.due and not self._commit.state.closed:
                self.due = False
                self._start()
        self.wait_ms += int((self._clock.monotonic() - began) * 1000)

    def _start(self) -> None:
        thread = threading.Thread(
            target=self._run_quietly,
            kwargs={"in_process": True},
            name="hypercache-checkpoint",
            daemon=True,
        )
        try:
            if self._in_process:
                thread.start()
                self._background = thread
                return
        except RuntimeError as error:
            _log.warning("no thread for a checkpoint: %s", error)
        self._run_quietly(in_process=False)

    def _run_quietly(self, *, in_process: bool) -> None:
        with self.maintenance:
            if self._commit.state.closed:
                return
            try:
                self.run(in_process=in_process)
            except HyperCacheError as error:
                _log.warning("a checkpoint failed, the log keeps growing: %s", error)

    def forked(self) -> None:
        """Forget locks and threads of the parent; nothing is folded in a child."""
        self.due, self._background = False, None
        self.maintenance, self._starting = threading.Lock(), threading.Lock()

    def run(self, *, in_process: bool = False) -> int:
        """Make a checkpoint of everything appended and return the LSN reached."""
        try:
            reached = self._run(in_process)
        except BaseException as error:
            self.error = str(error)
            raise
        self.error = None
        return reached

    def _run(self, in_process: bool) -> int:
        with self._lock:
            self._commit.state.raise_if_failed()
            if self.damaged:
                # Folding would take away the log, which may be all that is whole.
                reason = "check() has found damage; nothing is folded any more"
                raise CorruptionError(self._paths.root, reason)
            self._log.seal_active()
            self.due = False
            marker = self._log.marker
            if marker.first_segment > marker.active_segment:
                return self._log.appended_lsn()
            folded = self._memtable.freeze()
            folded_bytes, self._log.sealed_bytes = self._log.sealed_bytes, 0
        try:
            reached = self._fold(marker, in_process)
            with self._lock:
                self._end(folded, reached, marker.active_segment)
        except BaseException:
            with self._lock:
                self._log.sealed_bytes += folded_bytes
            raise
        self._prune()
        self.count += 1
        return reached

    def close_cleanly(self) -> None:
        """Fold everything and say in the marker that the close was clean.

        Raises:
            StorageError: the log could not be brought to the medium.
            CorruptionError: the log was damaged meanwhile.
        """
        self._commit.flush()
        if self.damaged:
            return  # without a clean mark, so that the next open looks at everything
        try:
            self.run()
        except StorageError as error:
            self._commit.state.raise_if_failed()
            _log.warning("closed without a checkpoint, the log keeps all: %s", error)
            return
        txn = self._store.transaction_id()
        self._store.close()
        info = self._storage.info(self._paths.lmdb_data)
        if info is None or self._log.marker.clean:
            return
        try:
            self._log.closed(txn, info)
        except DiskFullError as error:
            _log.warning("closed without saying so, nothing is lost: %s", error)

    def _prune(self) -> None:
        try:
            checkpoint.prune(self._storage, self._paths, self._log.marker)
        except StorageError as error:
            self._commit.fail(error)
            raise

    def _fold(self, marker: Marker, in_process: bool) -> int:
        batch_count = self._options.fold_batch
        if in_process:
            reached = fold_helper.maybe_fold(
                self._paths,
                self._uuid,
                marker,
                batch_count,
                self._directory_lock.fileno(),
            )
            if reached is not None:
                return reached
        steps = fold(
            self._storage,
            self._paths,
            self._uuid,
            marker,
            self._store,
            batch_count,
        )
        return max(steps)

    def _end(
        self, folded: dict[bytes, Slot], reached_lsn: int, last_segment: int
    ) -> None:
        self._log.folded(reached_lsn, last_segment, self._store.transaction_id())
        # Into the cache before out of the memtable, for readers in between.
        if self._memtable.frozen is folded:
            self._cache.absorb(folded)
        self._memtable.thaw(folded, reached_lsn)

    def _note_log_length(self) -> None:
        self.due = self._log.sealed_bytes >= self._options.checkpoint_bytes

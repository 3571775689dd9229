"""Run the checkpoints of a hybrid store.

A checkpoint seals the log, sets the memtable aside, folds the sealed segments into
LMDB, puts the LSN reached into the marker, and prunes. Writers go on meanwhile into a
new segment and a new memtable.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Generator, Iterator

from hypercache.engines import fold_helper, lmdb_trust, memory_budget
from hypercache.engines.fold_helper import FoldHelper
from hypercache.engines.lmdb_store import LmdbStore
from hypercache.engines.memtable import Memtable
from hypercache.engines.next_fold import NextFold
from hypercache.engines.read_cache import ReadCache
from hypercache.engines.slots import Slot
from hypercache.engines.upkeep import Alone, Upkeep
from hypercache.errors import CorruptionError, DiskFullError, StorageError
from hypercache.group_commit import GroupCommit
from hypercache.locking import DirectoryLock
from hypercache.log_reader import Extent
from hypercache.net_ops import NetOps
from hypercache.options import Options
from hypercache.paths import StorePaths
from hypercache.storage import Clock, Storage
from hypercache.wal.fold import fold
from hypercache.wal.writer import WalWriter

_log = logging.getLogger(__name__)
# A fold of random keys rewrites most pages of LMDB, so the larger the file is, the more
# of them it should change at once; up to a limit, because an open replays the log.
_LMDB_SHARE = 4
_LONGEST = 4
_HELPER_BATCH = 10  # a helper holds nobody up: it takes so many times more at once


class Checkpointer(Upkeep):
    """Own the passage from the log to LMDB."""

    name = "checkpoint"

    def __init__(
        self,
        place: tuple[Storage, StorePaths, bytes, Options],
        log: tuple[Alone, WalWriter, GroupCommit],
        tables: tuple[Memtable, ReadCache, LmdbStore],
        clock: Clock,
        directory_lock: DirectoryLock,
    ) -> None:
        self._storage, self._paths, self._uuid, self._options = place
        self._alone, self._log, self._commit = log
        self._memtable, self._cache, self._store = tables
        self._directory_lock = directory_lock
        self.damaged = False
        self._folding_bytes = 0  # of the log, under way to LMDB
        self._frozen_lsn = self._log.marker.checkpoint_lsn
        super().__init__(self._commit.state, clock, self._options.maintenance)
        self._log.on_seal = self.look
        self._next = NextFold(self._start_helper, self._is_over)
        self.on_wait = self._prepare_next
        self.look()  # what the last process left may be due already

    def is_due(self) -> bool:
        """Tell whether the log is long enough, or the memtable large enough.

        See `Options.checkpoint_bytes` and `Options.memory_bytes`.
        """
        if self._memtable_is_full():
            return True
        shortest = self._options.checkpoint_bytes
        waiting_bytes = self._log.sealed_bytes - self._folding_bytes
        if waiting_bytes < shortest:
            return False
        info = self._storage.info(self._paths.lmdb_data)
        share = info.size_bytes // _LMDB_SHARE if info else 0
        return waiting_bytes >= min(share, _LONGEST * shortest)

    def _memtable_is_full(self) -> bool:
        most = memory_budget.memtable_bytes(self._options)
        return self._estimate_bytes(len(self._memtable.active)) >= most

    def _estimate_bytes(self, key_count: int) -> int:
        """Return what so many keys take with what the log has of them."""
        return memory_budget.estimate_memtable_bytes(
            key_count,
            self._log.appended_lsn() - self._frozen_lsn,
            self._log.sealed_bytes - self._folding_bytes,
        )

    def steps(self, in_process: bool) -> Iterator[int]:
        """Make a checkpoint of everything appended."""
        with self._alone():
            self._commit.state.raise_if_failed()
            if self.damaged:
                # Folding would take away the log, which may be all that is whole.
                reason = "check() has found damage; nothing is folded any more"
                raise CorruptionError(self._paths.root, reason)
            self._log.seal_active()
            self.due = False
            marker = self._log.marker
            if marker.first_segment > marker.active_segment:
                return
            folded = self._memtable.freeze()
            folded_bytes = self._estimate_bytes(len(folded))
            self._cache.lend(folded_bytes)
            self._folding_bytes = self._log.sealed_bytes
            self._frozen_lsn = self._log.appended_lsn()
        try:
            reached_lsn = yield from self._fold(marker.extent, in_process)
            with self._alone():
                # In between the marker may have failed, and its fate is unknown.
                self._commit.state.raise_if_failed()
                self._end(folded, folded_bytes, reached_lsn)
        except BaseException:
            self._next.discard()  # what it reads does not go on from here
            raise
        finally:
            self._folding_bytes = 0
        self._prune()
        self.count += 1

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
        marker = dataclasses.replace(self._log.marker, lmdb_txn=txn)
        if marker.clean or self._storage.info(self._paths.lmdb_data) is None:
            return
        try:
            self._log.closed(lmdb_trust.as_left(self._storage, self._paths, marker))
        except DiskFullError as error:
            _log.warning("closed without saying so, nothing is lost: %s", error)

    def release(self) -> None:
        """Leave no helper behind; called when the store is closed for all."""
        self._next.discard()

    def forked(self) -> None:
        """Leave the helper to the parent, too."""
        super().forked()
        self._next.forked()

    def _prune(self) -> None:
        try:
            self._log.prune()
        except StorageError as error:
            self._commit.fail(error)
            raise

    def _fold(self, extent: Extent, in_process: bool) -> Generator[int, None, int]:
        if in_process:
            found = self._next.take(extent)
            reached_lsn = found.maybe_fold(extent) if found is not None else None
            if reached_lsn is not None:
                return reached_lsn
        self._next.discard()
        net = NetOps(self._storage, self._paths.wal_log, self._uuid)
        return (yield from fold(net, extent, self._store, self._options.fold_batch))

    def _prepare_next(self) -> None:
        with self._alone():
            if not self._folding_bytes:
                return  # it has ended just now, or not begun
            extent = self._log.sealed_above(self._frozen_lsn)
        self._next.prepare(extent)

    def _start_helper(self, extent: Extent) -> FoldHelper | None:
        return fold_helper.maybe_start(
            self._paths,
            self._uuid,
            extent,
            _HELPER_BATCH * self._options.fold_batch,
            self._directory_lock.fileno(),
        )

    def _is_over(self) -> bool:
        state = self._commit.state
        return state.closed or state.failure is not None

    def _end(
        self, folded: dict[bytes, Slot], folded_bytes: int, reached_lsn: int
    ) -> None:
        self._log.folded(reached_lsn, self._store.transaction_id())
        # Into the cache before out of the memtable, for readers in between.
        if self._memtable.frozen is folded:
            self._cache.absorb(folded, folded_bytes)
        self._memtable.thaw(folded, reached_lsn)

"""What the engines over a log have in common: how a write is made.

A write goes to the log, then to the table; under `always` it is staged in between. The
table, what lies below it, and the maintenance of the log are the subclass's.

Locks, in the order in which they are taken: `Upkeep.turn` (one maintenance, check,
backup or close at a time), `_lock` (writers), then those inside group commit.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial

from hypercache import ops
from hypercache.engines import refusals
from hypercache.engines.base import Change, StorageEngine, changed_entry, check_op
from hypercache.engines.capacity import Capacity
from hypercache.engines.departures import Departures
from hypercache.engines.expiry import SWEPT_AT_ONCE, Finder
from hypercache.engines.slots import Absent, ExpiryClock, Slot, slot_of
from hypercache.engines.staging import Slots, StagedTable
from hypercache.engines.upkeep import Upkeep
from hypercache.errors import DiskFullError, HyperCacheError, LimitError
from hypercache.group_commit import CommitState, GroupCommit
from hypercache.locking import DirectoryLock
from hypercache.log_writer import LogWriter
from hypercache.ops import Delete, KeyOp, Op, Put, Touch, check_key
from hypercache.options import Options, SyncPolicy
from hypercache.paths import StorePaths
from hypercache.storage import Clock

_log = logging.getLogger(__name__)
_EVICTED_AT_ONCE = 1000  # in one frame, when a store is opened with a lower limit


class LoggedEngine(StorageEngine):
    """Write to a log, then to a table.

    A subclass sets `_upkeep` before anybody else can call it.
    """

    commits_together = True
    _upkeep: Upkeep
    _capacity: Capacity | None = None

    def __init__(
        self,
        paths: StorePaths,
        options: Options,
        clock: Clock,
        log: LogWriter,
        table: StagedTable,
        lock: DirectoryLock,
    ) -> None:
        self._paths, self._options, self._clock = paths, options, clock
        self._log, self._table, self._directory_lock = log, table, lock
        self._departures = Departures()
        self._lock = threading.RLock()
        self._refusal: Callable[[], HyperCacheError] | None = None
        self._exclusive_owner: int | None = None
        self._writing = False
        expiry = ExpiryClock(clock)
        self._live, self._expiry_ms = expiry.live, expiry.now_ms
        self._deferred = options.sync is SyncPolicy.ALWAYS
        self._packer = ops.Packer()
        self._pack = self._packer.pack
        self._state = CommitState(options.sync, log.appended_lsn())
        self._commit = GroupCommit(
            self._state,
            clock,
            sync_file=log.sync_active,
            appended_lsn=log.appended_lsn,
            on_synced=self._publish,
        )
        log.attach(self._commit)
        lock.on_fork = self._forked

    @abstractmethod
    def _slot(self, key: bytes) -> Slot:
        """Return the published slot of a key, wherever it lies."""

    @abstractmethod
    def _finder(self, *, whole: bool) -> Finder:
        """Return what finds expired entries, from the first one on if `whole`."""

    @abstractmethod
    def _cleared(self) -> None:
        """Forget what lies below the table; a clear was published."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of the files of the subclass."""

    @abstractmethod
    def _close_cleanly(self) -> None:
        """Bring everything to the medium and note that the close was clean."""

    def now_ms(self) -> float:
        """Return the time that expiry is judged by."""
        return self._expiry_ms()

    def apply(self, ops: Sequence[KeyOp]) -> int:
        """Apply a batch, all or none, and return the LSN of its last op."""
        for op in ops:
            check_op(op)
        with self._writer():
            lsn = self._append_batch(ops)
        self._settle(lsn)
        return lsn

    def put_many(self, values: dict[bytes, bytes]) -> int:
        """Store values that never expire, all or none, and return the last LSN."""
        if self._capacity is not None or not values:
            return super().put_many(values)
        ops.check_puts(values)
        with self._writer():
            payload = ops.encode_puts(self._packer, values)
            lsn = self._log.append(payload, len(values))
            if self._deferred:
                self._table.stage(lsn, values)
            else:
                self._table.change(lsn, values)
        self._settle(lsn)
        return lsn

    def update(self, key: bytes, change: Change) -> int | None:
        """Apply to one key what `change` makes of its present entry, atomically."""
        check_key(key)
        with self._writer():
            seen_lsn, slot = self._newest(key)
            op = change(self._live(slot))
            if op is not None:
                check_op(op)
            lsn = self._append_batch([op]) if op is not None else None
        # What was seen may still be on its way to the disk: wait for that, too.
        self._settle(lsn if lsn is not None else seen_lsn)
        return lsn

    def clear(self) -> int:
        """Remove every key and return the LSN."""
        with self._writer():
            lsn = self._append([ops.Clear()], None)
            if self._capacity is not None:
                self._capacity.clear()
        self._settle(lsn)
        return lsn

    def sweep(self, limit: int | None = None) -> int:
        """Remove entries that have expired, and return how many."""
        finder, swept = self._finder(whole=limit is None), 0
        while True:
            with self._writer():
                keys, done = finder.due(limit or SWEPT_AT_ONCE)
                gone = [key for key in keys if self._is_dead(key)]
                if gone:
                    self._append_within(list(map(Delete, gone)), dict.fromkeys(gone))
                    self._departures.note((), gone)
            if gone:
                self._settle(self._log.appended_lsn())
            swept += len(gone)
            if done or limit is not None:
                return swept

    def access_hook(self) -> Callable[[bytes], None] | None:
        """Return what notes that a key was read, None without limits."""
        return self._capacity.access_hook() if self._capacity is not None else None

    def departures(self) -> Departures:
        """Return where it is noted what leaves by itself."""
        return self._departures

    def fill_share(self) -> float:
        """Return how full the store is, 0.0 without limits."""
        return 0.0 if self._capacity is None else self._capacity.share

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep all other writers out while the block runs; readers go on.

        What is written inside is acknowledged when the block has ended.
        """
        lsn = None
        self._refuse_inside()
        try:
            with self._lock:
                self._admit()
                if self._table.has_staged():
                    # Reads inside the block must see what other writers wait for.
                    with self._alone():
                        self._log.sync_in_place()
                outer = self._exclusive_owner
                self._exclusive_owner = threading.get_ident()
                try:
                    yield
                finally:
                    self._exclusive_owner = outer
                    lsn = self._log.appended_lsn()
        finally:
            if lsn is not None:
                self._settle(lsn)

    def sync(self) -> int:
        """Bring everything acknowledged to the medium; return the LSN reached."""
        self._refuse()
        return self._commit.flush()

    def wait_durable(self, lsn: int, timeout: float | None = None) -> None:
        """Return once `lsn` is on the medium."""
        self._refuse()
        if lsn > self._log.appended_lsn():
            raise LimitError(f"LSN {lsn} was never handed out by this store")
        self._commit.wait(lsn, timeout)

    def close(self) -> None:
        """Bring everything to the medium and let go of all files.

        Raises:
            StorageError: the last sync failed; what it should have brought to the
                medium may be lost. Everything is released all the same.
        """
        with self._upkeep.turn():
            with self._lock:
                if self._refusal is not None:
                    return
                self._refusal = partial(refusals.closed, self._paths.root)
                self._state.close()
            with contextlib.ExitStack() as release:
                release.callback(self._directory_lock.release)
                release.callback(self._release)
                release.callback(self._log.close)
                self._commit.stop()
                if self._state.failure is None:
                    self._close_cleanly()

    def _newest(self, key: bytes) -> tuple[int, Slot]:
        """Return LSN and slot of a staged write; without one, 0 and the slot."""
        lsn, slot = self._table.find_staged(key)
        return (0, self._slot(key)) if isinstance(slot, Absent) else (lsn, slot)

    def _is_dead(self, key: bytes) -> bool:
        slot = self._newest(key)[1]
        return slot is not None and self._live(slot) is None

    def _keep_within(self, capacity: Capacity) -> None:
        """Evict what is too much already, and from now on what becomes too much."""
        self._capacity = capacity
        lsn = 0
        with self._writer():
            while victims := capacity.surplus(_EVICTED_AT_ONCE):
                try:
                    gone = list(map(Delete, victims))
                    lsn = self._append(gone, dict.fromkeys(victims))
                    self._departures.note(victims, capacity.expired)
                except DiskFullError as error:
                    # Not worth refusing the open: the next writes will evict.
                    capacity.undo()
                    _log.warning("too much is left in %s: %s", self._paths.root, error)
                    break
        self._settle(lsn)

    def _append_batch(self, batch: Sequence[KeyOp]) -> int:
        slots: dict[bytes, Slot] = {}
        kept: list[KeyOp] = []
        for op in batch:
            if isinstance(op, Put):  # what was there does not matter
                slots[op.key] = slot_of(op.value, op.expires_at_ms)
                kept.append(op)
                continue
            before = None
            if isinstance(op, Touch):
                # Replay knows no clock: what has expired by now must not be touched.
                known = slots[op.key] if op.key in slots else self._newest(op.key)[1]
                before = self._live(known)
                if before is None:
                    continue
            after = changed_entry(before, op)
            slots[op.key] = slot_of(*after) if after else None
            kept.append(op)
        return self._append_within(kept, slots) if kept else self._log.appended_lsn()

    def _append_within(self, batch: list[KeyOp], slots: dict[bytes, Slot]) -> int:
        """Append a batch, and with it the evictions that make room for it."""
        capacity = self._capacity
        if capacity is None:
            return self._append(batch, slots)
        victims = dict.fromkeys(capacity.admit(slots))
        if victims:
            slots |= victims
            batch = [op for op in batch if op.key not in victims]
            batch += map(Delete, victims)
        try:
            lsn = self._append(batch, slots)
        except BaseException:
            capacity.undo()
            raise
        if victims:
            self._departures.note(victims, capacity.expired)
        return lsn

    def _append(self, batch: Sequence[Op], slots: Slots | None) -> int:
        lsn = self._log.append(ops.encode(self._packer, batch), len(batch))
        if self._deferred:
            self._table.stage(lsn, slots)
            return lsn
        self._table.change(lsn, slots)
        if slots is None:
            self._cleared()
        return lsn

    def _publish(self, lsn: int) -> None:
        if self._deferred:
            with self._lock:
                # A write in between would be published before older ones.
                outer, self._writing = self._writing, True
                try:
                    if self._table.publish(lsn):
                        self._cleared()
                finally:
                    self._writing = outer

    def _settle(self, lsn: int) -> None:
        """Wait for what a write promised, then do the maintenance it caused."""
        if self._exclusive_owner == threading.get_ident():
            return  # `exclusive` does it when it has given the lock up
        if self._deferred:
            self._commit.wait(lsn)
        if self._upkeep.due:
            self._upkeep.run_if_due()

    def _writer(self) -> AbstractContextManager[None]:
        return self._inside(self._admit)

    def _alone(self) -> AbstractContextManager[None]:
        return self._inside(self._refuse_inner)

    @contextlib.contextmanager
    def _inside(self, admit: Callable[[], None]) -> Iterator[None]:
        self._refuse_inside()
        with self._lock:
            admit()
            self._writing = True
            try:
                yield
            finally:
                self._writing = False

    def _admit(self) -> None:
        self._refuse()
        self._refuse_inner()
        self._commit.admit()

    def _refuse_inside(self) -> None:
        # Before the lock: its holder may wait for the sync that this thread is in.
        if self._state.busy:
            self._state.refuse_inside(threading.get_ident())

    def _refuse_inner(self) -> None:
        if self._writing:
            # The lock is reentrant, half an append is not.
            raise refusals.reentrant(self._paths.root)

    def _refuse(self) -> None:
        if self._refusal is not None:
            raise self._refusal()

    def _forked(self) -> None:
        # In the child of a fork: another thread may have held any lock at that moment.
        self._lock = threading.RLock()
        self._upkeep.forked()
        self._refusal = partial(refusals.forked, self._paths.root)
        self._state.close()

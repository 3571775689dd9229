"""The hybrid engine: a log for durability, LMDB for size, RAM for speed.

A write goes to the log, then to the memtable. A checkpoint folds the sealed log into
LMDB, moves the memtable into the read cache, and prunes the log. A read asks
memtable, read cache and LMDB in that order and takes no lock.

Locks, in the order in which they are taken: `maintenance` (one checkpoint, check or
close at a time), `_lock` (writers), then those inside group commit and read cache.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from hypercache import ops
from hypercache.engines import auditing, merging, opening, refusals
from hypercache.engines.base import (
    Change,
    CheckReport,
    EngineStats,
    Entry,
    StorageEngine,
    changed_entry,
    check_op,
)
from hypercache.engines.checkpointer import Checkpointer
from hypercache.engines.memtable import Slots
from hypercache.engines.read_cache import ReadCache
from hypercache.engines.slots import ABSENT, Absent, ExpiryClock, Slot, slot_of
from hypercache.errors import HyperCacheError, LimitError
from hypercache.group_commit import CommitState, GroupCommit
from hypercache.ops import PUT, KeyOp, Op, Touch, check_key, check_value
from hypercache.options import MAX_KEY_BYTES, MAX_VALUE_BYTES, Options, SyncPolicy
from hypercache.paths import StorePaths
from hypercache.storage import Clock, OsStorage, Storage, SystemClock


class HybridEngine(StorageEngine):
    """Keep everything in LMDB behind a log, hot entries in RAM.

    Raises:
        ConfigError, StoreLockedError, UnsupportedFormatError, CorruptionError,
        StorageError: at construction; nothing was changed.
    """

    def __init__(
        self,
        path: str,
        options: Options,
        *,
        storage: Storage | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._storage = storage or OsStorage()
        self._clock = clock or SystemClock()
        self._paths = StorePaths(path.rstrip("/") or "/")
        self._options = options
        opened = opening.open_store(self._storage, self._paths, options)
        self._uuid, self._log = opened.uuid, opened.log
        self._directory_lock = opened.lock
        self._store = opened.store
        self._memtable = opened.memtable
        self._recovery = opened.recovery
        self._cache = ReadCache(options.memory_bytes)
        self._lock = threading.RLock()
        self._refusal: Callable[[], HyperCacheError] | None = None
        self._exclusive_owner: int | None = None
        self._writing = False
        expiry = ExpiryClock(self._clock)
        self._live, self._expiry_ms = expiry.live, expiry.now_ms
        self._deferred = options.sync is SyncPolicy.ALWAYS
        self._packer = ops.Packer()
        self._pack = self._packer.pack
        self._state = CommitState(options.sync, self._log.appended_lsn())
        self._commit = GroupCommit(
            self._state,
            self._clock,
            sync_file=self._log.sync_active,
            appended_lsn=self._log.appended_lsn,
            on_synced=self._publish,
        )
        self._log.attach(self._commit)
        self._checkpoints = Checkpointer(
            (self._storage, self._paths, self._uuid, options),
            (self._lock, self._log, self._commit),
            (self._memtable, self._cache, self._store),
            self._clock,
            opened.lock,
        )
        opened.lock.on_fork = self._forked

    def get(self, key: bytes) -> bytes | None:
        """Return the value, None for a key that is absent or expired."""
        if self._refusal is not None:
            raise self._refusal()
        slot = self._memtable.active.get(key, ABSENT)
        if type(slot) is bytes:
            return slot
        if isinstance(slot, Absent):
            slot = self._find_below(key)
        entry = self._live(slot)
        return entry.value if entry else None

    def get_entry(self, key: bytes) -> Entry | None:
        """Return value and expiry, None for a key that is absent or expired."""
        self._refuse()
        return self._live(self._slot(key))

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values of the keys that are present, as of one moment."""
        with self._lock:
            self._refuse()
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
        source = merging.Source(self._memtable, self._cache, self._store, self._slot)
        for key, slot in merging.scan(source, start, stop, reverse):
            self._refuse()
            entry = self._live(slot)
            if entry is not None:
                yield key, entry

    def count(self) -> int:
        """Return the number of live keys; reads all entries if any can expire."""
        self._refuse()
        with self._lock:
            exact = merging.maybe_count(self._memtable, self._store)
        return exact if exact is not None else sum(1 for _ in self.scan())

    def now_ms(self) -> float:
        """Return the time that expiry is judged by."""
        return self._expiry_ms()

    def put(self, key: bytes, value: bytes, expires_at_ms: int = 0) -> int:
        """Store a value and return its LSN once it is acknowledged."""
        if not 0 < len(key) <= MAX_KEY_BYTES or len(value) > MAX_VALUE_BYTES:
            check_key(key)
            check_value(key, value)
        with self._lock:
            if self._writing or self._state.attention:
                self._admit()
            self._writing = True
            try:
                # Called through a local: half the cost in CPython 3.11.
                pack = self._pack
                if expires_at_ms:
                    payload = pack((PUT, key, value, expires_at_ms))
                    slot: Slot = (value, expires_at_ms)
                else:
                    payload = pack((PUT, key, value))
                    slot = value
                lsn = self._log.append(payload, 1)
                if self._deferred:
                    self._memtable.stage(lsn, {key: slot})
                else:
                    self._memtable.active[key] = slot
            finally:
                self._writing = False
        if self._deferred or self._checkpoints.due:
            self._settle(lsn)
        return lsn

    def apply(self, ops: Sequence[KeyOp]) -> int:
        """Apply a batch, all or none, and return the LSN of its last op."""
        for op in ops:
            check_op(op)
        with self._writer():
            lsn = self._append_batch(ops)
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
        self._settle(lsn)
        return lsn

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep all other writers out while the block runs; readers go on.

        What is written inside is acknowledged when the block has ended.
        """
        lsn = None
        try:
            with self._lock:
                self._admit()
                if self._memtable.has_staged():
                    # Reads inside the block must see what other writers wait for.
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

    def checkpoint(self) -> int:
        """Fold the log into LMDB and prune it; return the LSN reached."""
        self._refuse()
        with self._checkpoints.maintenance:
            self._refuse()
            return self._checkpoints.run()

    def check(self) -> CheckReport:
        """Read the log and LMDB back and report what is wrong; changes nothing."""
        self._refuse()
        with self._checkpoints.maintenance:
            with self._lock:
                self._refuse()
                log = self._log.marker, self._log.end()
            problems = auditing.problems(
                self._storage, self._paths, self._uuid, log, self._store
            )
            self._checkpoints.damaged = bool(problems)
        return CheckReport(tuple(problems), 0 if problems else self.count())

    def stats(self) -> EngineStats:
        """Return the numbers of this moment."""
        self._refuse()
        state = self._state
        return EngineStats(
            engine="hybrid",
            path=self._paths.root,
            sync=state.policy.value,
            log_io=self._log.io_name,
            appended_lsn=self._log.appended_lsn(),
            synced_lsn=state.synced_lsn,
            checkpoint_lsn=self._log.marker.checkpoint_lsn,
            memtable_count=len(self._memtable),
            read_cache_bytes=self._cache.used_bytes,
            log_bytes=self._log.unfolded_bytes,
            disk_bytes=auditing.disk_bytes(self._storage, self._paths),
            checkpoint_count=self._checkpoints.count,
            checkpoint_error=self._checkpoints.error,
            checkpoint_wait_ms=self._checkpoints.wait_ms,
            failure=str(state.failure) if state.failure else None,
            recovery=self._recovery,
        )

    def close(self) -> None:
        """Bring everything to the medium, checkpoint, and let go of all files.

        Raises:
            StorageError: the last sync failed; what it should have brought to the
                medium may be lost. Everything is released all the same.
        """
        with self._checkpoints.maintenance:
            with self._lock:
                if self._refusal is not None:
                    return
                self._refusal = partial(refusals.closed, self._paths.root)
                self._state.close()
            with contextlib.ExitStack() as release:
                release.callback(self._directory_lock.release)
                release.callback(self._store.close)
                release.callback(self._log.close)
                self._commit.stop()
                if self._state.failure is None:
                    self._checkpoints.close_cleanly()

    def _find_below(self, key: bytes) -> Slot:
        version = self._cache.version  # before the test for a clear: see ReadCache
        slot: Slot | Absent = self._memtable.frozen.get(key, ABSENT)
        if not isinstance(slot, Absent):
            return slot
        if self._memtable.cleared_lsn:
            return None
        slot = self._cache.find(key)
        if not isinstance(slot, Absent):
            return slot
        found = self._store.get(key)
        if found is None:
            return None
        slot = slot_of(found.value, found.expires_at_ms)
        self._cache.add(key, slot, version)
        return slot

    def _slot(self, key: bytes) -> Slot:
        slot = self._memtable.active.get(key, ABSENT)
        return self._find_below(key) if isinstance(slot, Absent) else slot

    def _newest(self, key: bytes) -> tuple[int, Slot]:
        """Return LSN and slot of a staged write; without one, 0 and the slot."""
        lsn, slot = self._memtable.find_staged(key)
        return (0, self._slot(key)) if isinstance(slot, Absent) else (lsn, slot)

    def _append_batch(self, batch: Sequence[KeyOp]) -> int:
        slots: dict[bytes, Slot] = {}
        kept: list[Op] = []
        for op in batch:
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
        return self._append(kept, slots) if kept else self._log.appended_lsn()

    def _append(self, batch: Sequence[Op], slots: Slots | None) -> int:
        lsn = self._log.append(ops.encode(self._packer, batch), len(batch))
        if self._deferred:
            self._memtable.stage(lsn, slots)
            return lsn
        self._memtable.change(lsn, slots)
        if slots is None:
            self._cache.clear()
        return lsn

    def _publish(self, lsn: int) -> None:
        if self._deferred:
            with self._lock:
                if self._memtable.publish(lsn):
                    self._cache.clear()

    def _settle(self, lsn: int) -> None:
        """Wait for what a write promised, then do the maintenance it caused."""
        if self._exclusive_owner == threading.get_ident():
            return  # `exclusive` does it when it has given the lock up
        if self._deferred:
            self._commit.wait(lsn)
        if self._checkpoints.due:
            self._checkpoints.run_if_due()

    @contextlib.contextmanager
    def _writer(self) -> Iterator[None]:
        with self._lock:
            self._admit()
            self._writing = True
            try:
                yield
            finally:
                self._writing = False

    def _admit(self) -> None:
        self._refuse()
        if self._writing:
            # The lock is reentrant, half an append is not.
            raise refusals.reentrant(self._paths.root)
        self._commit.admit()

    def _refuse(self) -> None:
        if self._refusal is not None:
            raise self._refusal()

    def _forked(self) -> None:
        # In the child of a fork: another thread may have held any lock at that moment.
        self._lock = threading.RLock()
        self._checkpoints.forked()
        self._refusal = partial(refusals.forked, self._paths.root)
        self._state.close()

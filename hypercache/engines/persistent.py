"""The persistent engine: LMDB alone, shared by several processes.

Every batch is one synced commit; threads that write at the same time share one. Reads
go to LMDB, each in a short transaction of its own. See "Several processes" in
docs/design.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

from hypercache.engines import backup_helper, lmdb_walk, refusals, shared_store
from hypercache.engines.base import (
    Change,
    CheckReport,
    EngineStats,
    Entry,
    StorageEngine,
    check_op,
)
from hypercache.engines.committer import Committer
from hypercache.engines.departures import Departures
from hypercache.engines.disk_limits import BatchLimits, InLmdb
from hypercache.engines.envelope import HEAD, Stored
from hypercache.engines.expiry import SWEPT_AT_ONCE, ExpiryHand
from hypercache.engines.shared_writes import (
    BatchWrite,
    ClearWrite,
    Expire,
    Place,
    Trim,
    UpdateWrite,
    Write,
)
from hypercache.engines.slots import ExpiryClock, slot_of
from hypercache.errors import ConfigError, DiskFullError, LimitError, StorageError
from hypercache.ops import KeyOp, Put, check_key
from hypercache.options import Options, SyncPolicy
from hypercache.paths import StorePaths
from hypercache.storage import Clock, OsStorage, Storage, SystemClock

_log = logging.getLogger(__name__)
_EVICTED_AT_ONCE = 1000  # in one transaction, when a store is opened with a lower limit


class PersistentEngine(StorageEngine):
    """Keep everything in LMDB, for any number of processes at once.

    Raises:
        ConfigError, StoreLockedError, UnsupportedFormatError, CorruptionError,
        StorageError: at construction; nothing was changed.
    """

    has_other_writers = True

    def __init__(
        self,
        path: str,
        options: Options,
        *,
        storage: Storage | None = None,
        clock: Clock | None = None,
    ) -> None:
        _refuse_policy(options)
        self._storage = storage or OsStorage()
        self._paths = StorePaths(path.rstrip("/") or "/")
        self._policy = options.sync
        self._opened = shared_store.open_store(self._storage, self._paths, options)
        self._store = self._opened.store
        writer = self._opened.writer
        self._commits = Committer(self._paths.root, self._store, writer)
        expiry = ExpiryClock(clock or SystemClock())
        self._live_slot, self._expiry_ms = expiry.live, expiry.now_ms
        self._below = InLmdb(self._store)
        self._hand = ExpiryHand(self._below, expiry.now_ms)
        limits = BatchLimits(options, expiry.now_ms, self._below)
        self._departures = Departures()
        self._place = Place(self._live, limits, self._departures)
        self._capacity = limits.capacity
        self._synced_lsn = self._store.state().checkpoint_lsn
        self._opened.lock.on_fork = self._forked
        self._keep_within()

    def get_entry(self, key: bytes) -> Entry | None:
        """Return value and expiry, None for a key that is absent or expired."""
        self._refuse()
        return self._live(self._store.get(key))

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values of the keys that are present, as of one moment."""
        self._refuse()
        found = self._store.get_many(list(keys))
        return {stored.key: stored.value for stored in found if self._live(stored)}

    def scan(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        *,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, Entry]]:
        """Yield the live entries with start <= key < stop in key order."""
        more = True
        while more:
            self._refuse()
            seen = self._store.transaction_id()
            found, more = self._store.scan_step(start, stop, reverse)
            for stored in found:
                self._refuse()
                # It is to be current when it is yielded.
                same = self._store.transaction_id() == seen
                now = stored if same else self._store.get(stored.key)
                entry = self._live(now)
                if entry is not None:
                    yield stored.key, entry
            if found and reverse:
                stop = found[-1].key
            elif found:
                start = found[-1].key + b"\0"

    def count(self) -> int:
        """Return the number of live keys; reads all entries if any can expire."""
        self._refuse()
        state = self._store.state()
        if not state.expiring_count:
            return state.entry_count
        return sum(1 for _ in self.scan())

    def put(self, key: bytes, value: bytes, expires_at_ms: int = 0) -> int:
        """Store a value and return its LSN once it is acknowledged."""
        return self.apply([Put(key, value, expires_at_ms)])

    def apply(self, ops: Sequence[KeyOp]) -> int:
        """Apply a batch, all or none, and return the LSN of its last op."""
        for op in ops:
            check_op(op)
        return self._run(BatchWrite(self._place, ops))

    def update(self, key: bytes, change: Change) -> int | None:
        """Apply to one key what `change` makes of its present entry, atomically.

        `change` may be called in another thread that writes at the same time.
        """
        check_key(key)
        write = UpdateWrite(self._place, key, change)
        self._commits.submit(write)
        return write.result()

    def clear(self) -> int:
        """Remove every key and return the LSN."""
        return self._run(ClearWrite(self._place, 0))

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep all other writers of all processes out while the block runs.

        What is written inside is committed at once.
        """
        return self._commits.exclusive()

    def sync(self) -> int:
        """Bring everything acknowledged to the medium; return the LSN reached."""
        self._refuse()
        lsn = self._store.state().checkpoint_lsn
        if self._policy is SyncPolicy.NO:
            self._commits.raise_if_failed()
            try:
                self._store.sync()
            except StorageError as error:
                self._commits.fail(error)
                self._commits.raise_if_failed()
        self._synced_lsn = max(self._synced_lsn, lsn)
        return lsn

    def wait_durable(self, lsn: int, timeout: float | None = None) -> None:
        """Return once `lsn` is on the medium; syncs at once if it must."""
        del timeout
        self._refuse()
        if lsn > self._store.state().checkpoint_lsn:
            raise LimitError(f"LSN {lsn} was never handed out by this store")
        if self._policy is SyncPolicy.NO and lsn > self._synced_lsn:
            self.sync()

    def sweep(self, limit: int | None = None) -> int:
        """Remove entries that have expired, and return how many."""
        hand = self._hand if limit else ExpiryHand(self._below, self._expiry_ms)
        swept = 0
        while True:
            self._refuse()
            keys, done = hand.due(limit or SWEPT_AT_ONCE)
            swept += self._run(Expire(self._place, keys)) if keys else 0
            if done or limit is not None:
                return swept

    @property
    def may_expire(self) -> bool:
        """Tell whether an entry may have an expiry."""
        return self._store.state().expiring_count > 0

    def access_hook(self) -> Callable[[bytes], None] | None:
        """Return what notes that a key was read, None without limits."""
        return self._capacity.access_hook() if self._capacity is not None else None

    def departures(self) -> Departures:
        """Return where it is noted what leaves by itself."""
        return self._departures

    def fill_share(self) -> float:
        """Return how full the store is, 0.0 without limits."""
        return 0.0 if self._capacity is None else self._capacity.share

    def now_ms(self) -> float:
        """Return the time that expiry is judged by."""
        return self._expiry_ms()

    def check(self) -> CheckReport:
        """Read the store back as of one moment and report what is wrong."""
        self._refuse()
        problems = [
            *shared_store.metafile_problems(self._storage, self._paths, self._opened)
        ]
        found = lmdb_walk.maybe_verify(self._paths.lmdb, shared=True)
        if found is None:
            # In this process, where LMDB must not grow under a long reader.
            with self._commits.quiet():
                found = lmdb_walk.verify_here(self._paths.lmdb, self._store)
        problems += found
        return CheckReport(tuple(problems), 0 if problems else self.count())

    def backup(self, destination: str) -> int:
        """Copy the store into a new directory and return the LSN of the copy."""
        self._refuse()
        place = self._storage, self._paths, shared_store.ENGINE
        lsn = self._store.state().checkpoint_lsn
        return backup_helper.back_up(*place, destination, lsn)

    def stats(self) -> EngineStats:
        """Return the numbers of this moment."""
        self._refuse()
        lsn = self._store.state().checkpoint_lsn
        synced_lsn = lsn if self._policy is SyncPolicy.ALWAYS else self._synced_lsn
        info, failure = self._storage.info(self._paths.lmdb_data), self._commits.failure
        found = EngineStats(
            engine=shared_store.ENGINE,
            path=self._paths.root,
            sync=self._policy.value,
            appended_lsn=lsn,
            synced_lsn=synced_lsn,
            checkpoint_lsn=synced_lsn,
            disk_bytes=info.size_bytes if info else 0,
            failure=str(failure) if failure else None,
            expired_count=self._departures.expired_count,
        )
        return found if self._capacity is None else self._with_limits(found)

    def _with_limits(self, found: EngineStats) -> EngineStats:
        assert self._capacity is not None
        state = self._store.state()
        heads_bytes = state.entry_count * HEAD.size
        return replace(
            self._capacity.filled_in(found),
            payload_bytes=state.data_bytes - heads_bytes,
            metadata_bytes=heads_bytes,
        )

    def close(self) -> None:
        """Bring everything to the medium and let go of all files.

        Raises:
            StorageError: the last sync failed; what it should have brought to the
                medium may be lost. Everything is released all the same.
        """
        with self._commits.ending() as first:
            if first:
                self._close()

    def _close(self) -> None:
        cleanly = self._commits.failure is None
        try:
            if cleanly and self._policy is SyncPolicy.NO:
                cleanly = False
                self._store.sync()
                cleanly = True
        finally:
            shared_store.close_store(
                self._storage, self._paths, self._opened, cleanly=cleanly
            )

    def _keep_within(self) -> None:
        """Evict what is too much already."""
        if self._capacity is None:
            return
        try:
            while self._run(Trim(self._place, _EVICTED_AT_ONCE)) == _EVICTED_AT_ONCE:
                pass
        except DiskFullError as error:
            # Not worth refusing the open: the next writes will evict.
            _log.warning("too much is left in %s: %s", self._paths.root, error)

    def _live(self, found: Stored | Entry | None) -> Entry | None:
        if found is None:
            return None
        return self._live_slot(slot_of(found.value, found.expires_at_ms))

    def _run(self, write: Write) -> int:
        self._commits.submit(write)
        return write.result() or 0

    def _refuse(self) -> None:
        if self._commits.refusal is not None:
            raise self._commits.refusal()

    def _forked(self) -> None:
        self._commits.forked(partial(refusals.forked, self._paths.root))


def _refuse_policy(options: Options) -> None:
    if options.sync is SyncPolicy.EVERYSEC:
        raise ConfigError(
            "sync='everysec' does not go with engine='persistent', where every batch "
            "is one synced commit; leave sync out, or use engine='hybrid'"
        )
    if options.sync is SyncPolicy.NO and not options.allow_unsafe_sync:
        raise ConfigError(
            "sync='no' with engine='persistent' risks the whole store at a power cut, "
            "not just the last writes; leave sync out, use engine='hybrid', or pass "
            "allow_unsafe_sync=True at your own risk"
        )

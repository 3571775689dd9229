"""The hybrid engine: a log for durability, LMDB for size, RAM for speed.

A write goes to the log, then to the memtable. A checkpoint folds the sealed log into
LMDB, moves the memtable into the read cache, and prunes the log. A read asks
memtable, read cache and LMDB in that order and takes no lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hypercache.engines import (
    auditing,
    backup_helper,
    memory_budget,
    merging,
    opening,
)
from hypercache.engines.base import CheckReport, EngineStats, Entry
from hypercache.engines.checkpointer import Checkpointer
from hypercache.engines.disk_limits import BelowMemtable, maybe_disk_capacity
from hypercache.engines.expiry import ExpiryHand, Finder, Listed
from hypercache.engines.logged import LoggedEngine
from hypercache.engines.read_cache import ReadCache
from hypercache.engines.slots import ABSENT, Absent, Slot, slot_of
from hypercache.ops import PUT, Put, check_expiry, check_key, check_value
from hypercache.options import MAX_KEY_BYTES, MAX_VALUE_BYTES, Options
from hypercache.paths import StorePaths
from hypercache.storage import Clock, OsStorage, Storage, SystemClock


class HybridEngine(LoggedEngine):
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
        options = memory_budget.in_short_segments(options, options.memory_bytes)
        paths = StorePaths(path.rstrip("/") or "/")
        opened = opening.open_store(self._storage, paths, options)
        self._uuid, self._wal = opened.uuid, opened.log
        self._store, self._memtable = opened.store, opened.memtable
        self._recovery = opened.recovery
        self._cache = ReadCache(memory_budget.read_cache_bytes(options))
        if options.gives_pages_back:
            self._store.keep_resident(memory_budget.mapped_bytes(options))
        super().__init__(
            paths,
            options,
            clock or SystemClock(),
            opened.log,
            opened.memtable,
            opened.lock,
        )
        try:
            self._upkeep = self._checkpoints = Checkpointer(
                (self._storage, paths, self._uuid, options),
                (self._alone, self._wal, self._commit),
                (self._memtable, self._cache, self._store),
                self._clock,
                opened.lock,
            )
            self._below = BelowMemtable(opened.memtable, opened.store)
            self._hand = ExpiryHand(self._below, self.now_ms)
            self._limit()
        except BaseException:
            opened.store.close()
            opened.lock.release()
            raise

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

    def put(self, key: bytes, value: bytes, expires_at_ms: int = 0) -> int:
        """Store a value and return its LSN once it is acknowledged."""
        if not 0 < len(key) <= MAX_KEY_BYTES or len(value) > MAX_VALUE_BYTES:
            check_key(key)
            check_value(key, value)
        if self._capacity is not None:
            return self.apply([Put(key, value, expires_at_ms)])
        if self._state.busy:
            self._refuse_inside()
        with self._lock:
            if self._writing or self._state.attention:
                self._admit()
            self._writing = True
            try:
                # Called through a local: half the cost in CPython 3.11.
                pack = self._pack
                if expires_at_ms:
                    check_expiry(key, expires_at_ms)
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

    def checkpoint(self) -> int:
        """Fold the log into LMDB and prune it; return the LSN reached."""
        self._refuse()
        with self._checkpoints.turn():
            self._refuse()
            self._checkpoints.run()
            return self._wal.marker.checkpoint_lsn

    def backup(self, destination: str) -> int:
        """Copy the store into a new directory and return the LSN of the copy."""
        self._refuse()
        place = self._storage, self._paths, opening.ENGINE
        with self._lock:
            lsn = self._log.appended_lsn()
        return backup_helper.back_up(*place, destination, lsn)

    def check(self) -> CheckReport:
        """Read the log and LMDB back and report what is wrong; changes nothing."""
        self._refuse()
        with self._checkpoints.turn():
            with self._lock:
                self._refuse()
                log = self._wal.marker, self._wal.end()
            problems = auditing.problems(
                self._storage, self._paths, self._uuid, log, self._store
            )
            self._checkpoints.damaged = bool(problems)
        return CheckReport(tuple(problems), 0 if problems else self.count())

    def stats(self) -> EngineStats:
        """Return the numbers of this moment."""
        self._refuse()
        state = self._state
        found = EngineStats(
            engine="hybrid",
            path=self._paths.root,
            sync=state.policy.value,
            log_io=self._log.io_name,
            appended_lsn=self._log.appended_lsn(),
            synced_lsn=state.synced_lsn,
            checkpoint_lsn=self._wal.marker.checkpoint_lsn,
            memtable_count=len(self._memtable),
            read_cache_bytes=self._cache.used_bytes,
            log_bytes=self._wal.kept_bytes,
            disk_bytes=auditing.disk_bytes(self._storage, self._paths),
            checkpoint_count=self._checkpoints.count,
            maintenance=self._checkpoints.mode,
            maintenance_state=self._checkpoints.activity,
            maintenance_lag_bytes=self._wal.kept_bytes,
            maintenance_error=self._checkpoints.error,
            maintenance_wait_ms=self._checkpoints.wait_ms,
            failure=str(state.failure) if state.failure else None,
            recovery=self._recovery,
            expired_count=self._departures.expired_count,
        )
        return self._capacity.filled_in(found) if self._capacity is not None else found

    @property
    def may_expire(self) -> bool:
        """Tell whether an entry may have an expiry."""
        slots = self._memtable.slots().values()
        return (
            any(isinstance(slot, tuple) for slot in slots)
            or self._store.state().expiring_count > 0
        )

    def _finder(self, *, whole: bool) -> Finder:
        if not whole:
            return self._hand
        slots = self._memtable.slots().items()
        expiring = [key for key, slot in slots if isinstance(slot, tuple)]
        return Listed(expiring, ExpiryHand(self._below, self.now_ms))

    def _limit(self) -> None:
        options, memtable = self._options, self._memtable
        capacity = maybe_disk_capacity(
            options,
            self.now_ms,
            lambda key: self._newest(key)[1],
            self._below,
        )
        if capacity is None:
            return
        if not memtable.cleared_lsn:
            state = self._store.state()
            capacity.begin_with(state.entry_count, state.data_bytes)
        for key, slot in memtable.slots().items():
            capacity.note(key, self._stored(key), slot)
        self._keep_within(capacity)

    def _stored(self, key: bytes) -> Slot:
        found = None if self._memtable.cleared_lsn else self._store.find(key)
        return slot_of(*found) if found else None

    def _close_cleanly(self) -> None:
        self._checkpoints.close_cleanly()

    def _release(self) -> None:
        self._checkpoints.release()
        self._store.close()

    def _cleared(self) -> None:
        self._cache.clear()

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
        found = self._store.find(key)
        if found is None:
            return None
        slot = slot_of(*found)
        self._cache.add(key, slot, version)
        return slot

    def _slot(self, key: bytes) -> Slot:
        slot = self._memtable.active.get(key, ABSENT)
        return self._find_below(key) if isinstance(slot, Absent) else slot

"""The durable memory engine: everything in one dict, and in an append-only log."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import partial

from hypercache.aof import manifest as manifests
from hypercache.aof.manifest import Manifest
from hypercache.aof.writer import AofWriter
from hypercache.engines import (
    aof_audit,
    auditing,
    backup_helper,
    identity,
    memory_budget,
    memory_table,
    replay_helper,
)
from hypercache.engines.base import CheckReport, EngineStats, Entry
from hypercache.engines.capacity import maybe_capacity
from hypercache.engines.compactor import Compactor
from hypercache.engines.expiry import ExpiryIndex, Finder
from hypercache.engines.logged import LoggedEngine
from hypercache.engines.memory_table import FRAME_EXTRA_BYTES, Loader, MemoryTable
from hypercache.engines.opening import notes_on
from hypercache.engines.replay_helper import HelperFailedError, ReadAhead
from hypercache.engines.slots import Slot
from hypercache.ops import PUT, Put, check_expiry, check_key, check_value
from hypercache.options import MAX_KEY_BYTES, MAX_VALUE_BYTES, Options
from hypercache.paths import StorePaths
from hypercache.storage import Clock, OsStorage, Storage, SystemClock

ENGINE = "memory"


class DurableMemoryEngine(LoggedEngine):
    """Keep everything in RAM and log every change; a new open loads it again.

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
        if options.max_bytes is not None:
            options = memory_budget.in_short_segments(options, options.max_bytes)
        paths = StorePaths(path.rstrip("/") or "/")
        lock = identity.claim_directory(self._storage, paths, options)
        try:
            create = partial(_create, self._storage, paths)
            found = identity.load_or_create(
                self._storage, paths, options, ENGINE, create
            )
            self._uuid = found.uuid_bytes
            manifest = manifests.load(self._storage, paths)
            place = self._storage, paths, options, self._uuid
            self._aof = AofWriter(*place, manifest)
            ahead = replay_helper.maybe_start(
                self._storage, paths, self._uuid, manifest.extent, options.maintenance
            )
            with ahead or nullcontext():
                self._memory = load(self._aof, ahead)
            self._aof.settle()
            self._aof.prune()
            self._recovery = notes_on(self._aof.torn_tail)
        except BaseException:
            lock.release()
            raise
        system_clock = clock or SystemClock()
        super().__init__(paths, options, system_clock, self._aof, self._memory, lock)
        try:
            self._upkeep = self._compactions = Compactor(
                (self._storage, paths, self._uuid, options),
                (self._alone, self._aof, self._commit),
                self._memory,
                system_clock,
                lock,
            )
            self._expiry = ExpiryIndex(self.now_ms)
            self._memory.index(self._expiry)
            self._limit()
        except BaseException:
            lock.release()
            raise

    def get(self, key: bytes) -> bytes | None:
        """Return the value, None for a key that is absent or expired."""
        if self._refusal is not None:
            raise self._refusal()
        slot = self._memory.active.get(key)
        if type(slot) is bytes:
            return slot
        entry = self._live(slot)
        return entry.value if entry else None

    def get_entry(self, key: bytes) -> Entry | None:
        """Return value and expiry, None for a key that is absent or expired."""
        self._refuse()
        return self._live(self._memory.active.get(key))

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values of the keys that are present, as of one moment."""
        with self._lock:
            self._refuse()
            found = ((key, self.get(key)) for key in keys)
            return {key: value for key, value in found if value is not None}

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
                    self._memory.stage(lsn, {key: slot})
                else:
                    self._place(key, slot)
            finally:
                self._writing = False
        if self._deferred or self._compactions.due:
            self._settle(lsn)
        return lsn

    def scan(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        *,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, Entry]]:
        """Yield the live entries with start <= key < stop in key order."""
        self._refuse()
        table = self._memory.active
        yield from memory_table.scan(table, self.get_entry, (start, stop), reverse)

    def count(self) -> int:
        """Return the number of live keys; looks at all entries if any can expire."""
        self._refuse()
        with self._lock:
            slots = self._memory.active
            if not self._memory.expiring_count:
                return len(slots)
            return sum(self._live(slot) is not None for slot in slots.values())

    def checkpoint(self) -> int:
        """Bring everything acknowledged to the medium: the log is the store."""
        return self.sync()

    def compact(self) -> int:
        """Rewrite the log as one base; return the LSN that it holds."""
        self._refuse()
        with self._compactions.turn():
            self._refuse()
            self._compactions.run()
            return self._aof.extent.floor_lsn

    def backup(self, destination: str) -> int:
        """Copy the store into a new directory and return the LSN of the copy."""
        self._refuse()
        place = self._storage, self._paths, ENGINE
        with self._lock:
            lsn = self._log.appended_lsn()
        return backup_helper.back_up(*place, destination, lsn)

    def check(self) -> CheckReport:
        """Read the log back and report what is wrong; changes nothing."""
        self._refuse()
        with self._compactions.turn():
            with self._lock:
                self._refuse()
                log = self._aof.manifest, self._aof.end()
            problems = aof_audit.problems(self._storage, self._paths, self._uuid, log)
            self._compactions.damaged = bool(problems)
        return CheckReport(tuple(problems), 0 if problems else self.count())

    def stats(self) -> EngineStats:
        """Return the numbers of this moment."""
        self._refuse()
        state, upkeep = self._state, self._compactions
        found = EngineStats(
            engine=ENGINE,
            path=self._paths.root,
            sync=state.policy.value,
            log_io=self._log.io_name,
            appended_lsn=self._log.appended_lsn(),
            synced_lsn=state.synced_lsn,
            memtable_count=len(self._memory.active),
            log_bytes=upkeep.disk_bytes,
            live_bytes=self._memory.live_bytes,
            base_bytes=self._aof.base_bytes,
            disk_bytes=auditing.disk_bytes(self._storage, self._paths),
            compaction_count=upkeep.count,
            maintenance=upkeep.mode,
            maintenance_state=upkeep.activity,
            maintenance_lag_bytes=self._log.kept_bytes,
            maintenance_error=upkeep.error,
            maintenance_wait_ms=upkeep.wait_ms,
            failure=str(state.failure) if state.failure else None,
            recovery=self._recovery,
            expired_count=self._departures.expired_count,
        )
        return self._capacity.filled_in(found) if self._capacity is not None else found

    @property
    def may_expire(self) -> bool:
        """Tell whether an entry may have an expiry."""
        return self._memory.expiring_count > 0

    def _finder(self, *, whole: bool) -> Finder:
        del whole
        table = self._memory
        self._expiry.fit(table.expiring_count, table.active.items())
        return self._expiry

    def _limit(self) -> None:
        capacity = maybe_capacity(
            self._options,
            self.now_ms,
            lambda key: self._newest(key)[1],
            lambda: self._memory.active,
            self._expiry,
        )
        if capacity is not None:
            capacity.load(self._memory.active.items())
            self._keep_within(capacity)

    def _place(self, key: bytes, slot: Slot) -> None:
        table = self._memory
        before = table.active.get(key)
        table.active[key] = slot
        if type(slot) is bytes and type(before) is bytes:
            table.live_bytes += len(slot) - len(before)
        elif type(slot) is bytes and before is None:
            table.live_bytes += len(slot) + len(key) + FRAME_EXTRA_BYTES
        else:
            table.account(key, before, slot)

    def _slot(self, key: bytes) -> Slot:
        return self._memory.active.get(key)

    def _cleared(self) -> None:
        pass  # nothing lies below the table

    def _release(self) -> None:
        self._compactions.abandon()

    def _close_cleanly(self) -> None:
        self._compactions.close_cleanly()


def load(log: AofWriter, ahead: ReadAhead | None = None) -> MemoryTable:
    """Return the table that a log stands for, and leave the log at its end.

    What `ahead` reads is taken from there, and read again here if it fails.
    """
    collects = gc.isenabled()
    # Collecting over all entries of a log takes its time, and there are no cycles.
    gc.disable()
    try:
        if ahead is not None:
            try:
                return _load(log, ahead)
            except HelperFailedError as error:
                replay_helper.log_failure(error)
        return _load(log, None)
    finally:
        if collects:
            gc.enable()


def _load(log: AofWriter, ahead: ReadAhead | None) -> MemoryTable:
    loader, reader = Loader(), log.reader()
    for block in log.base_blocks():
        loader.add(block)
    if ahead is not None:
        loader.replay(ahead.beside(reader))
    loader.replay(log.unpacked(reader))
    return loader.finish()


def _create(storage: Storage, paths: StorePaths, _uuid: bytes) -> None:
    identity.make_empty(storage, paths.aof)
    manifests.store(storage, paths, Manifest())

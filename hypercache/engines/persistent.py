"""The persistent engine: LMDB alone, shared by several processes.

Every batch is one synced commit; threads that write at the same time share one. Reads
go to LMDB, each in a short transaction of its own. See "Several processes" in
docs/design.md.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from hypercache.engines.commit_queue import CommitQueue
from hypercache.engines.envelope import Stored
from hypercache.engines.lmdb_batch import WriteBatch
from hypercache.engines.shared_writes import BatchWrite, ClearWrite, UpdateWrite, Write
from hypercache.engines.slots import ExpiryClock, slot_of
from hypercache.errors import (
    ConfigError,
    HyperCacheError,
    LimitError,
    StorageError,
    StorageFailedError,
)
from hypercache.ops import KeyOp, Put, check_key, check_value
from hypercache.options import MIB, Options, SyncPolicy
from hypercache.paths import StorePaths
from hypercache.storage import Clock, OsStorage, Storage, SystemClock

_log = logging.getLogger(__name__)
# One transaction of a group: so that its pages fit in RAM and its last one waits little.
_GROUP_COUNT = 256
_GROUP_BYTES = 4 * MIB
# A reader that was killed keeps pages from being used again until a writer clears it:
# each does so after this long, and whenever the file had to grow.
_CLEAR_READERS_EVERY_S = 1.0


class PersistentEngine(StorageEngine):
    """Keep everything in LMDB, for any number of processes at once.

    Raises:
        ConfigError, StoreLockedError, UnsupportedFormatError, CorruptionError,
        StorageError: at construction; nothing was changed.
    """

    _owner: int | None  # the thread that is inside `exclusive`
    _busy: set[int]  # the threads that are inside a write

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
        self._clock = clock or SystemClock()
        self._paths = StorePaths(path.rstrip("/") or "/")
        self._policy = options.sync
        self._opened = shared_store.open_store(self._storage, self._paths, options)
        self._store, self._writer = self._opened.store, self._opened.writer
        expiry = ExpiryClock(self._clock)
        self._live_slot, self._expiry_ms = expiry.live, expiry.now_ms
        self._synced_lsn = self._store.state().checkpoint_lsn
        self._readers_cleared_at = self._clock.monotonic()
        self._last_page = self._store.last_page()
        self._refusal: Callable[[], HyperCacheError] | None = None
        self._failure: StorageError | None = None
        self._reset()
        self._opened.lock.on_fork = self._forked

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
        check_key(key)
        check_value(key, value)
        return self._run(BatchWrite(self._live, [Put(key, value, expires_at_ms)]))

    def apply(self, ops: Sequence[KeyOp]) -> int:
        """Apply a batch, all or none, and return the LSN of its last op."""
        for op in ops:
            check_op(op)
        return self._run(BatchWrite(self._live, ops))

    def update(self, key: bytes, change: Change) -> int | None:
        """Apply to one key what `change` makes of its present entry, atomically.

        `change` may be called in another thread that writes at the same time.
        """
        check_key(key)
        write = UpdateWrite(self._live, key, change)
        self._submit(write)
        return write.result()

    def clear(self) -> int:
        """Remove every key and return the LSN."""
        return self._run(ClearWrite(self._live, 0))

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep all other writers of all processes out while the block runs.

        What is written inside is committed at once.
        """
        me = self._enter()
        try:
            with self._writing():
                outer, self._owner = self._owner, me
                self._busy.discard(me)
                try:
                    yield
                finally:
                    self._owner = outer
        finally:
            self._busy.discard(me)

    def sync(self) -> int:
        """Bring everything acknowledged to the medium; return the LSN reached."""
        self._refuse()
        lsn = self._store.state().checkpoint_lsn
        if self._policy is SyncPolicy.NO:
            self._raise_if_failed()
            try:
                self._store.sync()
            except StorageError as error:
                self._fail(error)
                self._raise_if_failed()
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
            with self.exclusive():
                found = lmdb_walk.verify_here(self._paths.lmdb, self._store)
        problems += found
        return CheckReport(tuple(problems), 0 if problems else self.count())

    def backup(self, destination: str) -> int:
        """Copy the store into a new directory and return the LSN of the copy."""
        self._refuse()
        place = self._storage, self._paths, self._store
        return backup_helper.back_up_shared(*place, destination)

    def stats(self) -> EngineStats:
        """Return the numbers of this moment."""
        self._refuse()
        lsn = self._store.state().checkpoint_lsn
        synced_lsn = lsn if self._policy is SyncPolicy.ALWAYS else self._synced_lsn
        info = self._storage.info(self._paths.lmdb_data)
        return EngineStats(
            engine=shared_store.ENGINE,
            path=self._paths.root,
            sync=self._policy.value,
            appended_lsn=lsn,
            synced_lsn=synced_lsn,
            checkpoint_lsn=synced_lsn,
            disk_bytes=info.size_bytes if info else 0,
            failure=str(self._failure) if self._failure else None,
        )

    def close(self) -> None:
        """Bring everything to the medium and let go of all files.

        Raises:
            StorageError: the last sync failed; what it should have brought to the
                medium may be lost. Everything is released all the same.
        """
        me = threading.get_ident()
        if self._refusal is None and (me in self._busy or me == self._owner):
            raise refusals.reentrant(self._paths.root)
        with self._lock:
            if self._refusal is not None:
                return
            self._refusal = partial(refusals.closed, self._paths.root)
            cleanly = self._failure is None
            try:
                if cleanly and self._policy is SyncPolicy.NO:
                    cleanly = False
                    self._store.sync()
                    cleanly = True
            finally:
                shared_store.close_store(
                    self._storage, self._paths, self._opened, cleanly=cleanly
                )

    def _live(self, found: Stored | Entry | None) -> Entry | None:
        if found is None:
            return None
        return self._live_slot(slot_of(found.value, found.expires_at_ms))

    def _run(self, write: Write) -> int:
        self._submit(write)
        return write.result() or 0

    def _submit(self, write: Write) -> None:
        me = self._enter()
        try:
            if self._owner == me:
                with self._writing():
                    self._commit([write])
            else:
                self._queue.run(write)
        finally:
            self._busy.discard(me)

    def _enter(self) -> int:
        self._refuse()
        me = threading.get_ident()
        if me in self._busy:
            raise refusals.reentrant(self._paths.root)
        self._busy.add(me)
        return me

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Keep out the writers of this process, then those of the others."""
        with self._lock:
            self._refuse()
            self._raise_if_failed()
            if self._owner is not None:  # this thread: it has both locks already
                yield
                return
            try:
                self._writer.acquire()
                yield
            finally:
                self._writer.release()

    def _commit(self, group: Sequence[Write]) -> None:
        """Commit a group in one transaction, or say of each why not."""
        began = [0]

        def stage(batch: WriteBatch) -> None:
            began[0] = batch.transaction_id
            for write in group:
                write.stage(batch)

        try:
            self._clear_readers_if_due()
            self._store.write(stage)
        except BaseException as error:
            # An interrupt may come when the commit is over; then it stands.
            if 0 < began[0] <= self._store.transaction_id():
                _settle(group)
                raise
            self._not_committed(group, error)
        else:
            _settle(group)

    def _not_committed(self, group: Sequence[Write], error: BaseException) -> None:
        if not isinstance(error, Exception):  # an interrupt: the next leader goes on
            raise error
        if type(error) is StorageError:
            self._fail(error)
            for write in group:
                write.fail(self._failed_error())
        elif len(group) == 1:
            group[0].fail(error)
        else:  # one of them is too large for the disk, or impossible: find out which
            for write in group:
                self._commit([write])

    def _fail(self, error: StorageError) -> None:
        # LMDB itself would go on and acknowledge, with pages that never came down.
        if self._failure is None:
            _log.error("a commit failed, no more writes are accepted: %s", error)
        self._failure = self._failure or error

    def _failed_error(self) -> StorageFailedError:
        failed = StorageFailedError(
            f"a commit to {self._paths.root} failed and no more writes are accepted: "
            f"{self._failure}; this one may be lost; reads still work; close the "
            "store, look at the disk, open it again"
        )
        failed.__cause__ = self._failure
        return failed

    def _raise_if_failed(self) -> None:
        if self._failure is not None:
            raise self._failed_error()

    def _clear_readers_if_due(self) -> None:
        now, last_page = self._clock.monotonic(), self._store.last_page()
        late = now - self._readers_cleared_at >= _CLEAR_READERS_EVERY_S
        if late or last_page > self._last_page:
            self._readers_cleared_at, self._last_page = now, last_page
            self._store.clear_dead_readers()

    def _refuse(self) -> None:
        if self._refusal is not None:
            raise self._refusal()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._owner, self._busy = None, set()
        self._queue: CommitQueue[Write] = CommitQueue(
            self._writing,
            self._commit,
            max_count=_GROUP_COUNT,
            max_bytes=_GROUP_BYTES,
        )

    def _forked(self) -> None:
        # In the child of a fork: another thread may have held any lock at that moment.
        self._refusal = partial(refusals.forked, self._paths.root)
        self._reset()


def _settle(group: Sequence[Write]) -> None:
    for write in group:
        write.settle()


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

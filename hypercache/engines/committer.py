"""Who may write to a store that several processes share, and how it is committed.

Locks, in the order in which they are taken: the lock of this process (reentrant; a
`exclusive` block keeps it), the lock that all processes write under, then LMDB's own.
The queue's mutex is a leaf.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from hypercache.engines import refusals
from hypercache.engines.commit_queue import CommitQueue
from hypercache.engines.lmdb_batch import WriteBatch
from hypercache.engines.lmdb_store import LmdbStore
from hypercache.engines.shared_writes import Write
from hypercache.errors import HyperCacheError, StorageError, StorageFailedError
from hypercache.locking import WriterLock
from hypercache.options import MIB

_log = logging.getLogger(__name__)
# One transaction of a group: its pages fit in RAM, and its last one waits little.
_GROUP_COUNT = 256
_GROUP_BYTES = 4 * MIB


class Committer:
    """Commit the writes of one process; one per open store.

    Attributes:
        refusal: makes the error that every call gets, once the store is closed or
            inherited through a fork.
        failure: the first commit that failed; nothing is written after it.
    """

    _owner: int | None  # the thread that is inside `exclusive`
    _busy: set[int]  # the threads that are inside a write

    def __init__(self, root: str, store: LmdbStore, writer: WriterLock) -> None:
        self._root, self._store, self._writer = root, store, writer
        self.refusal: Callable[[], HyperCacheError] | None = None
        self.failure: StorageError | None = None
        self._reset()

    def submit(self, write: Write) -> None:
        """Return when a write is done; `write.result` says what became of it."""
        me = self._enter()
        try:
            if self._owner == me:
                with self._alone(writing=True):
                    self._commit([write])
            else:
                self._queue.run(write)
        finally:
            self._busy.discard(me)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep all other writers of all processes out while the block runs."""
        me = self._enter()
        try:
            with self._alone(writing=True):
                outer, self._owner = self._owner, me
                self._busy.discard(me)
                try:
                    yield
                finally:
                    self._owner = outer
        finally:
            self._busy.discard(me)

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Keep all writers out while this thread reads, a failed commit or not."""
        me = self._enter()
        try:
            with self._alone(writing=False):
                yield
        finally:
            self._busy.discard(me)

    @contextlib.contextmanager
    def ending(self) -> Iterator[bool]:
        """Refuse all from now on and wait for the writers; False if that was done.

        Raises:
            ReentrantCallError: this thread is inside a write or a block of its own.
        """
        me = threading.get_ident()
        if self.refusal is None and (me in self._busy or me == self._owner):
            raise refusals.reentrant(self._root)
        with self._lock:
            first = self.refusal is None
            if first:
                self.refusal = partial(refusals.closed, self._root)
            yield first

    def forked(self, refusal: Callable[[], HyperCacheError]) -> None:
        """Start over in the child of a fork, where nobody holds a lock any more."""
        self.refusal = self.refusal or refusal
        self._reset()

    def fail(self, error: StorageError) -> None:
        """Latch: accept nothing more."""
        # LMDB itself would go on and acknowledge, with pages that never came down.
        if self.failure is None:
            _log.error("a commit failed, no more writes are accepted: %s", error)
        self.failure = self.failure or error

    def raise_if_failed(self) -> None:
        """Raise StorageFailedError if a commit has failed."""
        if self.failure is not None:
            raise self._failed_error()

    def _enter(self) -> int:
        if self.refusal is not None:
            raise self.refusal()
        me = threading.get_ident()
        if me in self._busy:
            # From a signal handler, say; the locks are reentrant, half a write is not.
            raise refusals.reentrant(self._root)
        self._busy.add(me)
        return me

    @contextlib.contextmanager
    def _alone(self, *, writing: bool) -> Iterator[None]:
        """Keep out the writers of this process, then those of the others."""
        with self._lock:
            if self.refusal is not None:
                raise self.refusal()
            if writing:
                self.raise_if_failed()
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
            # Every time: it takes a microsecond, and what a killed reader keeps from
            # being used again makes the file longer for good.
            self._store.clear_dead_readers()
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
            self.fail(error)
            for write in group:
                write.fail(self._failed_error())
        elif len(group) == 1:
            group[0].fail(error)
        else:  # one of them is too large for the disk, or impossible: find out which
            for write in group:
                self._commit([write])

    def _failed_error(self) -> StorageFailedError:
        failed = StorageFailedError(
            f"a commit to {self._root} failed and no more writes are accepted: "
            f"{self.failure}; this one may be lost; reads still work; close the "
            "store, look at the disk, open it again"
        )
        failed.__cause__ = self.failure
        return failed

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._owner, self._busy = None, set()
        self._queue: CommitQueue[Write] = CommitQueue(
            partial(self._alone, writing=True),
            self._commit,
            max_count=_GROUP_COUNT,
            max_bytes=_GROUP_BYTES,
        )


def _settle(group: Sequence[Write]) -> None:
    for write in group:
        write.settle()

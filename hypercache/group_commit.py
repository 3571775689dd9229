"""Decide who fsyncs, who waits, and what is durable.

`CommitState` is a plain state machine: no threads, no clock, no files, so that a test
can drive it through every interleaving. `GroupCommit` is the thin shell of threads
around it. The one that finds no sync running becomes the leader: it syncs once for
everybody who appended before, and tells them.

The state has a lock of its own, taken after the lock of the log's owner where both are
needed. So a flush goes on while a long transaction keeps the owner's lock, and the sync
itself, under `sync_mutex` alone, lets others append meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from hypercache.errors import StorageError, StorageFailedError, WaitTimeoutError
from hypercache.options import SyncPolicy
from hypercache.storage import Clock

_log = logging.getLogger(__name__)

# A flush begins this often; the rest of the promised second is for the fsync itself.
FLUSH_EVERY_S = 0.8
# No unsynced byte gets older than this: writers wait for the running fsync first.
STALL_AFTER_S = 2.0


class CommitState:
    """Keep the watermark, the running sync and the first failure of one log.

    `attention` is False as long as a writer may simply append; writers test this
    one attribute and call `admit` when it is set.
    """

    def __init__(self, policy: SyncPolicy, synced_lsn: int) -> None:
        self.policy = policy
        self.synced_lsn = synced_lsn
        self.failure: BaseException | None = None
        self.in_flight = False
        self.closed = False
        self._covered_at: float | None = None
        self._oldest_in_flight = 0.0
        self._may_stall = policy is SyncPolicy.EVERYSEC
        self._needs_flusher = policy is SyncPolicy.EVERYSEC
        self.attention = self._needs_flusher

    def flusher_started(self) -> None:
        """Note that somebody flushes every `FLUSH_EVERY_S` seconds from now on."""
        self._needs_flusher = False
        self._update()

    def is_stalled(self, now: float) -> bool:
        """Tell whether a running sync may hold back bytes for too long.

        Its oldest byte came after the look before, which was one flush interval ago,
        or longer if a slow sync lay between.
        """
        late = now - self._oldest_in_flight >= STALL_AFTER_S
        return self._may_stall and self.in_flight and late

    def begin(self, appended_lsn: int, now: float) -> int | None:
        """Return the LSN that a sync starting now will reach, None if not needed."""
        if self.in_flight or self.failure:
            return None
        before, self._covered_at = self._covered_at, now
        if appended_lsn <= self.synced_lsn:
            return None
        self._oldest_in_flight = now - FLUSH_EVERY_S if before is None else before
        self.in_flight = True
        self._update()
        return appended_lsn

    def finish(self, lsn: int) -> None:
        """Note that the sync which `begin` announced has succeeded."""
        self.in_flight = False
        self.reached(lsn)

    def abandon(self) -> None:
        """Note that the sync was interrupted before it told anything."""
        self.in_flight = False
        self._update()

    def reached(self, lsn: int) -> None:
        """Raise the watermark: everything up to `lsn` is on the medium."""
        self.synced_lsn = max(self.synced_lsn, lsn)
        self._update()

    def fail(self, cause: BaseException) -> None:
        """Latch: the first cause stays, nothing is accepted from now on."""
        self.in_flight = False
        self.failure = self.failure or cause
        self._update()

    def close(self) -> None:
        """Make every writer ask before it appends; the owner refuses them."""
        self.closed = True
        self._update()

    def raise_if_failed(self) -> None:
        """Raise StorageFailedError, chained to the first failure, if there was one."""
        if self.failure is not None:
            raise StorageFailedError(
                f"the log failed and accepts no more writes: {self.failure}; reads "
                "still work; close the store, look at the disk, open it again"
            ) from self.failure

    def _update(self) -> None:
        may_stall = self._may_stall and self.in_flight
        refuses = self.closed or self.failure is not None
        self.attention = may_stall or refuses or self._needs_flusher


class GroupCommit:
    """Run the state machine with threads; one per open log.

    Args:
        sync_file: brings everything appended so far to the medium.
        appended_lsn: returns the last LSN appended; called without a lock.
        on_synced: told of a new watermark before anybody who waits for it; called
            without a lock.
    """

    def __init__(
        self,
        state: CommitState,
        clock: Clock,
        *,
        sync_file: Callable[[], None],
        appended_lsn: Callable[[], int],
        on_synced: Callable[[int], None],
    ) -> None:
        self.state = state
        self.sync_mutex = threading.Lock()
        # Reentrant, because a signal handler may write while this thread waits.
        self._changed = threading.Condition(threading.RLock())
        self._clock = clock
        self._sync_file = sync_file
        self._appended_lsn = appended_lsn
        self._on_synced = on_synced
        self._closing = False
        self._flusher: threading.Thread | None = None

    def admit(self) -> None:
        """Let a writer in: refuse after a failure, wait while the disk stalls.

        Called under the owner's lock before anything was changed. It stays held: no
        write could go on anyway, and reads need no lock.
        """
        with self._changed:
            self.state.raise_if_failed()
            while self.state.is_stalled(self._clock.monotonic()):
                self._changed.wait()
                self.state.raise_if_failed()
            if self.state.policy is SyncPolicy.EVERYSEC and self._flusher is None:
                self._start_flusher()

    def wait(self, lsn: int, timeout: float | None = None) -> None:
        """Return once `lsn` is on the medium; called without the owner's lock.

        Raises:
            StorageFailedError: the log failed first; the write may be lost.
            WaitTimeoutError: `timeout` seconds passed first.
        """
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        with self._changed:
            while self.state.synced_lsn < lsn:
                self.state.raise_if_failed()
                target = self._begin()
                if target is not None:
                    self._lead(target)
                else:
                    self._follow(lsn, deadline)

    def flush(self) -> int:
        """Sync everything appended before the call; return the watermark."""
        self.wait(self._appended_lsn())
        return self.state.synced_lsn

    def reached(self, lsn: int) -> None:
        """Publish that the owner itself has synced up to `lsn`."""
        self._on_synced(lsn)
        with self._changed:
            self.state.reached(lsn)
            self._changed.notify_all()

    def fail(self, cause: BaseException) -> None:
        """Latch the log and wake everybody who waits."""
        with self._changed:
            self._fail(cause)

    def stop(self) -> None:
        """End the flusher thread; called before a close."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._flusher is not None:
            self._flusher.join()

    def _lead(self, target: int) -> None:
        self._changed.release()
        try:
            failure = self._sync_and_tell(target)
        finally:
            self._changed.acquire()
        if failure is None:
            self.state.finish(target)
        elif isinstance(failure, StorageError):
            self._fail(failure)
        else:  # KeyboardInterrupt: the disk said nothing, so the next leader may try
            self.state.abandon()
        self._changed.notify_all()
        if failure is not None and not isinstance(failure, StorageError):
            raise failure

    def _sync_and_tell(self, target: int) -> BaseException | None:
        try:
            with self.sync_mutex:
                self._sync_file()
            self._on_synced(target)
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            return error
        return None

    def _fail(self, cause: BaseException) -> None:
        if self.state.failure is None:
            _log.error("the log failed, no more writes are accepted: %s", cause)
        self.state.fail(cause)
        self._changed.notify_all()

    def _follow(self, lsn: int, deadline: float | None) -> None:
        left = None if deadline is None else deadline - self._clock.monotonic()
        if left is not None:
            left = min(left, threading.TIMEOUT_MAX)
        if (left is not None and left <= 0) or not self._changed.wait(left):
            raise WaitTimeoutError(f"LSN {lsn} was not on the medium in time")

    def _begin(self) -> int | None:
        return self.state.begin(self._appended_lsn(), self._clock.monotonic())

    def _start_flusher(self) -> None:
        flusher = threading.Thread(
            target=self._flush_regularly, name="hypercache-flusher", daemon=True
        )
        try:
            flusher.start()
        except RuntimeError as error:
            raise StorageError(f"no thread to sync the log: {error}") from error
        self._flusher = flusher
        self.state.flusher_started()

    def _flush_regularly(self) -> None:
        # By the clock, not when a write says so: between a writer's look at the state
        # and its append a flush could begin and end, and would miss it.
        with self._changed:
            while not self._closing and self.state.failure is None:
                began = self._clock.monotonic()
                if (target := self._begin()) is not None:
                    self._lead(target)
                elif self.state.in_flight:
                    # Somebody else's, and it may take long: what was written since it
                    # began must not wait for its end and for an interval, too.
                    self._changed.wait()
                    continue
                self._wait_until(began + FLUSH_EVERY_S)

    def _wait_until(self, moment: float) -> None:
        while not self._closing and self.state.failure is None:
            left = moment - self._clock.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)

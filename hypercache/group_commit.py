"""Decide who fsyncs, who waits, and what is durable.

`CommitState` is a plain state machine: no threads, no clock, no files, so that a test
can drive it through every interleaving. `GroupCommit` is the thin shell of threads
around it. The one that finds no sync running becomes the leader: it syncs once for
everybody who appended before, and tells them.

Who waits has a lock of its own, so that a sync wakes those it was for, and of the rest
only the one that leads the next; woken all at once they would queue for the GIL.

The state has a lock of its own, taken after the lock of the log's owner where both are
needed. So a flush goes on while a long transaction keeps the owner's lock, and the sync
itself, under `sync_mutex` alone, lets others append meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from hypercache.errors import (
    ReentrantCallError,
    StorageError,
    StorageFailedError,
    WaitTimeoutError,
)
from hypercache.options import MAX_LSN, SyncPolicy
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
        self.busy = False  # whether any thread is inside, see `refuse_inside`
        self._leader: int | None = None
        self._entered: int | None = None
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

    def enter(self, thread: int) -> None:
        """Note which thread looks whether it has to lead."""
        self._entered, self.busy = thread, True

    def leave(self) -> None:
        """Note that this thread is done, or waits for another one."""
        self._entered, self.busy = None, self._leader is not None

    def lead(self, thread: int | None) -> None:
        """Note that the thread which has entered leads; None: one without signals."""
        self._leader, self._entered, self.busy = thread, None, thread is not None

    def led(self) -> None:
        """Note that it has led, and has still to say so."""
        self._leader, self._entered = None, self._leader
        self.busy = self._entered is not None

    def refuse_inside(self, thread: int) -> None:
        """Refuse a call by a signal handler whose thread would have to go on for it.

        Raises:
            ReentrantCallError: the thread leads, or is about to know whether it does.
        """
        if thread in (self._leader, self._entered):
            raise ReentrantCallError(
                "a write or sync is under way in this thread; let the signal handler "
                "leave a note, and call when it has ended"
            )

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


class _Follower:
    """A writer that waits until its LSN is synced, or until it has to lead."""

    __slots__ = ("lsn", "must_lead", "woken")

    def __init__(self, lsn: int) -> None:
        self.lsn = lsn
        self.must_lead = False
        self.woken = threading.Lock()
        self.woken.acquire()


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
        # Both reentrant, because a signal handler may run while its thread is inside.
        self.sync_mutex = threading.RLock()
        self._mutex = threading.RLock()
        self._changed = threading.Condition(self._mutex)  # for all but followers
        self._followers: list[_Follower] = []
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
            ReentrantCallError: a signal handler interrupts the thread that syncs.
            WaitTimeoutError: `timeout` seconds passed first.
        """
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        if self.state.synced_lsn >= lsn:
            return
        me, follower = threading.get_ident(), None
        self.state.refuse_inside(me)
        try:
            while self.state.synced_lsn < lsn:
                follower = self._lead_or_join(lsn, me)
                if follower is not None:
                    self._follow(follower, deadline)
        finally:
            if follower is not None and follower.must_lead:
                with self._mutex:
                    self._wake()  # it does not, so somebody else must

    def flush(self) -> int:
        """Sync everything appended before the call; return the watermark."""
        self.wait(self._appended_lsn())
        return self.state.synced_lsn

    def reached(self, lsn: int) -> None:
        """Publish that the owner itself has synced up to `lsn`."""
        self._on_synced(lsn)
        with self._changed:
            self.state.reached(lsn)
            self._wake()

    def fail(self, cause: BaseException) -> None:
        """Latch the log and wake everybody who waits."""
        with self._changed:
            self._fail(cause)

    def stop(self) -> None:
        """End the flusher thread; called before a close."""
        with self._changed:
            self._closing = True
            self._wake()
        if self._flusher is not None:
            self._flusher.join()

    def _lead_or_join(self, lsn: int, me: int) -> _Follower | None:
        """Sync for all, or return as whom to wait for another's sync."""
        with self._mutex:
            self.state.enter(me)
            try:
                if self.state.synced_lsn >= lsn:
                    self._wake()  # it may have been this thread's turn to lead
                    return None
                self.state.raise_if_failed()
                target = self._begin()
                if target is None:
                    follower = _Follower(lsn)
                    self._followers.append(follower)
                    return follower
                self._lead(target, me)
            finally:
                self.state.leave()
        return None

    def _lead(self, target: int, me: int | None = None) -> None:
        self.state.lead(me)
        self._mutex.release()
        try:
            failure = self._sync_and_tell(target)
        finally:
            self._mutex.acquire()
            self.state.led()
        if isinstance(failure, StorageError):
            self._fail(failure)
        elif failure is None and self.state.failure is None:
            self.state.finish(target)
        else:
            # KeyboardInterrupt: the disk said nothing, so the next leader may try. Or
            # another sync failed meanwhile, and then one that succeeds proves nothing.
            self.state.abandon()
        self._wake()
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
        self._wake()

    def _wake(self) -> None:
        """Wake whose LSN is synced, and if nobody syncs one more, who then leads."""
        # Taken away while it is looked through: a signal handler may come by here, too.
        waiting, self._followers = self._followers, []
        reached = MAX_LSN if self.state.failure else self.state.synced_lsn
        woken = [follower for follower in waiting if follower.lsn <= reached]
        left = [follower for follower in waiting if follower.lsn > reached]
        if left and not self.state.in_flight:
            left[0].must_lead = True
            woken.insert(0, left.pop(0))  # first, because the disk is idle till then
        self._followers = left
        for follower in woken:
            follower.woken.release()
        self._changed.notify_all()

    def _follow(self, follower: _Follower, deadline: float | None) -> None:
        if deadline is None:
            follower.woken.acquire()
            return
        left = min(deadline - self._clock.monotonic(), threading.TIMEOUT_MAX)
        if left <= 0 or not follower.woken.acquire(timeout=left):
            with self._mutex:
                if follower in self._followers:
                    self._followers.remove(follower)
            raise WaitTimeoutError(f"LSN {follower.lsn} was not on the medium in time")

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

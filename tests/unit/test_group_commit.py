"""One sync for all who wait, nobody acknowledged too early, one failure for ever."""

import contextlib
import random
import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hypercache import group_commit
from hypercache.errors import (
    ReentrantCallError,
    StorageError,
    StorageFailedError,
    WaitTimeoutError,
)
from hypercache.group_commit import (
    FLUSH_EVERY_S,
    STALL_AFTER_S,
    CommitState,
    GroupCommit,
)
from hypercache.options import SyncPolicy
from hypercache.storage import SystemClock
from tests.support.clock import FakeClock
from tests.support.processes import Threads

NOW = 1000.0
WAIT_S = 10  # what an event may take on a busy machine; nothing waits that long


# The state machine, step by step


@pytest.fixture
def state():
    return CommitState(SyncPolicy.ALWAYS, synced_lsn=5)


@pytest.fixture
def everysec():
    return CommitState(SyncPolicy.EVERYSEC, synced_lsn=0)


def test_a_sync_reaches_what_was_appended_when_it_began(state):
    assert state.begin(9, NOW) == 9
    state.finish(9)
    assert (state.synced_lsn, state.in_flight) == (9, False)


def test_no_sync_begins_while_one_runs(state):
    assert state.begin(6, NOW) == 6
    assert state.begin(7, NOW) is None
    state.finish(6)
    assert state.begin(7, NOW) == 7


@pytest.mark.parametrize("appended_lsn", [0, 4, 5])
def test_no_sync_begins_when_all_is_synced(state, appended_lsn):
    assert state.begin(appended_lsn, NOW) is None


def test_the_watermark_never_falls(state):
    state.reached(9)
    state.reached(7)
    assert state.synced_lsn == 9
    assert state.begin(10, NOW) == 10
    state.reached(12)
    state.finish(10)
    assert state.synced_lsn == 12


def test_the_first_failure_stays(state):
    first, second = StorageError("first"), StorageError("second")
    state.begin(9, NOW)
    state.fail(first)
    state.fail(second)
    assert state.failure is first
    assert state.begin(10, NOW) is None
    with pytest.raises(StorageFailedError, match="accepts no more writes: first") as at:
        state.raise_if_failed()
    assert at.value.__cause__ is first


def test_after_an_interrupt_the_next_leader_syncs_the_same(state):
    assert state.begin(9, NOW) == 9
    state.abandon()
    assert (state.in_flight, state.synced_lsn, state.failure) == (False, 5, None)
    assert state.begin(9, NOW) == 9


def test_writers_stall_from_a_fixed_age_of_the_oldest_byte_on(everysec):
    assert not everysec.is_stalled(200)
    everysec.begin(1, now=100)
    oldest = 100 - FLUSH_EVERY_S
    assert not everysec.is_stalled(oldest + STALL_AFTER_S - 0.01)
    assert everysec.is_stalled(oldest + STALL_AFTER_S)
    everysec.finish(1)
    assert not everysec.is_stalled(200)


def test_writers_stall_in_time_for_what_was_written_during_a_slow_sync(everysec):
    # A byte written just behind the begin of a sync is the business of the next one.
    everysec.begin(1, now=100)
    everysec.finish(1)
    everysec.begin(2, now=101.1)
    assert not everysec.is_stalled(101.2)
    assert everysec.is_stalled(100 + STALL_AFTER_S)


def test_under_always_nobody_stalls_because_everybody_waits_anyway(state):
    state.begin(9, now=100)
    assert not state.is_stalled(200)


def test_the_promised_second_leaves_time_for_the_sync_itself():
    assert 0 < FLUSH_EVERY_S < 1 < STALL_AFTER_S <= 2


@pytest.mark.parametrize("policy", SyncPolicy)
def test_writers_are_asked_to_attend_only_when_they_must(policy):
    flushed = policy is SyncPolicy.EVERYSEC
    state = CommitState(policy, 0)
    assert state.attention is flushed
    state.flusher_started()
    assert not state.attention
    state.begin(1, NOW)
    assert state.attention is flushed
    state.finish(1)
    assert not state.attention
    state.close()
    assert state.attention
    failed = CommitState(policy, 0)
    failed.fail(StorageError("x"))
    assert failed.attention


class EverysecMachine(RuleBasedStateMachine):
    """Writers, flushers, seals and failures in any order, one step at a time."""

    def __init__(self):
        super().__init__()
        self.state = CommitState(SyncPolicy.EVERYSEC, 0)
        self.state.flusher_started()
        self.now = 1000.0
        self.appended = self.highest = 0
        self.target = self.first_cause = None
        self.looked, self.oldest = None, 0.0

    @rule(seconds=st.sampled_from([0.01, 0.3, 0.8, 2.0, 50.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @precondition(lambda self: self.first_cause is None)
    @rule(count=st.integers(1, 3))
    def write(self, count):
        if self.state.attention and self.state.is_stalled(self.now):
            return
        self.appended += count

    @rule()
    def begin(self):
        target = self.state.begin(self.appended, self.now)
        may = self.target is None and self.first_cause is None
        needed = self.appended > self.state.synced_lsn
        assert (target is not None) == (may and needed)
        if target is not None:
            assert target == self.appended
            before = self.looked
            self.oldest = self.now - FLUSH_EVERY_S if before is None else before
            self.target = target
        if may:
            self.looked = self.now

    @precondition(lambda self: self.target is not None)
    @rule()
    def finish(self):
        self.state.finish(self.target)
        self.target = None

    @precondition(lambda self: self.target is not None)
    @rule()
    def interrupt(self):
        self.state.abandon()
        self.target = None

    @precondition(lambda self: self.target is None and self.first_cause is None)
    @rule()
    def seal(self):
        self.state.reached(self.appended)

    @rule(number=st.integers())
    def fail(self, number):
        cause = StorageError(str(number))
        self.first_cause = self.first_cause or cause
        self.state.fail(cause)
        self.target = None

    @invariant()
    def the_watermark_only_rises_and_stays_below_what_was_appended(self):
        assert self.highest <= self.state.synced_lsn <= self.appended
        self.highest = self.state.synced_lsn

    @invariant()
    def one_sync_at_most_is_in_flight(self):
        assert self.state.in_flight == (self.target is not None)

    @invariant()
    def the_first_failure_is_kept_for_ever(self):
        assert self.state.failure is self.first_cause
        if self.first_cause is not None:
            assert self.state.attention

    @invariant()
    def a_running_sync_stalls_writers_in_time(self):
        late = self.now - self.oldest >= STALL_AFTER_S
        assert self.state.is_stalled(self.now) == (self.target is not None and late)


EverysecMachine.TestCase.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None
)
TestEverysec = EverysecMachine.TestCase


# The shell of threads around it


class Log:
    """A log that appends by counting, and whose sync waits for a gate."""

    def __init__(self, policy=SyncPolicy.ALWAYS, clock=None):
        self.appended, self.syncs, self.told = 0, 0, []
        self.started, self.gate = threading.Semaphore(0), threading.Semaphore(0)
        self.failure = None
        self.state = CommitState(policy, 0)
        self.commit = GroupCommit(
            self.state,
            clock or SystemClock(),
            sync_file=self.sync,
            appended_lsn=lambda: self.appended,
            on_synced=self.told.append,
        )

    def sync(self):
        self.syncs += 1
        self.started.release()
        assert self.gate.acquire(timeout=WAIT_S)
        if self.failure is not None:
            raise self.failure

    def append(self):
        self.appended += 1
        return self.appended

    def has_started(self):
        assert self.started.acquire(timeout=WAIT_S)

    def followers(self, count):
        """Return once that many threads wait for the running sync."""
        commit = self.commit
        while len(commit._followers) + len(commit._changed._waiters) < count:
            threading.Event().wait(0.001)


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def threads():
    with Threads() as running:
        yield running


def test_one_sync_acknowledges_all_who_appended_before_it(log, threads):
    log.append()
    threads.start(log.commit.wait, 1)
    log.has_started()
    for lsn in range(2, 12):
        log.append()
        threads.start(log.commit.wait, lsn)
    log.followers(10)
    log.gate.release()
    log.has_started()  # one of the ten leads for all of them
    assert log.state.synced_lsn == 1
    log.gate.release()
    threads.join()
    assert (log.syncs, log.told, log.state.synced_lsn) == (2, [1, 11], 11)


def test_nobody_is_acknowledged_before_the_sync_has_ended(log, threads):
    acknowledged = []

    def write():
        log.commit.wait(log.append())
        acknowledged.append(1)

    threads.start(write)
    log.has_started()
    assert (acknowledged, log.told, log.state.synced_lsn) == ([], [], 0)
    log.gate.release()
    threads.join()
    assert acknowledged == [1]


def test_a_write_that_came_during_a_sync_waits_for_the_next_one(log, threads):
    threads.start(log.commit.wait, log.append())
    log.has_started()
    late = log.append()
    threads.start(log.commit.wait, late)
    log.followers(1)
    log.gate.release()
    log.has_started()
    assert log.state.synced_lsn == 1
    log.gate.release()
    threads.join()
    assert log.state.synced_lsn == late


def test_the_engine_is_told_before_anybody_who_waits(log):
    log.gate.release()
    seen = []
    log.commit._on_synced = lambda lsn: seen.append((lsn, log.state.synced_lsn))
    log.commit.wait(log.append())
    assert seen == [(1, 0)]


def test_a_failure_reaches_the_leader_the_followers_and_all_after_them(log, threads):
    log.failure, raised = StorageError("the disk is gone"), []

    def write(lsn):
        with pytest.raises(StorageFailedError, match="the disk is gone") as caught:
            log.commit.wait(lsn)
        raised.append(caught.value.__cause__)

    threads.start(write, log.append())
    log.has_started()
    for _ in range(3):
        threads.start(write, log.append())
    log.followers(3)
    log.gate.release()
    threads.join()
    assert raised == [log.failure] * 4
    log.failure = None
    for refused in (log.commit.admit, log.commit.flush):
        with pytest.raises(StorageFailedError):
            refused()
    assert (log.syncs, log.state.synced_lsn, log.told) == (1, 0, [])


def test_what_was_synced_before_a_failure_stays_acknowledged(log):
    log.gate.release()
    log.commit.wait(log.append())
    log.commit.fail(StorageError("x"))
    log.commit.wait(1)


def test_an_interrupt_reaches_its_leader_alone(log, threads):
    log.failure = KeyboardInterrupt()

    def interrupted():
        with pytest.raises(KeyboardInterrupt):
            log.commit.wait(1)

    log.append()
    threads.start(interrupted)
    log.has_started()
    threads.start(log.commit.wait, log.append())
    log.followers(1)
    log.gate.release()
    log.has_started()
    log.failure = None
    log.gate.release()
    threads.join()
    assert (log.state.synced_lsn, log.state.failure) == (2, None)


def test_a_follower_gives_up_after_its_timeout_and_the_write_stands(log, threads):
    threads.start(log.commit.wait, log.append())
    log.has_started()
    for timeout in (0, 0.01):
        with pytest.raises(WaitTimeoutError, match="LSN 1 was not on the medium"):
            log.commit.wait(1, timeout)
    log.gate.release()
    threads.join()
    log.commit.wait(1, 0)


def test_a_sync_wakes_whom_it_was_for_and_of_the_rest_who_leads_next(log, threads):
    threads.start(log.commit.wait, log.append())
    log.has_started()
    for _ in range(6):
        threads.start(log.commit.wait, log.append())
    log.followers(6)
    log.gate.release()
    log.has_started()
    # Had all been woken, they would be back by now or soon, but under new locks.
    left = list(log.commit._followers)
    assert len(left) == 5
    log.followers(5)
    assert log.commit._followers == left
    log.gate.release()
    threads.join()
    assert log.syncs == 2


def test_who_goes_away_when_it_was_to_lead_lets_the_next_one_lead(log, threads):
    follow = log.commit._follow

    def interrupted_when_woken(follower, deadline):
        follow(follower, deadline)
        if follower.lsn == 2:
            raise KeyboardInterrupt

    def interrupted(lsn):
        with pytest.raises(KeyboardInterrupt):
            log.commit.wait(lsn)

    log.commit._follow = interrupted_when_woken
    threads.start(log.commit.wait, log.append())
    log.has_started()
    threads.start(interrupted, log.append())
    log.followers(1)
    threads.start(log.commit.wait, log.append())
    log.followers(2)
    log.gate.release(2)
    threads.join()
    assert (log.syncs, log.state.synced_lsn) == (2, 3)


def test_a_timeout_leaves_no_follower_behind(log, threads):
    threads.start(log.commit.wait, log.append())
    log.has_started()
    with pytest.raises(WaitTimeoutError):
        log.commit.wait(log.append(), 0.001)
    assert log.commit._followers == []
    log.gate.release()
    threads.join()


@pytest.mark.parametrize("impatient", [False, True])
def test_of_many_threads_nobody_waits_for_ever(impatient, threads):
    log, lock = Log(), threading.Lock()
    log.commit._sync_file = lambda: None

    def write(seed):
        draw = random.Random(seed)
        for _ in range(200):
            with lock:
                lsn = log.append()
            timeout = draw.choice([None, 0, 0.0001]) if impatient else None
            with contextlib.suppress(WaitTimeoutError):
                log.commit.wait(lsn, timeout)
                assert log.state.synced_lsn >= lsn

    for seed in range(16):
        threads.start(write, seed)
    threads.join()
    log.commit.flush()
    assert log.state.synced_lsn == log.appended
    assert log.commit._followers == []


def test_a_signal_handler_inside_a_sync_is_refused_and_the_sync_goes_on(log):
    # Most signals arrive there. It waited for the leader, which was its own thread.
    refused = []

    def interrupted_sync():
        with pytest.raises(ReentrantCallError, match="under way in this thread"):
            log.commit.wait(2)
        refused.append(1)

    log.commit._sync_file = interrupted_sync
    log.commit.wait(log.append())
    assert (refused, log.told, log.state.synced_lsn) == ([1], [1], 1)
    log.commit._sync_file = lambda: None
    log.commit.wait(log.append())
    assert not log.state.busy


def test_a_signal_handler_is_refused_where_its_thread_is_about_to_lead(log):
    log.commit._sync_file = lambda: None
    begin, refused = log.commit._begin, []

    def interrupted():
        with pytest.raises(ReentrantCallError):
            log.commit.flush()
        refused.append(1)
        return begin()

    log.commit._begin = interrupted
    log.commit.wait(log.append())
    assert (refused, log.state.synced_lsn, log.state.busy) == ([1], 1, False)


def test_another_thread_is_not_refused_while_one_leads(log, threads):
    threads.start(log.commit.wait, log.append())
    log.has_started()
    assert log.state.busy
    log.state.refuse_inside(threading.get_ident())
    log.gate.release()
    threads.join()
    assert not log.state.busy


def test_who_was_to_lead_and_finds_all_done_lets_the_next_one_lead(log, threads):
    # The owner synced in between, so that it never looks whether it has to lead.
    follow = log.commit._follow

    def late(follower, deadline):
        follow(follower, deadline)
        if follower.lsn == 2:
            log.appended += 1
            log.commit.reached(2)

    log.commit._follow = late
    threads.start(log.commit.wait, log.append())
    log.has_started()
    threads.start(log.commit.wait, log.append())
    log.followers(1)
    threads.start(log.commit.wait, log.append())
    log.followers(2)
    log.gate.release(2)
    threads.join()
    assert log.state.synced_lsn >= 3


def test_after_a_failed_sync_one_that_succeeds_proves_nothing(log):
    log.commit._sync_file = lambda: log.commit.fail(StorageError("gone"))
    with pytest.raises(StorageFailedError, match="gone"):
        log.commit.wait(log.append())
    assert (log.state.synced_lsn, log.state.in_flight) == (0, False)


def test_flush_returns_the_watermark_and_syncs_nothing_twice(log):
    log.append()
    log.gate.release()
    assert (log.commit.flush(), log.commit.flush(), log.syncs) == (1, 1, 1)


def test_the_owners_own_sync_wakes_those_who_wait(log, threads):
    log.append()
    threads.start(log.commit.wait, 1)
    log.has_started()
    threads.start(log.commit.wait, log.append())
    log.followers(1)
    log.commit.reached(2)
    log.followers(0)
    log.gate.release()
    threads.join()
    assert (log.syncs, log.state.synced_lsn) == (1, 2)


def test_a_writer_waits_while_the_disk_stalls_and_goes_on_afterwards(threads):
    clock = FakeClock()
    log = Log(SyncPolicy.EVERYSEC, clock)
    log.commit._start_flusher = lambda: None
    log.commit.admit()
    log.append()
    threads.start(log.commit.flush)
    log.has_started()
    clock.advance(STALL_AFTER_S)
    admitted = threading.Event()
    threads.start(lambda: (log.commit.admit(), admitted.set()))
    log.followers(1)
    assert not admitted.is_set()
    log.gate.release()
    threads.join()
    assert admitted.is_set()


def test_a_writer_that_waits_for_the_disk_learns_of_its_failure(threads):
    clock = FakeClock()
    log = Log(SyncPolicy.EVERYSEC, clock)
    log.commit._start_flusher = lambda: None
    log.failure = StorageError("gone")

    def refused(act):
        with pytest.raises(StorageFailedError):
            act()

    log.commit.admit()
    log.append()
    threads.start(refused, log.commit.flush)
    log.has_started()
    clock.advance(STALL_AFTER_S)
    threads.start(refused, log.commit.admit)
    log.followers(1)
    log.gate.release()
    threads.join()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(group_commit, "FLUSH_EVERY_S", 0.01)
    log = Log(SyncPolicy.EVERYSEC)
    yield log
    log.gate.release(100)
    log.commit.stop()


def test_the_flusher_syncs_what_nobody_waits_for(quick):
    quick.commit.admit()
    quick.append()
    quick.has_started()
    quick.gate.release()
    quick.commit.wait(1, WAIT_S)
    quick.commit.admit()
    quick.append()
    quick.has_started()


def test_no_write_asks_for_signal_handlers_because_of_the_flusher(quick):
    quick.commit.admit()
    quick.append()
    quick.has_started()
    assert not quick.state.busy
    quick.gate.release()
    quick.commit.wait(1, WAIT_S)
    assert not quick.state.busy


def test_the_flusher_ends_with_a_stop_and_after_a_failure(quick):
    quick.commit.admit()
    quick.append()
    quick.failure = StorageError("gone")
    quick.has_started()
    quick.gate.release()
    quick.commit._flusher.join(WAIT_S)
    assert not quick.commit._flusher.is_alive()
    quick.commit.stop()


def test_a_write_that_was_let_in_just_before_a_flush_is_flushed_in_time(quick):
    # The writer saw that it need not attend, and appends only when the flusher has
    # already looked how far the log reaches: those bytes need a due time, too.
    quick.commit.admit()
    quick.append()
    assert not quick.state.attention
    quick.has_started()
    quick.append()
    quick.gate.release()
    quick.commit.wait(1, WAIT_S)
    assert quick.started.acquire(timeout=1), "nobody will ever sync the last write"
    quick.gate.release()
    quick.commit.wait(2, WAIT_S)


def test_a_slow_sync_does_not_put_off_the_next_one():
    # What is written while a sync runs waits for the next one: were its interval
    # counted from the end of the slow one, those bytes would get older than promised.
    clock = FakeClock()
    log = Log(SyncPolicy.EVERYSEC, clock)
    began, moments = clock.monotonic(), []

    def slow_sync():
        clock.advance(1.1)
        log.append()

    log.append()
    log.commit._sync_file = slow_sync
    log.commit._wait_until = lambda moment: (
        moments.append(moment),
        setattr(log.commit, "_closing", True),
    )
    log.commit._flush_regularly()
    assert log.state.synced_lsn == 1
    assert moments[0] <= began + max(FLUSH_EVERY_S, 1.1)


def test_what_was_written_during_somebody_elses_slow_sync_is_synced_right_after_it():
    # The flusher looked while a caller's sync was running, did nothing, and slept for
    # an interval: those bytes were over two seconds old before they were synced.
    clock = FakeClock()
    log = Log(SyncPolicy.EVERYSEC, clock)
    assert log.state.begin(log.append(), clock.monotonic()) == 1
    log.append()

    def ends(_timeout=None):
        clock.advance(1.9)
        log.state.finish(1)

    log.commit._changed.wait = ends
    log.commit._sync_file = lambda: None
    log.commit._wait_until = lambda _moment: setattr(log.commit, "_closing", True)
    log.commit._flush_regularly()
    assert log.state.synced_lsn == 2


def test_the_first_write_alone_starts_the_flusher(quick):
    assert quick.commit._flusher is None
    quick.commit.admit()
    first = quick.commit._flusher
    quick.commit.admit()
    assert quick.commit._flusher is first
    assert not quick.state.attention


def test_stop_ends_the_flusher_however_long_its_interval_is():
    log = Log(SyncPolicy.EVERYSEC, FakeClock())
    log.commit.admit()
    log.commit.stop()
    assert not log.commit._flusher.is_alive()
    log.commit.stop()

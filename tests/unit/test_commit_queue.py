"""Few commits for many threads, each request done once, none stranded."""

import contextlib
import sys
import threading

import pytest

from hypercache.engines.commit_queue import CommitQueue, Request
from tests.support.processes import Threads

WAIT_S = 20


class Journal:
    """An owner of a queue that notes every group, and stops where a test wants."""

    def __init__(self, **limits):
        limits = {"max_count": 100, "max_bytes": 1_000_000, **limits}
        self.queue = CommitQueue(self.writing, self.commit, **limits)
        self.lock = threading.Lock()
        self.groups = []
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.refuse = self.interrupt = None

    @contextlib.contextmanager
    def writing(self):
        with self.lock:
            if self.refuse is not None:
                raise self.refuse
            yield

    def commit(self, group):
        self.entered.set()
        assert self.go_on.wait(WAIT_S)
        if self.interrupt is not None:
            interrupt, self.interrupt = self.interrupt, None
            raise interrupt
        self.groups.append(list(group))
        for request in group:
            assert not request.done, "committed twice"
            request.done = True

    def hold(self):
        self.entered.clear()
        self.go_on.clear()

    def wait_for(self, count):
        pause = threading.Event()
        for _ in range(WAIT_S * 100):
            if self.queue.waiting_count() == count:
                return
            pause.wait(0.01)
        raise AssertionError(f"{self.queue.waiting_count()} wait, not {count}")


def start_one_by_one(threads, journal, requests, target=None):
    for count, request in enumerate(requests, 1):
        threads.start(target or journal.queue.run, request)
        journal.wait_for(count)


def test_one_thread_alone_commits_each_request_by_itself():
    journal = Journal()
    requests = [Request(1) for _ in range(3)]
    for request in requests:
        journal.queue.run(request)
        assert request.done
    assert journal.groups == [[request] for request in requests]


def test_what_is_queued_during_a_commit_shares_the_next_in_its_order():
    journal = Journal()
    first, *others = [Request(1) for _ in range(9)]
    journal.hold()
    with Threads() as threads:
        threads.start(journal.queue.run, first)
        assert journal.entered.wait(WAIT_S)
        start_one_by_one(threads, journal, others)
        journal.go_on.set()
        threads.join()
    assert journal.groups == [[first], others]


def test_what_is_queued_while_the_leader_waits_for_its_turn_shares_its_commit():
    journal = Journal()
    requests = [Request(1) for _ in range(5)]
    with Threads() as threads:
        with journal.lock:
            start_one_by_one(threads, journal, requests)
        threads.join()
    assert journal.groups == [requests]


@pytest.mark.parametrize(
    ("limits", "sizes", "groups"),
    [
        ({"max_count": 2}, [1] * 5, [2, 2, 1]),
        ({"max_bytes": 10}, [4, 4, 4, 4], [2, 2]),
        ({"max_bytes": 10}, [11, 1, 11, 1], [1, 1, 1, 1]),
        ({"max_bytes": 10}, [5, 5, 1], [2, 1]),
    ],
)
def test_a_group_is_bounded_but_one_request_always_fits(limits, sizes, groups):
    journal = Journal(**limits)
    with Threads() as threads:
        with journal.lock:
            start_one_by_one(threads, journal, map(Request, sizes))
        threads.join()
    assert [len(group) for group in journal.groups] == groups


def test_a_refusal_reaches_every_thread_and_leaves_nothing_behind():
    journal = Journal()
    journal.refuse = RuntimeError("closed")
    told = []

    def run(request):
        with pytest.raises(RuntimeError, match="closed"):
            journal.queue.run(request)
        told.append(request)

    requests = [Request(1) for _ in range(6)]
    with Threads() as threads:
        with journal.lock:
            start_one_by_one(threads, journal, requests, run)
        threads.join()
    assert len(told) == 6
    assert journal.queue.waiting_count() == 0
    journal.refuse = None
    last = Request(1)
    journal.queue.run(last)
    assert journal.groups == [[last]]


def test_an_interrupted_leader_leaves_the_others_to_the_next():
    journal = Journal()
    journal.interrupt = KeyboardInterrupt()
    requests = [Request(1) for _ in range(4)]
    interrupted = []

    def run(request):
        try:
            journal.queue.run(request)
        except KeyboardInterrupt:
            interrupted.append(request)

    with Threads() as threads:
        with journal.lock:
            start_one_by_one(threads, journal, requests, run)
        threads.join()
    assert interrupted == requests[:1]
    assert journal.groups == [requests[1:]]
    journal.queue.run(Request(1))


def test_an_interrupted_follower_is_taken_back_and_strands_nobody():
    journal = Journal()
    first, impatient, last = (Request(1) for _ in range(3))

    class Woken:
        """Stands for the lock that a follower waits on, where Ctrl-C arrives."""

        def acquire(self):
            raise KeyboardInterrupt

    impatient.woken = Woken()
    journal.hold()
    with Threads() as threads:
        threads.start(journal.queue.run, first)
        assert journal.entered.wait(WAIT_S)
        with pytest.raises(KeyboardInterrupt):
            journal.queue.run(impatient)
        start_one_by_one(threads, journal, [last])
        journal.go_on.set()
        threads.join()
    assert journal.groups == [[first], [last]]


@pytest.fixture
def eager_threads():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_threads")
def test_no_request_is_lost_or_done_twice_under_load():
    journal = Journal(max_count=5)
    counts = [0] * 12

    def work(who):
        for _ in range(300):
            request = Request(1)
            journal.queue.run(request)
            assert request.done
            counts[who] += 1

    journal.hold()  # else each thread may have ended before the next one begins
    with Threads() as threads:
        for who in range(len(counts)):
            threads.start(work, who)
        journal.wait_for(len(counts) - 1)
        journal.go_on.set()
        threads.join()
    assert counts == [300] * 12
    assert sum(map(len, journal.groups)) == 3600
    assert len(journal.groups) < 3600, "nothing was shared"

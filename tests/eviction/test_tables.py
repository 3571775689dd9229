"""The tables below the policies: what they promise, and how little they take."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from hypercache.eviction.deadlines import Deadlines
from hypercache.eviction.ghosts import Ghosts
from hypercache.eviction.moments import History, Turn
from hypercache.eviction.queues import Queues
from tests.eviction.conftest import Now

KEYS = [b"%d" % n for n in range(8)]


@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "pop", "discard"]), st.integers(0, 7)),
        max_size=200,
    )
)
def test_queues_hold_each_key_once_whatever_leaves_from_the_middle(steps):
    queues, present = Queues(2), set()
    for kind, number in steps:
        key, queue = KEYS[number], number % 2
        if kind == "append" and key not in present:
            queues.append(queue, key)
            present.add(key)
        elif kind == "discard" and key in present:
            queues.discard(key)
            present.remove(key)
        elif kind == "pop":
            found = queues.pop(queue)
            assert found is None or found in present
            present.discard(found)
        assert len(queues) == len(present)
    left = []
    for queue in (0, 1):
        while (key := queues.pop(queue)) is not None:
            left.append(key)
    assert sorted(left) == sorted(present)


def test_a_queue_is_first_in_first_out():
    queues = Queues(2)
    for key in KEYS:
        queues.append(1, key)
    queues.discard(KEYS[2])
    assert [queues.pop(1) for _ in range(8)] == [*KEYS[:2], *KEYS[3:], None]
    assert queues.pop(0) is None


def test_discarding_for_long_takes_no_room():
    queues = Queues(1)
    for n in range(50_000):
        queues.append(0, b"%d" % n)
        queues.discard(b"%d" % n)
    assert len(queues) == 0
    assert queues.overhead_bytes() < 10_000


def ghosts_of(*keys, reach=100):
    ghosts = Ghosts()
    ghosts.reach = reach
    for key in keys:
        ghosts.add(key, 0)
    return ghosts


def test_a_ghost_tells_where_and_how_long_ago():
    ghosts = ghosts_of()
    ghosts.add(b"a", 1)
    ghosts.add(b"b", 0)
    ghosts.add(b"c", 0)
    assert ghosts.take(b"a") == (1, 2)
    assert ghosts.take(b"c") == (0, 0)


def test_a_ghost_is_taken_once():
    ghosts = ghosts_of(b"a")
    assert ghosts.take(b"a") is not None
    assert ghosts.take(b"a") is None


def test_what_was_never_evicted_is_no_ghost():
    assert ghosts_of(b"a").take(b"b") is None


def test_ghosts_fade_behind_their_reach():
    ghosts = ghosts_of(b"old", *(b"%d" % n for n in range(100)))
    assert ghosts.take(b"old") is None
    assert ghosts.take(b"1") is not None


def test_few_ghosts_are_lost_to_one_another():
    reach = 10_000
    names = [b"%d" % n for n in range(reach)]
    ghosts = ghosts_of(*names, reach=reach + 1)
    known = sum(ghosts.take(name) is not None for name in names)
    assert known > 0.85 * reach
    assert ghosts.overhead_bytes(reach) < 24 * reach


def test_strangers_are_hardly_ever_taken_for_ghosts():
    reach = 10_000
    ghosts = ghosts_of(*(b"%d" % n for n in range(reach)), reach=reach + 1)
    strangers = [b"stranger-%d" % n for n in range(50_000)]
    assert sum(ghosts.take(name) is not None for name in strangers) < 10


def test_ghosts_survive_growing():
    ghosts = ghosts_of(b"a", reach=10)
    for n in range(2000):
        ghosts.reach = 10_000 + n
        ghosts.add(b"%d" % n, 0)
    assert ghosts.take(b"a") == (0, 2000)


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**8), max_size=80), st.integers(0, 2**32))
def test_deadlines_come_in_order_and_never_early(ttls, seed):
    now = Now()
    deadlines, due = Deadlines(now), {}
    for number, ttl_ms in enumerate(ttls):
        key = b"%d" % number
        now.ms += random.Random(seed + number).randrange(50)
        expires = int(now()) + ttl_ms
        due[key] = deadlines.add(key, expires)
        assert expires <= due[key] <= expires + max(1, ttl_ms // 128)
    times = []
    while len(deadlines):
        first = deadlines.first_ms()
        key, moment = deadlines.pop()
        assert moment == first == due.pop(key)
        times.append(moment)
    assert times == sorted(times)
    assert not due
    assert deadlines.first_ms() is None
    assert deadlines.pop() is None


def test_a_million_ttls_share_few_deadlines():
    now = Now()
    deadlines = Deadlines(now)
    rng = random.Random(3)
    for n in range(100_000):
        deadlines.add(b"%d" % n, int(now()) + rng.randrange(1, 10**9))
    assert len(deadlines._due) < 6000
    assert deadlines.overhead_bytes() / len(deadlines) < 20


def test_the_head_of_a_queue_ages_and_turns():
    turn = Turn()
    assert turn.age(5, 0) == float("inf")
    for moment in range(100):
        turn.note(moment, 64)
    assert turn.age(100, 100) == 100
    assert turn.age(100, 50) == 50 + (50 % 2)
    assert turn.age(100, 1) <= 2


def test_the_depth_of_an_eviction_counts_its_own_queue():
    history = History()
    for moment in range(1, 101):
        history.note(moment, 1 if moment % 4 == 0 else 0, 64)
    assert abs(history.depth(100, 1, 40) - 10) <= 1
    assert abs(history.depth(100, 0, 40) - 30) <= 2
    assert history.depth(100, 1, 0) == 1


def test_a_history_stays_short():
    history = History()
    for moment in range(100_000):
        history.note(moment, 0, 1)
    assert len(history._moments) <= 256
    assert history.depth(99_999, 0, 50) == 50

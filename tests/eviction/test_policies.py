"""What every policy promises: each key comes up once, and only while it is there."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypercache.errors import ConfigError
from hypercache.eviction import EvictionPolicy, find_policy
from tests.eviction.conftest import NAMES, Now


def store(policy, *keys, new=True, expires_at_ms=0):
    for key in keys:
        policy.set(key, new=new, size_bytes=100, expires_at_ms=expires_at_ms)


def drain(policy):
    found = []
    while (key := policy.candidate()) is not None:
        found.append(key)
    return found


def test_an_empty_policy_has_no_candidate(policy):
    assert policy.candidate() is None
    assert len(policy) == 0


def test_every_key_comes_up_once(policy):
    keys = [b"%d" % n for n in range(500)]
    store(policy, *keys)
    for key in keys[::3]:
        policy.access(key)
    assert len(policy) == 500
    assert sorted(drain(policy)) == sorted(keys)
    assert len(policy) == 0


def test_a_deleted_key_does_not_come_up(policy):
    store(policy, b"a", b"b", b"c")
    policy.delete(b"b")
    assert sorted(drain(policy)) == [b"a", b"c"]


def test_a_key_that_was_deleted_and_stored_again_comes_up_once(policy):
    store(policy, b"a", b"b")
    policy.delete(b"a")
    store(policy, b"a")
    assert sorted(drain(policy)) == [b"a", b"b"]


def test_a_key_that_was_evicted_and_stored_again_comes_up_once_more(policy):
    store(policy, b"a", b"b")
    gone = policy.candidate()
    store(policy, gone)
    assert sorted(drain(policy)) == [b"a", b"b"]


def test_an_overwritten_key_comes_up_once(policy):
    store(policy, b"a", b"b")
    for _ in range(5):
        store(policy, b"a", new=False)
    assert len(policy) == 2
    assert sorted(drain(policy)) == [b"a", b"b"]


def test_after_a_clear_there_is_nothing(policy):
    store(policy, b"a", b"b")
    policy.access(b"a")
    policy.clear()
    assert len(policy) == 0
    assert policy.candidate() is None
    store(policy, b"a")
    assert drain(policy) == [b"a"]


def test_an_access_of_a_key_that_has_gone_is_passed_over(policy):
    store(policy, b"a", b"b")
    policy.delete(b"a")
    for _ in range(100):
        policy.access(b"a")
        policy.access(b"never")
    assert drain(policy) == [b"b"]


def test_deleting_and_storing_for_long_leaves_no_litter(policy):
    store(policy, *(b"%d" % n for n in range(100)))
    lowest = policy.overhead_bytes()
    for n in range(20_000):
        store(policy, b"%d" % (n + 100), expires_at_ms=2_000_000 + n)
        policy.delete(b"%d" % (n + 100))
    assert len(policy) == 100
    assert policy.overhead_bytes() < lowest + 20_000


def test_overwriting_for_long_leaves_no_litter(policy):
    keys = [b"%d" % n for n in range(100)]
    store(policy, *keys, expires_at_ms=2_000_000)
    lowest = policy.overhead_bytes()
    for n in range(200):
        store(policy, *keys, new=False, expires_at_ms=2_000_000 + n)
        for key in keys:
            policy.access(key)
    policy.candidate()
    assert policy.overhead_bytes() < lowest + 30_000


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), length=st.integers(1, 400))
def test_what_is_present_is_what_comes_up(name, seed, length):
    rng = random.Random(seed)
    now = Now()
    policy, present = find_policy(name, now), set()
    for _ in range(length):
        key = b"%d" % rng.randrange(40)
        kind = rng.random()
        now.ms += rng.randrange(100)
        if kind < 0.5:
            expires = int(now.ms) + rng.randrange(1, 5000) if rng.random() < 0.5 else 0
            store(policy, key, new=key not in present, expires_at_ms=expires)
            present.add(key)
        elif kind < 0.7:
            policy.access(key)
        elif kind < 0.85 and key in present:
            policy.delete(key)
            present.remove(key)
        elif kind >= 0.85:
            found = policy.candidate()
            assert (found in present) if present else found is None
            present.discard(found)
        assert len(policy) == len(present)
    assert sorted(drain(policy)) == sorted(present)


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"'s3fifo', 'lru', .*'none'"):
        find_policy("clock", Now())


def test_none_is_no_policy():
    assert find_policy("none", Now()) is None


class Newest(EvictionPolicy):
    """A policy of a user: the newest key goes first."""

    def __init__(self):
        self.keys = {}

    def access(self, key):
        pass

    def set(self, key, *, new, size_bytes, expires_at_ms):
        self.keys[key] = None

    def delete(self, key):
        self.keys.pop(key, None)

    def candidate(self):
        return self.keys.popitem()[0] if self.keys else None

    def clear(self):
        self.keys.clear()

    def __len__(self):
        return len(self.keys)

    def overhead_bytes(self):
        return 0


def test_a_policy_of_ones_own_is_taken_as_it_is():
    policy = Newest()
    assert find_policy(policy, Now()) is policy


def test_a_policy_that_serves_another_cache_is_refused():
    policy = Newest()
    store(policy, b"a")
    with pytest.raises(ConfigError, match="a policy of its own"):
        find_policy(policy, Now())

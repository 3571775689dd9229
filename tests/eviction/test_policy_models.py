"""Each policy against the plainest program that does the same."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypercache.eviction import find_policy
from tests.eviction.conftest import Now

KEYS = [b"%d" % n for n in range(12)]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "access", "delete", "evict"]), st.sampled_from(KEYS)
    ),
    max_size=120,
)


class LruModel:
    def __init__(self):
        self.keys = []

    def use(self, key):
        if key in self.keys:
            self.keys.remove(key)
        self.keys.append(key)

    def set(self, key):
        self.use(key)

    def access(self, key):
        self.use(key)

    def delete(self, key):
        self.keys.remove(key)

    def evict(self):
        return self.keys.pop(0) if self.keys else None


class FifoModel(LruModel):
    def set(self, key):
        if key not in self.keys:
            self.keys.append(key)

    def access(self, key):
        pass


class LfuModel(LruModel):
    """`keys` is in the order of the last use."""

    def __init__(self):
        super().__init__()
        self.uses = {}

    def set(self, key):
        self.use(key)
        self.uses[key] = self.uses.get(key, 0) + 1

    def access(self, key):
        self.set(key)

    def delete(self, key):
        super().delete(key)
        del self.uses[key]

    def evict(self):
        if not self.keys:
            return None
        key = min(self.keys, key=self.uses.__getitem__)
        self.delete(key)
        return key


class SieveModel(LruModel):
    """The paper's own description: a list, a bit a key, and a hand that moves."""

    def __init__(self):
        super().__init__()  # the oldest first
        self.visited = set()
        self.hand = 0

    def set(self, key):
        if key in self.keys:
            self.visited.add(key)
        else:
            self.keys.append(key)

    def access(self, key):
        self.visited.add(key)

    def delete(self, key):
        at = self.keys.index(key)
        del self.keys[at]
        self.hand -= at < self.hand
        self.visited.discard(key)

    def evict(self):
        while self.keys:
            if self.hand == len(self.keys):
                self.hand = 0
            key = self.keys[self.hand]
            if key not in self.visited:
                del self.keys[self.hand]
                return key
            self.visited.remove(key)
            self.hand += 1
        return None


# A key that was deleted and stored again may have the place of its predecessor.
INEXACT = ("sieve",)
MODELS = {"lru": LruModel, "fifo": FifoModel, "lfu": LfuModel, "sieve": SieveModel}


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_the_same_key_goes_as_in_the_model(name, steps):
    policy, model = find_policy(name, Now()), MODELS[name]()
    for kind, key in steps:
        present = key in model.keys
        if kind == "set":
            policy.set(key, new=not present, size_bytes=1, expires_at_ms=0)
            model.set(key)
        elif kind == "evict":
            assert policy.candidate() == model.evict()
        elif kind == "access" and present:
            policy.access(key)
            model.access(key)
        elif kind == "delete" and present and name not in INEXACT:
            policy.delete(key)
            model.delete(key)
    assert len(policy) == len(model.keys)
    while model.keys:
        assert policy.candidate() == model.evict()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 100_000)), max_size=60),
    st.lists(st.sampled_from(KEYS), max_size=6),
)
def test_ttl_evicts_in_the_order_of_expiry_to_one_part_in_256(stored, deleted):
    now = Now()
    policy, expiry = find_policy("ttl", now), {}
    for key, ttl_ms in stored:
        expires = int(now()) + ttl_ms if ttl_ms else 0
        policy.set(key, new=key not in expiry, size_bytes=1, expires_at_ms=expires)
        expiry[key] = ttl_ms or float("inf")
    for key in deleted:
        if key in expiry:
            policy.delete(key)
            del expiry[key]
    order = [policy.candidate() for _ in range(len(expiry))]
    assert sorted(order) == sorted(expiry)
    for earlier, later in pairwise(order):
        assert expiry[earlier] <= expiry[later] * (1 + 1 / 256) + 1


def test_without_expiry_ttl_evicts_the_oldest_behind_all_others():
    policy = find_policy("ttl", Now())
    for key, expires in ((b"never1", 0), (b"late", 9_000_000), (b"never2", 0)):
        policy.set(key, new=True, size_bytes=1, expires_at_ms=expires)
    assert [policy.candidate() for _ in range(4)] == [
        b"late",
        b"never1",
        b"never2",
        None,
    ]

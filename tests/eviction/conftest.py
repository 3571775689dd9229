"""What the tests of eviction share: every policy, under its name."""

import pytest

from hypercache.eviction import find_policy

NAMES = ("s3fifo", "lru", "lfu", "fifo", "sieve", "ttl")


class Now:
    """A clock that stands still until it is told."""

    def __init__(self):
        self.ms = 1_000_000.0

    def __call__(self):
        return self.ms


@pytest.fixture
def now():
    return Now()


@pytest.fixture(params=NAMES)
def policy(request, now):
    return find_policy(request.param, now)

"""The default: scans do no harm, newcomers get the time they need."""

import random

from hypercache.eviction.s3fifo import S3Fifo


class Sized:
    """A cache of keys, just to ask a policy."""

    def __init__(self, policy, room):
        self.policy, self.room, self.keys = policy, room, set()

    def get(self, key):
        if key in self.keys:
            self.policy.access(key)
            return True
        while len(self.keys) >= self.room:
            self.keys.remove(self.policy.candidate())
        self.keys.add(key)
        self.policy.set(key, new=True, size_bytes=1, expires_at_ms=0)
        return False

    def hit_ratio(self, keys):
        keys = list(keys)
        return sum(map(self.get, keys)) / len(keys)


def name(n):
    return b"%d" % n


def test_what_is_asked_for_twice_survives_a_scan_of_ten_times_the_cache():
    cache = Sized(S3Fifo(), 1000)
    hot = [name(n) for n in range(500)]
    for _ in range(3):
        cache.hit_ratio(hot)
    cache.hit_ratio(name(n) for n in range(10_000, 20_000))
    assert cache.hit_ratio(hot) == 1.0


def test_a_loop_that_does_not_fit_still_hits():
    cache = Sized(S3Fifo(), 1000)
    loop = [name(n) for n in range(2000)]
    for _ in range(5):
        cache.hit_ratio(loop)
    assert cache.hit_ratio(loop) > 0.4  # LRU has 0 here, and half of it fits


def test_a_small_queue_too_short_for_the_load_grows():
    # Each key is asked for twice, 300 others between: a tenth of 1,000 is too short.
    requests = [name(n) for at in range(20_000) for n in (at, at - 300)]
    fixed, adaptive = S3Fifo(), S3Fifo()
    fixed._vote = lambda source, age: None
    assert Sized(fixed, 1000).hit_ratio(requests) < 0.1
    assert Sized(adaptive, 1000).hit_ratio(requests) > 0.4


def test_a_share_that_was_learned_is_unlearned():
    policy = S3Fifo()
    cache = Sized(policy, 500)
    cache.hit_ratio(name(n) for at in range(20_000) for n in (at, at - 150))
    grown = policy._share
    rng = random.Random(7)
    for at in range(10**6, 10**6 + 30_000):  # some are asked for again, some never
        cache.get(name(at))
        cache.get(name(rng.randrange(10**7, 10**7 + 600)))
    assert grown > 0.3 > 0.1 > policy._share


def test_a_ghost_that_comes_back_soon_goes_to_the_main_queue():
    policy = S3Fifo()
    cache = Sized(policy, 100)
    cache.hit_ratio(map(name, range(200)))
    before = cache.keys.copy()
    cache.get(name(200))
    (ghost,) = before - cache.keys
    cache.get(ghost)
    cache.hit_ratio(name(n) for n in range(1000, 1080))
    assert ghost in cache.keys


def test_a_ghost_that_was_long_away_is_a_newcomer():
    policy = S3Fifo()
    cache = Sized(policy, 100)
    cache.hit_ratio(map(name, range(200)))
    cache.get(name(95))  # evicted a hundred evictions ago; main has not turned since
    assert name(95) in cache.keys
    cache.hit_ratio(name(n) for n in range(1000, 1080))
    assert name(95) not in cache.keys


def test_its_bookkeeping_takes_less_than_a_dict_entry_for_each_key():
    policy = S3Fifo()
    room = 50_000
    cache = Sized(policy, room)
    cache.hit_ratio(name(n) for n in range(3 * room))
    assert policy.overhead_bytes() / room < 64


def test_hits_are_counted_when_nobody_evicts_for_long():
    policy = S3Fifo()
    cache = Sized(policy, 10)
    cache.hit_ratio(map(name, range(10)))
    for _ in range(100_000):
        policy.access(name(3))
    cache.hit_ratio(name(n) for n in range(100, 105))
    assert name(3) in cache.keys

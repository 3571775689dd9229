"""A cache says what hit ratio it would have at other sizes and with other policies."""

import random

from hypercache import Cache


def test_the_first_answer_begins_the_sample_and_the_next_has_numbers(open_cache):
    rng = random.Random(7)

    def use(cache, count):
        for _ in range(count):
            key = b"%d" % int(200 * rng.random() ** 2)
            if cache.get(key) is None:
                cache.set(key, 1)

    with open_cache(max_items=50, eviction="lru") as cache:
        use(cache, 200)
        assert cache.advise().estimates == ()
        assert cache.advise().reason
        use(cache, 3000)
        advice = cache.advise()
        assert {row.policy for row in advice.estimates} >= {"lru", "s3fifo", "fifo"}
        assert {row.factor for row in advice.estimates} == {0.5, 1, 2, 4}
        by_size = sorted(
            (row.factor, row.hit_ratio)
            for row in advice.estimates
            if row.policy == "lru"
        )
        assert [ratio for _, ratio in by_size] == sorted(r for _, r in by_size)
        assert abs(dict(by_size)[1] - advice.hit_ratio) < 0.1
        assert "lru" in str(advice)


def test_a_cache_without_limits_is_asked_about_what_it_holds():
    with Cache() as cache:
        cache.advise()
        for number in range(2000):
            key = str(number % 100)
            if cache.get(key) is None:
                cache.set(key, number)
        assert cache.advise().hit_ratio > 0.9


def test_a_cache_that_was_never_used_says_so():
    with Cache(max_items=5) as cache:
        assert cache.advise().reason

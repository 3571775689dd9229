"""What is advised from a sample is what a cache of that size would have done."""

import itertools

import pytest

from hypercache import Cache
from tests.support.advised import Advised, zipf

POINTS = 0.02
FACTORS = (0.5, 2.0)


def zipf_and_scan(count):
    once = (b"scan %d" % number for number in itertools.count())
    asked = zipf(count // 3 * 2, 10_000, 1.0)
    rows = zip(asked[::2], asked[1::2], once, strict=False)
    return [key for row in rows for key in row]


def loop(count):
    return [b"%d" % (number % 5_000) for number in range(count)]


TRACES = {"zipf": zipf, "zipf and scan": zipf_and_scan, "loop": loop}


def misses(keys, policy, max_items):
    """Return of each read whether it misses in a real cache."""
    found = []
    with Cache(max_items=max_items, eviction=policy, serializer="bytes") as cache:
        for key in keys:
            found.append(cache.get(key) is None)
            if found[-1]:
                cache.set(key, b"1")
    return found


@pytest.mark.parametrize("trace", TRACES)
def test_sizes_and_policies_are_told_to_two_points(trace):
    keys = TRACES[trace](20_000)
    advised = Advised("lru", max_items=1_600)
    for key in keys:
        advised.get(key)
    advice, counted = advised.advise(), advised.counted()
    assert advice.sample_rate == 1 / 4
    rows = [row for row in advice.estimates if row.policy in ("lru", "s3fifo")]
    for row in rows:
        if row.factor in FACTORS:
            exact = misses(keys, row.policy, row.max_items)[counted]
            ratio = 1 - sum(exact) / len(exact)
            assert abs(row.hit_ratio - ratio) <= POINTS, (row, ratio)

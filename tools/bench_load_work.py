"""Make the work of bench_load beforehand: keys, values, and what is read."""

from __future__ import annotations

import random
from itertools import accumulate, cycle, islice

from bench_load_run import Work

VALUE_BYTES = 100
# Random, so that no store compresses them away; so many that none repeats in a block.
VALUE_COUNT = 4096
ZIPF_EXPONENT = 0.99


def uniform_work(count: int, get_count: int, seed: int) -> Work:
    """Return `count` sets of different, uniformly random keys."""
    rng = random.Random(seed)
    keys = _keys(rng, count)
    return Work("uniform", keys, _values(rng, count), rng.choices(keys, k=get_count))


def zipf_work(count: int, get_count: int, seed: int) -> Work:
    """Return `count` sets drawn from half as many keys by Zipf's law.

    The gets are uniform over the keys that were set.
    """
    rng = random.Random(seed)
    population = _keys(rng, max(count // 2, 1))
    weights = [rank**-ZIPF_EXPONENT for rank in range(1, len(population) + 1)]
    sums = list(accumulate(weights))
    keys = rng.choices(population, cum_weights=sums, k=count)
    present = list(dict.fromkeys(keys))
    return Work("zipf", keys, _values(rng, count), rng.choices(present, k=get_count))


def _keys(rng: random.Random, count: int) -> list[bytes]:
    return [rng.randbytes(16) for _ in range(count)]


def _values(rng: random.Random, count: int) -> list[bytes]:
    pool = [rng.randbytes(VALUE_BYTES) for _ in range(VALUE_COUNT)]
    return list(islice(cycle(pool), count))

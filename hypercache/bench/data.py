"""Keys and values, made before anything is timed; the seed decides all of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, cycle, islice

KEY_BYTES = 16
VALUE_BYTES = 100
LARGE_BYTES = 4096
ZIPF_EXPONENT = 0.99
# Random, so that no store compresses them away; so many that none repeats in a block.
POOL_COUNT = 4096


def keys(count: int, seed: int) -> list[bytes]:
    """Return different keys, in random order."""
    return list(stream(count, seed))


def stream(count: int, seed: int) -> Iterator[bytes]:
    """Return the same keys one by one."""
    rng = random.Random(seed)
    return (rng.randbytes(KEY_BYTES) for _ in range(count))


def values(count: int, seed: int, size: int = VALUE_BYTES) -> list[bytes]:
    """Return values that are objects of their own, as a program's are."""
    pool = _pool(seed, size)
    return [bytes(memoryview(value)) for value in islice(cycle(pool), count)]


@lru_cache(maxsize=4)
def _pool(seed: int, size: int) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(size) for _ in range(POOL_COUNT)]


def shuffled(given: Sequence[bytes], seed: int) -> list[bytes]:
    """Return the same keys in another order."""
    return random.Random(seed).sample(given, len(given))


class Zipf:
    """Draws positions 0 to `count` - 1, the first most often, by Zipf's law."""

    def __init__(self, count: int) -> None:
        weights = (rank**-ZIPF_EXPONENT for rank in range(1, count + 1))
        self._sums = list(accumulate(weights))
        self._positions = range(count)

    def draw(self, count: int, seed: int) -> list[int]:
        """Return so many positions."""
        rng = random.Random(seed)
        return rng.choices(self._positions, cum_weights=self._sums, k=count)


@lru_cache(maxsize=1)
def zipf(count: int) -> Zipf:
    """Return the law over so many keys; it takes a while to make."""
    return Zipf(count)

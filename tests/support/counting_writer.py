"""Write one number into several keys at once, ever higher, until told to stop.

Run as `python -m tests.support.counting_writer STORE HELPERS SEED OPTIONS`. Every batch
puts the same number everywhere, so whoever sees two numbers has seen half a batch.
Between batches the store is folded, compacted, closed and opened at random.
"""

from __future__ import annotations

import json
import random
import select
import sys
from typing import Any

from hypercache import Cache

# Short and long ones, so that a fold meets them at its beginning, middle and end.
KEYS = [*(f"{letter}-number" for letter in "abmyz"), "m" * 600, "n" * 700]


def write(cache: Cache, number: int, rng: random.Random) -> None:
    """Make one batch, in one of the ways there are."""
    filler = {f"c-{rng.randrange(40)}": "x" * rng.choice([10, 300, 2000])}
    kind = rng.randrange(10)
    if kind == 0:
        with cache.transaction():
            cache.clear()
            cache.set_many(dict.fromkeys(KEYS, number))
    elif kind == 1:
        with cache.transaction():
            cache.delete_many(rng.sample(KEYS, 3))
            cache.set_many({**dict.fromkeys(KEYS, number), **filler}, ttl=10**6)
    else:
        cache.set_many({**dict.fromkeys(KEYS, number), **filler})


def work(path: str, seed: str, options: dict[str, Any]) -> int:
    rng, number = random.Random(seed), 0
    while True:
        with Cache(path, **options) as cache:
            for _ in range(rng.choice([3, 30, 300])):
                number += 1
                write(cache, number, rng)
                if number == 1:
                    sys.stdout.write("ready\n")
                    sys.stdout.flush()
                if rng.random() < 0.02:
                    rng.choice([cache.checkpoint, cache.compact, cache.sync])()
                if select.select([sys.stdin], [], [], 0)[0]:
                    return number


def main(path: str, helpers: str, seed: str, options: str) -> None:
    if helpers == "no":
        sys.frozen = True  # type: ignore[attr-defined]
    sys.stdout.write(f"{work(path, seed, json.loads(options))}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

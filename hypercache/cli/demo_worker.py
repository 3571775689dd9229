"""The process that the demo kills: it fills a cache, or reads it.

    python -m hypercache.cli.demo_worker fill|read STORE SEED COUNT

`fill` computes what is not cached yet and prints "LSN KEY" for each entry, after `set`
has acknowledged it and not before. `read` computes nothing; it prints the
digest of the summaries it found.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from hypercache.cache import Cache
from hypercache.cli import demo_modules
from hypercache.cli.demo_modules import Summary


def main(arguments: Sequence[str]) -> None:
    """Do what the arguments say."""
    mode, store, seed, count = arguments
    paths = demo_modules.choose(int(seed), int(count))
    with Cache(store) as cache:
        if mode == "fill":
            fill(cache, paths)
        else:
            print(demo_modules.digest_of(cached(cache, paths)))


def fill(cache: Cache, paths: Sequence[str]) -> None:
    """Compute and store what is missing; print each acknowledgement at once."""
    for path in paths:
        source = demo_modules.read(path)
        key = demo_modules.key_of(path, source)
        if cache.get(key) is None:
            lsn = cache.set(key, demo_modules.summarize(source))
            print(lsn, key, flush=True)


def cached(cache: Cache, paths: Sequence[str]) -> Iterator[Summary]:
    """Yield the summaries that the cache has for these modules as they are now."""
    for path in paths:
        summary = cache.get(demo_modules.key_of(path, demo_modules.read(path)))
        if summary is not None:
            yield summary


if __name__ == "__main__":
    main(sys.argv[1:])

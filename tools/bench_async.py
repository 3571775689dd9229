"""Print how much faster asyncio writers are than one thread, when every write syncs.

Both write to the same open store under sync="always": one thread with `Cache.set`, and
many tasks with `AsyncCache.set`, each awaiting its write before the next. Rounds are
interleaved and medians printed, because absolute times drift on a shared machine; only
the ratio means something.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hypercache import AsyncCache, Cache

VALUE = bytes(range(100))
ENGINES = ("hybrid", "memory", "persistent")
KEY_COUNT = 1000


def key(number: int) -> bytes:
    """Return one of the keys."""
    return b"%016d" % (number % KEY_COUNT)


def in_one_thread(cache: Cache, count: int) -> None:
    """Write one after the other."""
    for number in range(count):
        cache.set(key(number), VALUE)


def in_tasks(cache: Cache, count: int, writer_count: int) -> None:
    """Write with so many tasks at the same time, `count` times in all."""

    async def write(shared: AsyncCache, first: int) -> None:
        for number in range(first, count, writer_count):
            await shared.set(key(number), VALUE)

    async def run() -> None:
        async with AsyncCache.over(cache) as shared:
            await asyncio.gather(*(write(shared, n) for n in range(writer_count)))

    asyncio.run(run())


def timed_us(work: Callable[[int], object], count: int) -> float:
    """Return the microseconds that one write of `work` takes."""
    start = time.perf_counter()
    work(count)
    return (time.perf_counter() - start) / count * 1e6


def measure(engine: str, directory: Path, options: argparse.Namespace) -> None:
    """Run the rounds on one engine and print its line."""
    alone, together = [], []
    with Cache(directory / engine, engine=engine, sync="always") as cache:
        for _ in range(options.rounds):
            alone.append(timed_us(lambda n: in_one_thread(cache, n), options.writes))
            count = options.writes * 8
            together.append(
                timed_us(lambda n: in_tasks(cache, n, options.writers), count)
            )
    one, many = statistics.median(alone), statistics.median(together)
    print(f"{engine:12}{one:12.1f}{many:12.1f}{one / many:9.1f}")


def main() -> None:
    """Print one line for each engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writers", type=int, default=64)
    parser.add_argument("--writes", type=int, default=1000, help="of the thread")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--directory", help="on the disk that is to be measured")
    options = parser.parse_args()
    print(f"sync=always, median of {options.rounds} interleaved rounds, us per write")
    print(f"{'':12}{'1 thread':>12}{f'{options.writers} tasks':>12}{'ratio':>9}")
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        for engine in ENGINES:
            measure(engine, Path(directory), options)


if __name__ == "__main__":
    main()

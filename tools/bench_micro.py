"""Print microseconds per set and get beside the peers, measured in one run.

Every subject does the same work: the same 16-byte keys in the same random order, the
same 100-byte values. Rounds are interleaved and the median of each is printed, because
absolute times drift on a shared machine; only the ratios mean something. Garbage
collection stays on, as in a real program.
"""

import argparse
import contextlib
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import lmdb

import hypercache
from hypercache.engines import open_engine

VALUE = bytes(range(100))


@dataclass
class Subject:
    """One store under test and the durability it was opened with."""

    name: str
    durability: str
    set: Callable[[bytes, bytes], object]
    get: Callable[[bytes], object]
    close: Callable[[], object] = lambda: None
    count: int = 0
    times: dict[str, list[float]] = field(
        default_factory=lambda: {"set": [], "get": []}
    )


def subjects(directory: Path, count: int) -> Iterator[Subject]:
    """Open every store that is installed."""
    table: dict[bytes, bytes] = {}
    yield Subject("dict", "none", table.__setitem__, table.get, count=count)
    cache = hypercache.Cache(directory / "cache", serializer="bytes")
    yield Subject("Cache", "everysec", cache.set, cache.get, cache.close, count)
    engine = open_engine(str(directory / "engine"))
    yield Subject("its engine", "everysec", engine.put, engine.get, engine.close, count)
    yield lmdb_subject(directory / "lmdb", count // 10)
    with contextlib.suppress(ImportError):
        yield rocksdict_subject(directory / "rocksdict", count)


def lmdb_subject(path: Path, count: int) -> Subject:
    """Open LMDB with a transaction per operation, not synced."""
    env = lmdb.open(str(path), map_size=1 << 30, sync=False, metasync=False)

    def put(key: bytes, value: bytes) -> None:
        with env.begin(write=True) as txn:
            txn.put(key, value)

    def get(key: bytes) -> object:
        with env.begin() as txn:
            return txn.get(key)

    return Subject("LMDB, txn per op", "not synced", put, get, env.close, count)


def rocksdict_subject(path: Path, count: int) -> Subject:
    """Open rocksdict in raw mode with its defaults: a log that is not synced."""
    import rocksdict

    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    db = rocksdict.Rdict(str(path), options)
    return Subject("rocksdict", "not synced", db.__setitem__, db.get, db.close, count)


def run_round(subject: Subject, keys: list[bytes]) -> None:
    """Time one pass of sets and one of gets over the same keys."""
    keys = keys[: subject.count]
    put, get = subject.set, subject.get
    start = time.perf_counter()
    for key in keys:
        put(key, VALUE)
    middle = time.perf_counter()
    for key in keys:
        get(key)
    end = time.perf_counter()
    subject.times["set"].append((middle - start) / len(keys) * 1e6)
    subject.times["get"].append((end - middle) / len(keys) * 1e6)


def report(found: list[Subject]) -> None:
    """Print the medians, and the ratio of each to this package's Cache."""
    medians = {
        (subject.name, work): statistics.median(subject.times[work])
        for subject in found
        for work in ("set", "get")
    }
    print(f"{'':18}{'durability':>12}{'set us':>9}{'get us':>9}", end="")
    print(f"{'set / Cache':>14}{'get / Cache':>13}")
    for subject in found:
        row = [medians[subject.name, work] for work in ("set", "get")]
        ours = [medians["Cache", work] for work in ("set", "get")]
        print(f"{subject.name:18}{subject.durability:>12}", end="")
        print("".join(f"{value:9.2f}" for value in row), end="")
        print(f"{row[0] / ours[0]:14.2f}{row[1] / ours[1]:13.2f}")


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="measure only the subject of this name")
    arguments = parser.parse_args()
    keys = [b"%016d" % number for number in range(arguments.keys)]
    random.Random(arguments.seed).shuffle(keys)
    print(f"{platform.python_implementation()} {platform.python_version()}, ", end="")
    print(f"{os.cpu_count()} cores, {arguments.keys} keys in random order, ", end="")
    print(f"median of {arguments.rounds} interleaved rounds, seed {arguments.seed}")
    with tempfile.TemporaryDirectory() as directory:
        found = list(subjects(Path(directory), arguments.keys))
        if arguments.only:
            found = [subject for subject in found if subject.name == arguments.only]
        for _ in range(arguments.rounds):
            for subject in found:
                run_round(subject, keys)
        for subject in found:
            subject.close()
    if not arguments.only:
        report(found)
    else:
        print({work: f"{min(t):.2f}" for work, t in found[0].times.items()})


if __name__ == "__main__":
    main()

"""Work on a store together with other processes until told to stop, and keep a record.

Run as `python -m tests.support.shared_worker STORE RECORDS NAME SEED`. Every increment
is noted in a file before it is made and after it was acknowledged, so that whoever
kills this process knows which one was under way.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from hypercache import Cache

THREADS = 4
LEFT, RIGHT, SUM = "left", "right", "sum"


@dataclass
class Record:
    """What one thread has done: the sums it was told, and what it had begun."""

    sums: list[int] = field(default_factory=list)
    begun_count: int = 0
    own_count: int = 0
    own_begun_count: int = 0

    @property
    def in_flight_count(self) -> int:
        return self.begun_count - len(self.sums)


def read_records(folder: Path) -> Iterator[tuple[str, Record]]:
    """Yield the record of every thread under its name."""
    for path in sorted(folder.iterdir()):
        record = Record()
        for line in path.read_text().splitlines():
            word, _, number = line.partition(" ")
            if word == "begin":
                record.begun_count += 1
            elif word == "sum":
                record.sums.append(int(number))
            elif word == "own":
                record.own_begun_count += 1
            else:
                record.own_count += 1
        yield path.name, record


class Worker(threading.Thread):
    def __init__(self, cache: Cache, folder: Path, name: str, seed: str) -> None:
        super().__init__(name=name)
        self.cache = cache
        self.random = random.Random(f"{seed} {name}")
        self.file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.stopping = threading.Event()
        self.turn_count = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        steps = [self.add, self.add, self.add_own, self.move, self.fill, self.read]
        try:
            while not self.stopping.is_set():
                self.random.choice(steps)()
                self.turn_count += 1
        except BaseException as error:  # noqa: BLE001  (raised by main)
            self.error = error

    def note(self, line: str) -> None:
        os.write(self.file, f"{line}\n".encode())

    def add(self) -> None:
        self.note("begin")
        self.note(f"sum {self.cache.incr(SUM)}")

    def add_own(self) -> None:
        self.note("own")
        with self.cache.transaction():
            count = self.cache.get(self.name, 0)
            self.cache.set(self.name, count + 1)
            self.cache.incr("owns")
        self.note("own-done")

    def move(self) -> None:
        with self.cache.transaction():
            amount = self.random.randrange(10)
            self.cache.set(LEFT, self.cache.get(LEFT, 0) - amount)
            self.cache.set(RIGHT, self.cache.get(RIGHT, 0) + amount)

    def fill(self) -> None:
        key = f"fill-{self.random.randrange(300)}"
        if self.random.random() < 0.2:
            self.cache.delete_many([key, key + "x"])
        else:
            value = "v" * self.random.choice([10, 200, 6000])
            self.cache.set_many({key: [key, value], key + "x": [key, value]})

    def read(self) -> None:
        balance = self.cache.get_many([LEFT, RIGHT])
        assert sum(balance.values()) == 0, balance
        key = f"fill-{self.random.randrange(300)}"
        found = self.cache.get_many([key, key + "x"])
        assert found in ({}, {key: found.get(key), key + "x": found.get(key)}), key
        for name, value in self.cache.scan("fill-", limit=5):
            assert name.rstrip(b"x").decode() == value[0]


def work(cache: Cache, folder: Path, name: str, seed: str, orders: IO[str]) -> int:
    """Return how many steps were done until the orders end."""
    workers = [Worker(cache, folder, f"{name}-{n}", seed) for n in range(THREADS)]
    for worker in workers:
        worker.start()
    orders.read()
    for worker in workers:
        worker.stopping.set()
    for worker in workers:
        worker.join()
        if worker.error is not None:
            raise worker.error
    return sum(worker.turn_count for worker in workers)


def main(store: str, folder: str, name: str, seed: str) -> None:
    with Cache(store, engine="persistent", map_bytes=65536) as cache:
        sys.stdout.write("open\n")
        sys.stdout.flush()
        sys.stdin.readline()  # until all have opened it
        turns = work(cache, Path(folder), name, seed, sys.stdin)
    sys.stdout.write(f"{turns}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Run the demo's worker, kill it, and compare its cache with what is right."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from hypercache.cache import Cache
from hypercache.cli.demo_modules import Summary
from hypercache.errors import HyperCacheError

OnAck = Callable[[], None]
Expected = Mapping[str, Summary]

_WORKER = "hypercache.cli.demo_worker"


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker works on."""

    store: str
    seed: int
    count: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a store held when it was opened again.

    Attributes:
        acknowledged: entries that workers had reported until then.
        recovered: those of them that are there and equal.
        lost: keys that were acknowledged and are not there.
        differing: keys whose value is not what a fresh computation gives.
        unreported: entries that are there although no worker came to report them.
        open_s: how long the open took.
        notes: what recovery had to do, such as cutting a torn tail.
    """

    acknowledged: int
    recovered: int
    lost: tuple[str, ...]
    differing: tuple[str, ...]
    unreported: int
    open_s: float
    notes: tuple[str, ...]


class WorkerError(HyperCacheError):
    """Say that a worker ended in a way that the demo did not bring about."""


def fill_and_kill(
    job: Job, after: int, delay_s: float, on_ack: OnAck
) -> tuple[list[str], bool]:
    """Kill a worker with SIGKILL after so many acknowledgements and a little more.

    Return the keys of all entries it acknowledged until it died, and whether it was
    the signal that ended it.
    """
    keys: list[str] = []
    with _started("fill", job) as process:
        for line in _lines(process):
            keys.append(_key(line))
            on_ack()
            if len(keys) == after:
                time.sleep(delay_s)
                process.kill()
        process.wait()  # or the kill that cleans up could be taken for this one
    killed = process.returncode == -signal.SIGKILL
    if not killed:
        _expect_success(process)
    return keys, killed


def fill(job: Job, on_ack: OnAck) -> tuple[list[str], float]:
    """Let a worker finish; return the keys it acknowledged and its seconds."""
    keys = []
    began = time.perf_counter()
    with _started("fill", job) as process:
        for line in _lines(process):
            keys.append(_key(line))
            on_ack()
        process.wait()
    _expect_success(process)
    return keys, time.perf_counter() - began


def read(job: Job) -> tuple[str, float]:
    """Let a worker read all; return the digest of what it found, and its seconds."""
    began = time.perf_counter()
    with _started("read", job) as process:
        digest = "".join(_lines(process))
        process.wait()
    _expect_success(process)
    return digest, time.perf_counter() - began


def compare(store: str, acknowledged: set[str], expected: Expected) -> Comparison:
    """Open a store and compare every entry in it, and every one that should be."""
    began = time.perf_counter()
    with Cache(store) as cache:
        open_s = time.perf_counter() - began
        found = {key: cache.get(key) for key in acknowledged}
        unreported = dict(cache.scan())
        for key in acknowledged:
            unreported.pop(key.encode(), None)
        notes = cache.stats().recovery
    lost = [key for key, value in found.items() if value is None]
    found |= {name.decode(): value for name, value in unreported.items()}
    differing = [
        key
        for key, value in found.items()
        if value is not None and value != expected.get(key)
    ]
    wrong = acknowledged.intersection([*lost, *differing])
    return Comparison(
        acknowledged=len(acknowledged),
        recovered=len(acknowledged) - len(wrong),
        lost=tuple(sorted(lost)),
        differing=tuple(sorted(differing)),
        unreported=len(unreported),
        open_s=open_s,
        notes=notes,
    )


@contextlib.contextmanager
def _started(mode: str, job: Job) -> Iterator[subprocess.Popen[str]]:
    """Start a worker; whatever happens in the block, it is gone afterwards."""
    # The worker must find the modules that this process has found. In a group of its
    # own it does not get the Ctrl-C that is meant for us.
    arguments = [mode, job.store, str(job.seed), str(job.count)]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", _WORKER, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        process_group=0,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """Yield the lines a worker prints, to the last one that is whole."""
    assert process.stdout is not None
    return (line[:-1] for line in process.stdout if line.endswith("\n"))


def _key(acknowledgement: str) -> str:
    return acknowledgement.partition(" ")[2]


def _expect_success(process: subprocess.Popen[str]) -> None:
    if process.returncode != 0:
        raise WorkerError(f"a worker of the demo ended with {process.returncode}")

"""The course of the demo: kill, compare, finish, check, measure."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import click

from hypercache.cache import Cache
from hypercache.cli import demo_modules, demo_process
from hypercache.cli.demo_process import Comparison, Expected, Job
from hypercache.engines.base import CheckReport

# The kill comes so much later than the acknowledgement that triggers it, at most:
# about as long as a worker takes for one or two modules.
MAX_DELAY_S = 0.02


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured.

    Attributes:
        available: modules that the standard library has.
        modules: modules that the workers summarized.
        unparsable: those of them whose summary says that they do not parse.
        kills_wanted: how many kills were asked for.
        kills: what was compared after each kill that met a living worker.
        final: what was compared after the job was finished.
        check: what `Cache.check` said at the end.
        cold_s: a new process that computes all summaries into an empty cache.
        warm_s: a new process that gets all summaries from the cache.
        warm_equal: the latter got every one, and they equal a fresh computation.
        disk_bytes: all files of the store at the end, closed and opened again.
    """

    seed: int
    available: int
    modules: int
    unparsable: int
    kills_wanted: int
    kills: Sequence[Comparison]
    final: Comparison
    check: CheckReport
    cold_s: float
    warm_s: float
    warm_equal: bool
    disk_bytes: int

    @property
    def compared(self) -> Sequence[Comparison]:
        """Return all comparisons, in the order in which they were made."""
        return [*self.kills, self.final]

    @property
    def lost(self) -> set[str]:
        """Return the keys that were missing in any comparison."""
        return {key for each in self.compared for key in each.lost}

    @property
    def differing(self) -> set[str]:
        """Return the keys whose value was wrong in any comparison."""
        return {key for each in self.compared for key in each.differing}

    @property
    def ok(self) -> bool:
        """Tell whether nothing was lost, nothing was wrong and all is there."""
        wrong = self.lost or self.differing
        whole = self.final.recovered + self.final.unreported == self.modules
        return not wrong and whole and self.check.ok and self.warm_equal


def run(job: Job, cold_store: str, kill_count: int) -> Result:
    """Do all of it and return what was measured."""
    paths = demo_modules.choose(job.seed, job.count)
    expected = _compute(paths)
    kills, acknowledged = _kill_repeatedly(job, kill_count, expected)
    with _progress("finishing", len(expected) - len(acknowledged)) as step:
        acknowledged.update(demo_process.fill(job, step)[0])
    final = demo_process.compare(job.store, acknowledged, expected)
    with Cache(job.store) as cache:
        check, disk_bytes = cache.check(), cache.stats().disk_bytes
    cold = Job(cold_store, job.seed, job.count)
    with _progress("the same without kills", len(expected)) as step:
        _, cold_s = demo_process.fill(cold, step)
    digest, warm_s = demo_process.read(job)
    return Result(
        seed=job.seed,
        available=len(demo_modules.find()),
        modules=len(expected),
        unparsable=sum("error" in summary for summary in expected.values()),
        kills_wanted=kill_count,
        kills=kills,
        final=final,
        check=check,
        cold_s=cold_s,
        warm_s=warm_s,
        warm_equal=digest == demo_modules.digest_of(expected.values()),
        disk_bytes=disk_bytes,
    )


def _compute(paths: Sequence[str]) -> Expected:
    """Compute every summary here: what the caches are compared with."""
    expected = {}
    with _progress("computing what is right", len(paths)) as step:
        for path in paths:
            source = demo_modules.read(path)
            key = demo_modules.key_of(path, source)
            expected[key] = demo_modules.summarize(source)
            step()
    return expected


def _kill_repeatedly(
    job: Job, kill_count: int, expected: Expected
) -> tuple[list[Comparison], set[str]]:
    """Return what was compared after each kill, and all keys acknowledged."""
    chooser = random.Random(job.seed)  # noqa: S311  (repeatable, not secret)
    comparisons: list[Comparison] = []
    acknowledged: set[str] = set()
    with _progress("working and being killed", len(expected)) as step:
        for kills_left in range(kill_count, 0, -1):
            # About as much for each worker, and as much again for the last one.
            share = (len(expected) - len(acknowledged)) // (kills_left + 1)
            after = chooser.randint(max(1, share // 2), max(1, share))
            delay_s = chooser.uniform(0, MAX_DELAY_S)
            keys, killed = demo_process.fill_and_kill(job, after, delay_s, step)
            acknowledged.update(keys)
            if not killed:
                break  # it was faster: nothing is left to be killed at
            found = demo_process.compare(job.store, acknowledged, expected)
            comparisons.append(found)
    return comparisons, acknowledged


@contextlib.contextmanager
def _progress(label: str, length: int) -> Iterator[Callable[[], None]]:
    """Show a bar where somebody watches; yield what moves it by one."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield lambda: bar.update(1)

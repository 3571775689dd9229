"""What a killed child told of its operations, and what the store must therefore hold.

The child is tests/support/kill_writer.py. An operation that had begun and was not
acknowledged may have happened, whole, or not at all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain, combinations
from typing import Any

from hypercache import Cache
from hypercache.errors import HyperCacheError
from tests.support.kill_writer import Contents, apply_to
from tests.support.processes import ROOT, environment


class Told:
    """What a child told of its operations."""

    def __init__(self) -> None:
        self.opened = False
        self.acknowledged_count = 0
        self.counts: list[int] = []
        self.in_flight: dict[str, dict[str, Any]] = {}

    def hear(self, line: str, contents: Contents) -> None:
        """Note a line; what it acknowledges changes `contents`."""
        kind, _, rest = line.rstrip("\n").partition(" ")
        if kind == "opened":
            self.opened = True
        elif kind == "B":
            thread, _, op = rest.partition(" ")
            self.in_flight[thread] = json.loads(op)
        elif kind == "A":
            thread, _, result = rest.partition(" ")
            op = self.in_flight.pop(thread)
            apply_to(contents, op)
            self.acknowledged_count += 1
            if result != "null":
                self.counts.append(json.loads(result))


def run_and_kill(
    arguments: list[str], line_count: int, delay_s: float, contents: Contents
) -> Told:
    """Let a child tell so many lines, wait a little, kill it, hear the rest."""
    told = Told()
    command = [sys.executable, "-m", "tests.support.kill_writer", *arguments]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        for _, line in zip(range(line_count), child.stdout, strict=False):
            told.hear(line, contents)
        try:
            child.wait(delay_s)
        except subprocess.TimeoutExpired:
            child.kill()
        for line in child.stdout:
            told.hear(line, contents)
        complaint = child.stderr.read()
    assert child.returncode == -9, f"the child ended by itself:\n{complaint}"
    return told


class Totals:
    """What all rounds came to; `lost` and `invented` count keys."""

    def __init__(self) -> None:
        self.kills = self.kills_of_openers = 0
        self.acknowledged = self.in_flight = self.happened = 0
        self.lost: list[str] = []
        self.invented: list[str] = []
        self.failed_opens: list[str] = []

    def __str__(self) -> str:
        return (
            f"{self.kills} kills of writers, {self.kills_of_openers} of openers, "
            f"{self.acknowledged} operations acknowledged, "
            f"{self.in_flight} in flight ({self.happened} of them happened), "
            f"{len(self.lost)} lost, {len(self.invented)} invented, "
            f"{len(self.failed_opens)} failed opens"
        )


def whole_map(cache: Cache) -> Contents:
    return {
        key.decode(): (value, cache.ttl(key) is not None) for key, value in cache.scan()
    }


def subsets(items: list[Any]) -> Iterator[tuple[Any, ...]]:
    return chain.from_iterable(combinations(items, n) for n in range(len(items) + 1))


def explanation(
    found: Contents, acknowledged: Contents, in_flight: list[dict[str, Any]]
) -> tuple[int, Contents]:
    """Return how many operations in flight happened, and the map they explain.

    That map is the nearest to `found`; when all is well it is `found`.
    """
    candidates = []
    for happened in subsets(in_flight):
        expected = dict(acknowledged)
        for op in happened:
            apply_to(expected, op)
        candidates.append((len(differing(found, expected)), len(happened), expected))
    _, happened_count, expected = min(candidates, key=lambda item: item[:2])
    return happened_count, expected


def differing(found: Contents, expected: Contents) -> list[str]:
    names = sorted(found.keys() | expected.keys())
    return [name for name in names if found.get(name) != expected.get(name)]


def compare(found: Contents, contents: Contents, told: Told, totals: Totals) -> None:
    """Add what is lost and what is invented to the totals."""
    in_flight = list(told.in_flight.values())
    happened_count, expected = explanation(found, contents, in_flight)
    totals.acknowledged += told.acknowledged_count
    totals.in_flight += len(in_flight)
    totals.happened += happened_count
    for name in differing(found, expected):
        text = f"round {totals.kills}, {name[-40:]}: {found.get(name)!s:.80}"
        text += f" where {expected.get(name)!s:.80} belongs"
        lost = name in expected and found.get(name) != expected[name]
        (totals.lost if lost else totals.invented).append(text)


def reopen_and_compare(
    path: str, settings: dict[str, Any], contents: Contents, told: Told, totals: Totals
) -> Contents | None:
    """Open what the child left and compare it; None if it does not open.

    Every fourth time it is checked, too: an open after a kill reads LMDB anyway.
    """
    try:
        cache = Cache(path, **settings)
    except HyperCacheError as error:
        totals.failed_opens.append(f"round {totals.kills}: {error}")
        return None
    with cache:
        found = whole_map(cache)
        compare(found, contents, told, totals)
        if totals.kills % 4 == 0:
            report = cache.check()
            assert report.ok, report.problems
        assert len(cache) == len(found)
    return found

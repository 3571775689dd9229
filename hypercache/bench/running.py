"""Run the works: every step in a directory of its own, one round after the other."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hypercache.bench.plan import Plan
from hypercache.bench.results import Results, Sample
from hypercache.bench.steps import Step, Work
from hypercache.bench.work.footprint import IMPORT, RESIDENT
from hypercache.bench.work.growth import GROWTH
from hypercache.bench.work.opening import OPEN
from hypercache.bench.work.single import SCAN, SINGLE
from hypercache.bench.work.sustained import SUSTAINED
from hypercache.bench.work.synced import SYNCED
from hypercache.bench.work.ycsb import YCSB

WORKS = {
    work.name: work
    for work in (SINGLE, SCAN, SYNCED, SUSTAINED, YCSB, OPEN, RESIDENT, IMPORT, GROWTH)
}


@dataclass(frozen=True)
class Turn:
    """One step in one round."""

    work: str
    round: int
    step: Step

    def __str__(self) -> str:
        return f"{self.work}: {self.step.subject}"


def turns(plan: Plan, names: Sequence[str]) -> list[Turn]:
    """Return all steps in their order.

    Rounds are interleaved: every subject does a round before any does the next one,
    and who goes first changes, because the speed of a machine drifts.
    """
    works = [WORKS[name] for name in names or WORKS]
    return [turn for work in works for turn in _turns_of(work, plan)]


def _turns_of(work: Work, plan: Plan) -> Iterator[Turn]:
    for number in range(work.rounds(plan)):
        steps = work.steps(plan, plan.seed + number)
        for step in steps if number % 2 == 0 else reversed(steps):
            yield Turn(work.name, number, step)


def run(turn: Turn, directory: Path, results: Results) -> None:
    """Do one step and note its samples, or why it failed: others are not in vain.

    The disk is quiet when it begins, or it would wait for what the one before it wrote.
    """
    try:
        results.samples += _samples(turn, directory)
    except Exception as error:  # noqa: BLE001 - a peer may raise anything
        results.failures.append(f"{turn}: {error!r}")


def _samples(turn: Turn, directory: Path) -> list[Sample]:
    with tempfile.TemporaryDirectory(dir=directory, prefix="bench-") as name:
        gc.collect()
        os.sync()
        found = turn.step.run(Path(name))
        return [replace(sample, round=turn.round) for sample in found]

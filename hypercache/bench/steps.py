"""One step of a run: some work on one subject, and the clock around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from hypercache.bench.plan import Plan
from hypercache.bench.results import Sample
from hypercache.bench.stores import Subject


@dataclass(frozen=True)
class Step:
    """Work on one subject, done in an empty directory that is removed behind it."""

    subject: str
    run: Callable[[Path], Iterable[Sample]]


@dataclass(frozen=True)
class Work:
    """A kind of work: its steps for one round, whose seed differs from the others'."""

    name: str
    steps: Callable[[Plan, int], list[Step]]
    rounds: Callable[[Plan], int]


def steps_of(
    subjects: Iterable[Subject],
    function: Callable[[Plan, int, Subject, Path], Iterable[Sample]],
    plan: Plan,
    seed: int,
) -> list[Step]:
    """Return a step for each subject."""

    def bound(subject: Subject) -> Callable[[Path], Iterable[Sample]]:
        return lambda path: function(plan, seed, subject, path)

    return [Step(subject.name, bound(subject)) for subject in subjects]


def many(plan: Plan) -> int:
    """Return the rounds of a work of seconds."""
    return plan.rounds


def few(plan: Plan) -> int:
    """Return the rounds of a work of minutes."""
    return plan.long_rounds


def once(_plan: Plan) -> int:
    """Return one round."""
    return 1


def sample(measure: str, subject: Subject, value: float, unit: str = "us") -> Sample:
    """Return a figure of a subject."""
    return Sample(measure, unit, subject.name, value)

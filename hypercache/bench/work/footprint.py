"""What a store takes before it does anything: resident memory, and its import."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hypercache.bench import child
from hypercache.bench.plan import Plan
from hypercache.bench.results import Sample
from hypercache.bench.steps import Step, Work, few, many, sample, steps_of
from hypercache.bench.stores import Durability, Subject
from hypercache.bench.subjects import OURS, SUBJECTS, present


def _resident(plan: Plan, seed: int, subject: Subject, path: Path) -> Iterator[Sample]:
    name, count = "resident memory, a key", plan.resident_keys
    found = child.resident_bytes_per_key(subject.name, path, count, seed)
    yield sample(name, subject, found, "B")


def _import(_plan: Plan, _seed: int, subject: Subject, _path: Path) -> Iterator[Sample]:
    module = subject.module or "hypercache"
    yield Sample("import", "ms", module, child.import_ms(module))


def _resident_steps(plan: Plan, seed: int) -> list[Step]:
    subjects = present(Durability.RAM, Durability.SYSTEM, bulk=True)
    return steps_of(subjects, _resident, plan, seed)


def _import_steps(plan: Plan, seed: int) -> list[Step]:
    modules = {
        each.module: each
        for each in SUBJECTS
        if (each.module or each.name in OURS) and not each.missing()
    }
    return steps_of(modules.values(), _import, plan, seed)


RESIDENT = Work("resident", _resident_steps, few)
IMPORT = Work("import", _import_steps, many)

"""All that `make crash` does, as tasks for several processes, and its table."""

from __future__ import annotations

import logging
import shlex
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from hypercache.testing.power_cut import LOST_NAMES, LOST_WRITES, TORN_WRITE
from tests.crash.workloads_cache import WORKLOADS
from tests.crash.workloads_swept import SWEPT
from tests.support import below_seam, crashstore, fault_sweep
from tests.support.crash_explorer import (
    IN_RECOVERY,
    IN_RECOVERY_TWICE,
    Case,
    Limits,
    explore,
)
from tests.support.fault_sweep import FULL, NAMES, SYNC, faults_of, sweep

BEHIND_FAULT, BELOW = "power cut behind a fault", "below the seam"
COMMAND = "python tools/crash_explorer.py"
# More writes wait for a sync here, so more can be lost of them: tried with more seeds.
UNSYNCED_SEEDS = 2
SWEEP_PARTS = 2

ROWS = (
    (
        LOST_WRITES,
        "power cut: any prefix or subset of unsynced writes lost",
        "I1-I4, I8",
    ),
    (TORN_WRITE, "torn last write: bytes, sectors, zeros, stale bytes", "I1-I4, I8"),
    (LOST_NAMES, "directory operations lost or reordered", "I1, I3, I8"),
    (IN_RECOVERY, "power cut in the recovery from a crash", "I6"),
    (IN_RECOVERY_TWICE, "power cut in that recovery, too", "I6"),
    (BEHIND_FAULT, "power cut behind one of the faults below", "I1-I4, I8"),
    (SYNC, "fsync fails at the n-th call, pages dropped", "I5, I9"),
    (
        FULL,
        "no space, quota or file size at the n-th call, short writes",
        "I1, I9, I10",
    ),
    (NAMES, "open, rename, unlink, truncate, lock, read, write error", "I9, I10"),
    (BELOW, "EINTR, 1-byte writes, 1-byte reads at the n-th call", "I1, I3"),
)
CRASHES = (LOST_WRITES, TORN_WRITE, LOST_NAMES, IN_RECOVERY, IN_RECOVERY_TWICE)


class Task(NamedTuple):
    """A piece of work: explore one case, or sweep a part of the faults of one."""

    kind: str
    workload: str
    engine: str
    seed: int = 0
    share: int = 1


class Outcome(NamedTuple):
    """What came of a task: states by row, and the violations with their commands."""

    task: Task
    seen: dict[str, set[bytes]]
    violations: list[tuple[str, str, str]]  # row, command, problem


def all_tasks(share: int = 1) -> Iterator[Task]:
    """Yield everything, the long ones first; of the faults every `share`-th only."""
    for name, workload in WORKLOADS.items():
        unsynced = workload.changes.get("sync", "always") != "always"
        for engine in workload.engines:
            for seed in range(1, 1 + (UNSYNCED_SEEDS if unsynced else 1)):
                yield Task("explore", name, engine, seed)
    for name, workload in SWEPT.items():
        for engine in workload.engines:
            for part in range(SWEEP_PARTS):
                yield Task("sweep", name, engine, part, share)
    for engine in ("hybrid", "memory"):
        yield Task("below", "below", engine, 0, share)


def do(task: Task, limits: Limits | None = None) -> Outcome:
    """Do one piece of the work."""
    logging.disable(logging.CRITICAL)  # thousands of torn tails are cut in here
    try:
        if task.kind == "below":
            return _below(task)
        with crashstore.simulated():
            if task.kind == "explore":
                return _explore(task, limits or Limits())
            return _sweep(task)
    finally:
        logging.disable(logging.NOTSET)


def _explore(task: Task, limits: Limits) -> Outcome:
    case = Case(task.workload, task.engine, task.seed)
    explored = explore(case, limits)
    violations = [
        (IN_RECOVERY if "+" in found.name else LOST_WRITES, command, found.problem)
        for found in explored.violations
        for command in [command_of(task, state=found.name)]
    ]
    return Outcome(task, explored.seen, violations)


def _sweep(task: Task) -> Outcome:
    seen: dict[str, set[bytes]] = {BEHIND_FAULT: set()}
    violations = []
    faults = list(faults_of(task.workload, task.engine))
    for injected in faults[task.seed :: SWEEP_PARTS * task.share]:
        swept = sweep(task.workload, task.engine, injected)
        case = f"{task.workload} {task.engine} {injected}"
        seen.setdefault(injected.kind, set()).add(case.encode())
        seen[BEHIND_FAULT] |= swept.images
        command = command_of(task, fault=str(injected))
        violations += [(injected.kind, command, text) for text in swept.problems]
    return Outcome(task, seen, violations)


def _below(task: Task) -> Outcome:
    seen: dict[str, set[bytes]] = {BELOW: set()}
    violations = []
    for hitch in below_seam.hitches_of(task.engine)[:: task.share]:
        seen[BELOW].add(f"{task.engine} {hitch}".encode())
        problem = below_seam.problem_with(task.engine, hitch)
        if problem:
            command = command_of(task, fault=str(hitch))
            violations.append((BELOW, command, problem))
    return Outcome(task, seen, violations)


def command_of(task: Task, **what: str) -> str:
    """Return the command that does one state of a task again."""
    words = ["--workload", task.workload, "--engine", task.engine]
    if task.kind == "explore":
        words += ["--seed", str(task.seed)]
    for name, text in what.items():
        words += [f"--{name}", text]
    return f"{COMMAND} {shlex.join(words)}"


def replay_fault(workload: str, engine: str, fault: str) -> str | None:
    """Make one fault happen again; return what is wrong then."""
    if workload == "below":
        return below_seam.problem_with(engine, below_seam.Hitch.parse(fault))
    injected = fault_sweep.Injected.parse(fault)
    with crashstore.simulated():
        problems = sweep(workload, engine, injected).problems
    return "\n".join(problems) or None


def table(outcomes: list[Outcome]) -> tuple[str, dict[str, int], int]:
    """Return the table, the number of distinct states by row, and of violations."""
    distinct: dict[str, set[bytes]] = {row: set() for row, _, _ in ROWS}
    wrong: Counter[str] = Counter()
    for outcome in outcomes:
        for row, keys in outcome.seen.items():
            distinct[row] |= keys
        wrong.update(row for row, _, _ in outcome.violations)
    counted: set[bytes] = set()
    for row in (*CRASHES, BEHIND_FAULT):  # the same disk is counted once
        distinct[row] -= counted
        counted |= distinct[row]
    counts = {row: len(keys) for row, keys in distinct.items()}
    lines = ["| fault | invariants | states | violations |", "|---|---|---|---|"]
    lines += [
        f"| {text} | {invariants} | {counts[row]:,} | {wrong[row]} |"
        for row, text, invariants in ROWS
    ]
    return "\n".join(lines), counts, wrong.total()

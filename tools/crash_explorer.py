"""Cut the power everywhere, make every operation fail, and recover each time.

`make crash` runs all of it on two processes, prints how many distinct states of a disk
were recovered, and fails if one of them was not as promised. For each of those it
prints one command, which looks at that state alone.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support import crash_table, crashstore
from tests.support.crash_explorer import Case, Limits, replay
from tests.support.crash_table import Outcome, Task

SHOWN = 20
LEAST_STATES, LEAST_IN_RECOVERY = 50_000, 5_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Explore, or replay one state; return the exit code."""
    options = _parser().parse_args(arguments)
    if options.state or options.fault:
        return _replay(options)
    return _explore(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", help="only this one")
    parser.add_argument("--engine", choices=["hybrid", "memory"])
    parser.add_argument("--seed", type=int)
    parser.add_argument("--state", help="look at the state of this name alone")
    parser.add_argument("--fault", help="make this fault happen alone")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--share", type=int, default=1, help="try every n-th of the faults only"
    )
    return parser


def _replay(options: argparse.Namespace) -> int:
    logging.disable(logging.CRITICAL)
    if options.fault:
        place = options.workload, options.engine, options.fault
        problem = crash_table.replay_fault(*place)
    else:
        case = Case(options.workload, options.engine, options.seed)
        with crashstore.simulated():
            problem = replay(case, options.state, Limits())
    logging.disable(logging.NOTSET)
    print(problem or "as promised")
    return 1 if problem else 0


def _explore(options: argparse.Namespace) -> int:
    tasks = [t for t in crash_table.all_tasks(options.share) if _is_asked(t, options)]
    if not tasks:
        print("nothing has these names; see tests/crash/workloads*.py")
        return 2
    began = time.monotonic()
    outcomes = list(_done(tasks, options.processes))
    text, counts, wrong = crash_table.table(outcomes)
    print(f"\n{text}\n")
    states = sum(counts[row] for row in crash_table.CRASHES)
    again = sum(counts[row] for row in crash_table.CRASHES[3:])
    print(
        f"{states:,} distinct crash states, {again:,} of them from a crash in a "
        f"recovery; {wrong} violations; {time.monotonic() - began:.0f} s, on the "
        f"processors {_processor_s():.0f} s"
    )
    _tell(outcomes)
    if len(tasks) == len(list(crash_table.all_tasks())) and (
        states < LEAST_STATES or again < LEAST_IN_RECOVERY
    ):
        print(f"fewer than {LEAST_STATES:,} and {LEAST_IN_RECOVERY:,}")
        return 1
    return 1 if wrong else 0


def _processor_s() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _is_asked(task: Task, options: argparse.Namespace) -> bool:
    return (
        options.workload in (None, task.workload)
        and options.engine in (None, task.engine)
        and (
            options.seed is None or task.kind != "explore" or task.seed == options.seed
        )
    )


def _done(tasks: list[Task], processes: int) -> Sequence[Outcome]:
    found = []
    pool = multiprocessing.get_context("spawn").Pool(processes)
    with contextlib.closing(pool):
        for outcome in pool.imap_unordered(partial(crash_table.do), tasks):
            task, count = outcome.task, sum(map(len, outcome.seen.values()))
            wrong = f", {len(outcome.violations)} WRONG" if outcome.violations else ""
            print(
                f"{task.kind} {task.workload} {task.engine} {task.seed}: {count}{wrong}"
            )
            sys.stdout.flush()
            found.append(outcome)
    pool.join()  # or the time they have used is not counted
    return found


def _tell(outcomes: list[Outcome]) -> None:
    violations = [found for outcome in outcomes for found in outcome.violations]
    for row, command, problem in violations[:SHOWN]:
        print(f"\n{row}: {problem}\n    {command}")
    if len(violations) > SHOWN:
        print(f"\nand {len(violations) - SHOWN} more")


if __name__ == "__main__":
    sys.exit(main())

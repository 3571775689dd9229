"""Takes away what keeps data safe, one thing at a time, and lets the tests find it.

Each defect removes one sync, comparison, latch or cut from the code that makes data
durable, or makes two of its steps in the wrong order. The tests run on a copy of the
project with that defect until one of them fails. A defect that survives says that a
test is missing or that the code does nothing: its reason stands in seed_defects.toml.

The table goes to docs/seeded_defects.md. Results are kept in build/, and taken over as
long as neither the module nor the test that killed it has changed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

from seed_defects_plan import Plan, load_plan
from seed_defects_results import Results, summary, table, verdict
from seed_defects_run import Known, Workshop
from seed_defects_source import Defect, RuleError

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path("docs/seeded_defects.md")
LIMIT_S = 900.0


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Do what the arguments say and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        plan = load_plan(root)
        defects = plan.chosen(options.only)
    except RuleError as error:
        print(error, file=sys.stderr)
        return 2
    if options.list:
        for defect in defects:
            print(f"{defect.id}  line {defect.line}: {defect.what}")
        print(f"{len(defects)} defects")
        return 0
    results = Results(root, options.resume or root / "build" / "seeded_defects.jsonl")
    if options.fresh:
        results.forget(defects)
    left = [defect for defect in defects if not results.is_settled(defect)]
    left = [] if options.table else left
    print(f"{len(defects)} defects, {len(left)} to run", flush=True)
    known = Known()
    _run(plan, left, results, options, known)
    print(summary(defects, results, plan))
    if not options.only and not options.quick:
        (root / TABLE).write_text(table(defects, results, plan), encoding="utf-8")
    problems = verdict(defects, results, plan)
    problems += [f"{test} fails without a defect, too" for test in known.unsound]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _run(
    plan: Plan,
    left: list[Defect],
    results: Results,
    options: argparse.Namespace,
    known: Known,
) -> None:
    if not left:
        return
    with tempfile.TemporaryDirectory(prefix="defects-", dir=_fast_place()) as place:
        workshops: SimpleQueue[Workshop] = SimpleQueue()
        for number in range(options.jobs):
            copy = Path(place) / str(number)
            copy.mkdir()
            workshops.put(Workshop(plan.root, copy, options.timeout, known))

        def try_out(defect: Defect) -> None:
            workshop = workshops.get()
            try:
                stages = plan.stages(defect, quick=options.quick)
                results.note(defect, workshop.try_out(defect, stages), options.quick)
            finally:
                workshops.put(workshop)

        with ThreadPoolExecutor(options.jobs) as pool:
            running = {pool.submit(try_out, defect): defect for defect in left}
            try:
                for done in as_completed(running):
                    done.result()
                    print(results.line(running[done]), flush=True)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _fast_place() -> str | None:
    """Return a directory in memory, None where there is none."""
    return next(_existing("/dev/shm"), None)  # noqa: S108 - a directory of our own in it


def _existing(*paths: str) -> Iterator[str]:
    return (path for path in paths if Path(path).is_dir())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="print the defects")
    parser.add_argument(
        "--only", action="append", default=[], metavar="ID", help="an id, or its start"
    )
    parser.add_argument(
        "--quick", action="store_true", help="ask the tests of each module only"
    )
    parser.add_argument(
        "--table", action="store_true", help="run nothing, write down what is known"
    )
    parser.add_argument("--fresh", action="store_true", help="take no result over")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--resume", type=Path, metavar="FILE")
    parser.add_argument(
        "--timeout", type=float, default=LIMIT_S, help="seconds for one run of tests"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

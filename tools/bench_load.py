"""Print what a sustained load costs beside rocksdict, in one run.

Two loads, each on a fresh store of either: uniformly random keys set once each, and
keys drawn by Zipf's law, so that few of them take most sets. Then random gets of keys
that are present, then a checkpoint and a close. Both do the same work with the same
instrumentation; who goes first alternates, and the disk is quiet before each load.
Only the ratios mean something.

A set's time contains whatever it had to wait for, also when a store holds writers back
because its maintenance is behind. "while the helper works" counts the sets during which
a checkpoint was running.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

from bench_load_run import Run, Work, measure
from bench_load_subjects import SUBJECTS, import_rocksdict
from bench_load_work import uniform_work, zipf_work

TARGETS = {
    "uniform": {"sets": 1.1, "gets": 3.0},
    "zipf": {"sets": 1.5, "gets": 3.0},
}
LATENCY_TARGET_MS = 5.0


def run_all(arguments: argparse.Namespace, directory: Path) -> list[Run]:
    """Measure each load with each store, in an order that alternates."""
    runs = []
    makers = {"uniform": uniform_work, "zipf": zipf_work}
    turn = 0
    for round_number in range(arguments.rounds):
        for name in arguments.loads:
            work: Work = makers[name](
                arguments.keys, arguments.gets, arguments.seed + round_number
            )
            order = SUBJECTS if turn % 2 == 0 else SUBJECTS[::-1]
            turn += 1
            for subject in order:
                run = measure(subject, work, directory / "store")
                runs.append(run)
                if not arguments.json:
                    print_run(run)
    return runs


def print_run(run: Run) -> None:
    """Print the line of one load on one store."""
    waited = "" if run.waited_ms is None else f"  waited {run.waited_ms / 1000:.1f} s"
    print(
        f"{run.load:8} {run.subject:10} {run.sets_per_s:9,.0f} sets/s "
        f"{run.gets_per_s:9,.0f} gets/s  checkpoint and close {run.close_s:4.1f} s"
        f"  disk {run.disk_bytes / 1e6:5.0f} MB{waited}"
    )
    print(f"{'':19} a set, all:                    {latency_text(run.latency_us)}")
    if run.busy_latency_us is not None:
        text = latency_text(run.busy_latency_us)
        share = f"{run.busy_share:4.0%}"
        print(f"{'':19} a set, helper works ({share}):    {text}", flush=True)


def latency_text(found: dict[str, float]) -> str:
    """Return percentiles as text."""
    return "  ".join(f"{name} {value:,.1f} us" for name, value in found.items())


def summarize(runs: list[Run]) -> list[dict[str, object]]:
    """Return, per load, median ratios to rocksdict and the worst latency."""
    rows: list[dict[str, object]] = []
    for load in dict.fromkeys(run.load for run in runs):
        ours, theirs = (
            [run for run in runs if run.load == load and run.subject == subject.name]
            for subject in SUBJECTS
        )
        pairs = list(zip(ours, theirs, strict=True))
        sets = sorted(a.sets_per_s / b.sets_per_s for a, b in pairs)
        gets = sorted(a.gets_per_s / b.gets_per_s for a, b in pairs)
        late = [run.busy_latency_us["p99.9"] for run in ours if run.busy_latency_us]
        rows.append(
            {
                "load": load,
                "sets_ratio": sets[len(sets) // 2],
                "gets_ratio": gets[len(gets) // 2],
                "all_sets_ratios": sets,
                "all_gets_ratios": gets,
                "worst_p999_ms": max(late) / 1000 if late else None,
            }
        )
    return rows


def print_summary(rows: list[dict[str, object]]) -> None:
    """Print each ratio beside its target."""
    for row in rows:
        target = TARGETS[str(row["load"])]
        print(
            f"{row['load']}: sets {row['sets_ratio']:.2f}x (target {target['sets']}x), "
            f"gets {row['gets_ratio']:.2f}x (target {target['gets']}x) of rocksdict's"
        )
        if row["worst_p999_ms"] is not None:
            print(
                f"{row['load']}: p99.9 of a set while the helper works "
                f"{row['worst_p999_ms']:.2f} ms (target under {LATENCY_TARGET_MS} ms)"
            )


def parsed_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=2_000_000, help="sets per load")
    parser.add_argument("--gets", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--load", choices=sorted(TARGETS), action="append")
    parser.add_argument("--directory", help="where the stores go; default: temporary")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.loads = arguments.load or list(TARGETS)
    return arguments


def main() -> None:
    """Run the loads and print the numbers."""
    arguments = parsed_arguments()
    if import_rocksdict() is None:
        sys.exit("bench_load needs rocksdict: pip install 'hypercache-engine[bench]'")
    facts = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "cores": os.cpu_count(),
        "keys": arguments.keys,
        "seed": arguments.seed,
        "rounds": arguments.rounds,
    }
    if not arguments.json:
        print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        runs = run_all(arguments, Path(directory))
    rows = summarize(runs)
    if arguments.json:
        print(json.dumps({**facts, "runs": [vars(run) for run in runs], "loads": rows}))
    else:
        print_summary(rows)


if __name__ == "__main__":
    main()

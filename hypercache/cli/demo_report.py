"""Print what the demo has measured."""

from __future__ import annotations

import dataclasses
import platform

from hypercache.cli.demo_process import Comparison
from hypercache.cli.demo_run import Result
from hypercache.cli.printing import echo, echo_json

MAX_NAMED = 5  # keys that are lost, before it only counts them


def show_json(result: Result, directory: str | None) -> None:
    """Print one JSON object."""
    document = dataclasses.asdict(result)
    del document["check"]
    document |= {
        "ok": result.ok,
        "directory": directory,
        "acknowledged": result.final.acknowledged,
        "recovered": result.final.recovered,
        "lost": sorted(result.lost),
        "differing": sorted(result.differing),
        "check_ok": result.check.ok,
        "speed_up": result.cold_s / result.warm_s,
    }
    echo_json(document)


def show(result: Result, directory: str | None) -> None:
    """Print the kills as one table and the whole as another."""
    echo(
        f"{'kill':>5} {'acknowledged':>13} {'recovered':>10} {'lost':>5} "
        f"{'differing':>10} {'unreported':>11} {'open':>8}"
    )
    for number, found in enumerate(result.kills, start=1):
        _kill(str(number), found)
    _kill("end", result.final)
    echo("")
    for name, value in _rows(result, directory):
        echo(f"{name:14} {value}")
    for key in sorted(result.lost | result.differing)[:MAX_NAMED]:
        echo(f"lost or differing: {key}")


def _kill(name: str, found: Comparison) -> None:
    echo(
        f"{name:>5} {found.acknowledged:13} {found.recovered:10} {len(found.lost):5} "
        f"{len(found.differing):10} {found.unreported:11} {found.open_s:6.2f} s"
    )
    for note in found.notes:
        echo(f"      {note}")


def _rows(result: Result, directory: str | None) -> list[tuple[str, str]]:
    kills = f"{len(result.kills)} of {result.kills_wanted}"
    killed = result.kills[-1].acknowledged if result.kills else 0
    of_all = f"of {result.available} in the library of Python"
    return [
        ("modules", f"{result.modules} {of_all} {platform.python_version()}"),
        ("", f"{result.unparsable} do not parse, and are cached as such"),
        ("kills", f"{kills}, by SIGKILL; seed {result.seed}"),
        (
            "acknowledged",
            f"{result.final.acknowledged}, {killed} of them before a kill",
        ),
        ("recovered", f"{result.final.recovered}, equal to a fresh computation"),
        ("lost", str(len(result.lost))),
        ("differing", str(len(result.differing))),
        ("check", "clean" if result.check.ok else "DAMAGED"),
        ("cold", f"{result.cold_s:.2f} s (a process that computes and caches all)"),
        ("warm", f"{result.warm_s:.2f} s (a process that gets all from the cache)"),
        ("", "all equal" if result.warm_equal else "NOT EQUAL to a computation"),
        ("speed-up", f"{result.cold_s / result.warm_s:.1f} times"),
        ("store size", f"{result.disk_bytes / 1024:.0f} KiB"),
        ("store", directory or "was temporary, is removed"),
    ]

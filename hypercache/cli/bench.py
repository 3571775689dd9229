"""The command bench: HyperCache beside its peers, measured in one run."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hypercache.cli.printing import echo
from hypercache.errors import ConfigError

if TYPE_CHECKING:
    from hypercache.bench.plan import Plan
    from hypercache.bench.results import Results
    from hypercache.bench.running import Turn

WORKS = "single scan synced sustained ycsb open resident import growth".split()
Folder = click.Path(exists=True, file_okay=False, writable=True, path_type=Path)
Kept = click.Path(dir_okay=False, path_type=Path)
FAILED = 1
NewFolder = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--quick", is_flag=True, help="About two minutes, at small sizes.")
@click.option(
    "--only",
    type=click.Choice(WORKS),
    multiple=True,
    help="This work; may be repeated. All, if none is given.",
)
@click.option("--rounds", type=click.IntRange(1), help="Rounds of each work.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--directory", type=Folder, help="Where stores lie; default: temporary.")
@click.option("--output", type=NewFolder, help="Keep JSON and plots (PNG, SVG) there.")
@click.option(
    "--from", "source", type=Kept, help="Report on kept JSON; measure nothing."
)
def bench(
    *,
    quick: bool,
    only: tuple[str, ...],
    rounds: int | None,
    seed: int,
    directory: Path | None,
    output: Path | None,
    source: Path | None,
) -> None:
    """Measure HyperCache beside the peers that are installed.

    All do the same work in one run, round by round, and only ratios mean anything:
    they come first, each beside its target. Without --quick it takes about half an
    hour. Exits with 1 if a part of it failed.
    """
    from hypercache.bench import plan, plots, report, results

    if output is not None:
        _prepare(output)
    if source is not None:
        found = results.load(source)
    else:
        sizes = plan.QUICK if quick else plan.FULL
        sizes = dataclasses.replace(sizes, seed=seed)
        if rounds is not None:
            sizes = dataclasses.replace(sizes, rounds=rounds, long_rounds=rounds)
        kept = output / f"{sizes.name}.json" if output is not None else None
        found = _measured(sizes, only, directory, kept)
    for line in report.lines(found):
        echo(line)
    if output is not None:
        for path in plots.draw(found, output, found.facts["plan"]):
            echo(f"drawn: {path}")
    if found.failures:
        raise click.exceptions.Exit(FAILED)


def _prepare(output: Path) -> None:
    """Refuse before an hour has passed, not behind it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "--output draws plots and needs matplotlib: "
            "pip install 'hypercache-engine[bench]'"
        ) from error
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{output} cannot be made: {error.strerror}") from error


def _measured(
    plan: Plan, only: tuple[str, ...], directory: Path | None, kept: Path | None
) -> Results:
    """Do all the work; what an interrupt leaves is in the file, step by step."""
    from hypercache.bench import machine, results, running, subjects

    parent = directory or Path(tempfile.gettempdir())
    facts = {**machine.facts(parent), "plan": plan.name, "sizes": _sizes(plan)}
    found = results.Results(facts, subjects.skipped())
    with click.progressbar(
        running.turns(plan, only),
        label="measuring",
        item_show_func=_shown,
        file=sys.stderr,
    ) as turns:
        for turn in turns:
            running.run(turn, parent, found)
            if kept is not None:
                found.save(kept)
    return found


def _shown(turn: Turn | None) -> str:
    return "" if turn is None else str(turn)


def _sizes(plan: Plan) -> str:
    """Return what the plan says, on one line."""
    fields = dataclasses.asdict(plan).items()
    return ", ".join(f"{name} {value}" for name, value in fields if name != "name")

"""The commands stats, check and checkpoint."""

from __future__ import annotations

import dataclasses

import click

from hypercache.cli import exits, stores
from hypercache.cli.printing import echo, echo_json, key_text
from hypercache.cli.stores import directory_argument, json_option
from hypercache.engines.base import CheckReport, Problem
from hypercache.errors import CorruptionError, HyperCacheError


@click.command()
@directory_argument
@json_option
def stats(directory: str, *, as_json: bool) -> None:
    """Print the numbers of a store.

    They are those right after it was opened.
    """
    with stores.open_existing(directory) as cache:
        numbers = dataclasses.asdict(cache.stats())
        numbers["entry_count"] = len(cache)
    numbers["serializer"] = stores.serializer_of(directory)
    if as_json:
        echo_json(numbers)
        return
    for name, value in numbers.items():
        shown = "; ".join(value) if isinstance(value, tuple) else value
        echo(f"{name:18} {'-' if shown in (None, '') else shown}")


@click.command()
@directory_argument
@json_option
def checkpoint(directory: str, *, as_json: bool) -> None:
    """Fold the log into LMDB.

    Prints the LSN reached.
    """
    with stores.open_existing(directory) as cache:
        lsn = cache.checkpoint()
    if as_json:
        echo_json({"checkpoint_lsn": lsn})
    else:
        echo(str(lsn))


@click.command()
@directory_argument
@json_option
def check(directory: str, *, as_json: bool) -> None:
    """Read everything back and print what is wrong.

    Exits with 3 if anything is. Opening the store cuts a torn tail, as every open
    does.
    """
    report, recovery = _examine(directory)
    if as_json:
        echo_json(
            {
                "ok": report.ok,
                "entry_count": report.entry_count if report.ok else None,
                "problems": [dataclasses.asdict(each) for each in report.problems],
                "recovery": recovery,
            }
        )
    elif report.ok:
        echo(f"clean: {report.entry_count} entries")
    else:
        for problem in report.problems:
            echo(_line(problem))
    if not report.ok:
        raise click.exceptions.Exit(exits.DAMAGED)


def _examine(directory: str) -> tuple[CheckReport, tuple[str, ...]]:
    """Return what is wrong, and what the open has put right."""
    report = CheckReport()
    recovery: tuple[str, ...] = ()
    try:
        with stores.open_existing(directory) as cache:
            recovery = cache.stats().recovery
            report = cache.check()
    except CorruptionError as error:
        problem = Problem(error.path, error.reason, error.offset, error.lsn, error.key)
        report = CheckReport((*report.problems, problem))
    except HyperCacheError:
        # With damage to report, it matters little that the close failed as well.
        if report.ok:
            raise
    return report, recovery


def _line(problem: Problem) -> str:
    where = [problem.path]
    where += [f"offset {problem.offset}"] if problem.offset is not None else []
    where += [f"LSN {problem.lsn}"] if problem.lsn is not None else []
    where += [f"key {key_text(problem.key)}"] if problem.key is not None else []
    return f"{', '.join(where)}: {problem.reason}"

"""The commands stats, check and checkpoint."""

from __future__ import annotations

import dataclasses

import click

from hypercache.cli import exits, stores
from hypercache.cli.printing import echo, echo_json, key_text
from hypercache.cli.stores import json_option, store_argument
from hypercache.engines import namespaces
from hypercache.engines.base import CheckReport, Problem
from hypercache.engines.reports import merged
from hypercache.errors import CorruptionError
from hypercache.handle import StoreHandle
from hypercache.storage import OsStorage


@click.command()
@store_argument
@json_option
def stats(directory: str, *, as_json: bool) -> None:
    """Print the numbers of a store.

    Nothing is changed: it may be open elsewhere, and a torn tail stays.
    """
    with stores.open_to_read(directory) as cache:
        numbers = dataclasses.asdict(cache.stats())
        numbers["entry_count"] = len(cache)
        numbers["namespaces"] = tuple(cache.namespaces())
    numbers["serializer"] = stores.serializer_of(directory)
    if as_json:
        echo_json(numbers)
        return
    for name, value in numbers.items():
        shown = "; ".join(value) if isinstance(value, tuple) else value
        echo(f"{name:18} {'-' if shown in (None, '') else shown}")


@click.command()
@store_argument
@json_option
def checkpoint(directory: str, *, as_json: bool) -> None:
    """Fold the log of a hybrid store into LMDB.

    Stores of the other engines have nothing to fold, and are synced. Prints the LSN
    reached.
    """
    with stores.open_to_write(directory) as cache:
        lsn = cache.checkpoint()
    if as_json:
        echo_json({"checkpoint_lsn": lsn})
    else:
        echo(str(lsn))


@click.command()
@store_argument
@json_option
def check(directory: str, *, as_json: bool) -> None:
    """Read everything back and print what is wrong.

    Nothing is changed: the store may be open elsewhere, or on a read-only disk. All
    namespaces are read, too. Exits
    with 3 if anything is damaged, with 1 if all there is is a torn tail, as a crash
    leaves it: the next open for writing cuts it, and nothing is lost.
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
        for note in recovery:
            echo(note)
        state = "repaired by the next open for writing" if recovery else "clean"
        echo(f"{state}: {report.entry_count} entries")
    else:
        for problem in report.problems:
            echo(_line(problem))
    if not report.ok:
        raise click.exceptions.Exit(exits.DAMAGED)
    if recovery:
        raise click.exceptions.Exit(exits.REPAIRABLE)


def _examine(directory: str) -> tuple[CheckReport, list[str]]:
    """Return what is wrong, and what the next open for writing puts right."""
    storage, paths = OsStorage(), stores.paths_of(directory)
    reports: list[CheckReport] = []
    notes: list[str] = []
    for each in (paths, *map(paths.namespace, namespaces.names(storage, paths))):
        report, recovery = _examine_alone(each.root)
        reports.append(report)
        notes += recovery
    return merged(reports), notes


def _examine_alone(directory: str) -> tuple[CheckReport, tuple[str, ...]]:
    try:
        with stores.open_to_read(directory) as cache:
            return StoreHandle.check(cache), cache.stats().recovery
    except CorruptionError as error:
        problem = Problem(error.path, error.reason, error.offset, error.lsn, error.key)
        return CheckReport((problem,)), ()


def _line(problem: Problem) -> str:
    where = [problem.path]
    where += [f"offset {problem.offset}"] if problem.offset is not None else []
    where += [f"LSN {problem.lsn}"] if problem.lsn is not None else []
    where += [f"key {key_text(problem.key)}"] if problem.key is not None else []
    return f"{', '.join(where)}: {problem.reason}"

"""The command demo: a cache whose process is killed again and again.

It prints what it has measured in this run, and nothing else.
"""

from __future__ import annotations

import os
import secrets
import tempfile

import click

from hypercache.cli import demo_report, demo_run, exits
from hypercache.cli.demo_process import Job
from hypercache.errors import ConfigError
from hypercache.storage import OsStorage

# For each worker: a kill must have work before it and behind it.
_LEAST_MODULES = 10


@click.command()
@click.argument("directory", metavar="[DIR]", required=False)
@click.option("--seed", type=int, help="Make the choices of an earlier run.")
@click.option(
    "--modules",
    "count",
    type=click.IntRange(min=_LEAST_MODULES),
    default=400,
    show_default=True,
    help="How many modules of the standard library to summarize.",
)
@click.option(
    "--kills",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="How often to kill the worker.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def demo(
    directory: str | None, *, seed: int | None, count: int, kills: int, as_json: bool
) -> None:
    """Kill a process that fills a cache, and count what is lost.

    A worker summarizes modules of Python's standard library and caches each summary.
    It is killed with SIGKILL, the store is opened again, and every entry that a worker
    had acknowledged is compared with a fresh computation. DIR must be new or empty,
    and is kept; without it a temporary directory is used. Exits with 3 if an entry is
    lost or differs.
    """
    least = _LEAST_MODULES * (kills + 1)
    if count < least:
        raise click.UsageError(f"{kills} kills need at least {least} modules")
    chosen = secrets.randbelow(1_000_000) if seed is None else seed
    kept = _new_directory(directory) if directory is not None else None
    with tempfile.TemporaryDirectory(prefix="hypercache-demo-") as temporary:
        job = Job(kept or f"{temporary}/store", chosen, count)
        result = demo_run.run(job, f"{temporary}/cold", kills)
    if as_json:
        demo_report.show_json(result, kept)
    else:
        demo_report.show(result, kept)
    if not result.ok:
        raise click.exceptions.Exit(exits.DAMAGED)


def _new_directory(directory: str) -> str:
    storage, root = OsStorage(), os.path.abspath(directory)
    if storage.info(root) is None:
        return root
    if not storage.is_directory(root):
        raise ConfigError(f"{root} is a file; pass a new or an empty directory")
    if storage.list(root):
        raise ConfigError(f"{root} is not empty; pass a new or an empty directory")
    return root

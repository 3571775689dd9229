"""The command `hypercache`: one module for each group of subcommands."""

from __future__ import annotations

import click

import hypercache
from hypercache.cli.bench import bench
from hypercache.cli.care import check, checkpoint, stats
from hypercache.cli.copies import backup, restore
from hypercache.cli.data import delete, get, scan, set_value
from hypercache.cli.demo import demo
from hypercache.cli.exits import CommandGroup
from hypercache.cli.logs import aof, wal
from hypercache.cli.spaces import drop, namespaces

__all__ = ["main"]

EXIT_CODES = """\
Exit codes: 0 clean; 1 the key is absent, a log has a torn tail, or nobody reads the
output any more; 2 wrong usage; 3 damaged; 4 cannot be read (locked, no permission, an
error of the disk, an unknown format); 130 interrupted.
"""


@click.group(cls=CommandGroup, epilog=EXIT_CODES)
@click.version_option(hypercache.__version__, prog_name="hypercache")
def main() -> None:
    """Look into a HyperCache store, change it, check it."""


COMMANDS = (
    *(get, set_value, delete, scan),
    *(stats, check, checkpoint, backup, restore),
    *(namespaces, drop),
    *(wal, aof, demo, bench),
)
for command in COMMANDS:
    main.add_command(command)

"""The command groups wal and aof: look into a log."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import click

from hypercache.cli import exits, log_text
from hypercache.cli.printing import echo, echo_json, json_text
from hypercache.cli.stores import json_option, store_argument
from hypercache.engines import offline
from hypercache.engines.helper import result_of
from hypercache.engines.offline import Compaction, OfflineLog
from hypercache.errors import ConfigError
from hypercache.inspection import layout
from hypercache.inspection.layout import Kind
from hypercache.inspection.listing import Listing, Wanted
from hypercache.inspection.report import State, state_of, verdict_of
from hypercache.inspection.summary import inspect
from hypercache.ops import check_key
from hypercache.paths import StorePaths
from hypercache.storage import OsStorage, SystemClock

EXIT_CODES = {
    State.CLEAN: 0,
    State.TORN: exits.REPAIRABLE,
    State.DAMAGED: exits.DAMAGED,
}
_LINES_AT_ONCE = 64
_LSN = click.IntRange(min=0)


@click.group()
def wal() -> None:
    """Look into the write-ahead log of a hybrid store."""


@click.group()
def aof() -> None:
    """Look into the append-only log of a memory store, compact it."""


def _inspect_command(kind: Kind) -> click.Command:
    @click.command("inspect", epilog=log_text.EPILOG)
    @store_argument
    @click.option("--frames", is_flag=True, help="List the ops, one on each line.")
    @click.option("--key", type=os.fsencode, metavar="KEY", help="List those of a key.")
    @click.option("--key-base64", metavar="TEXT", help="The same, for any bytes.")
    @click.option("--from-lsn", type=_LSN, metavar="N", help="List from this LSN on.")
    @click.option("--to-lsn", type=_LSN, metavar="N", help="List up to this LSN.")
    @json_option
    def command(directory: str, *, as_json: bool, **given: Any) -> None:
        if not directory or "\0" in directory:
            raise ConfigError(f"{directory!r} names no directory")
        wanted = _wanted(**given)
        paths = layout.find(OsStorage(), directory, kind)
        if wanted is None:
            state = _summarize(paths, kind, as_json=as_json)
        else:
            state = _list(paths, kind, wanted, as_json=as_json)
        raise click.exceptions.Exit(EXIT_CODES[state])

    command.help = log_text.HELP
    return command


wal.add_command(_inspect_command(Kind.WAL))
aof.add_command(_inspect_command(Kind.AOF))


@aof.command()
@store_argument
@json_option
def compact(directory: str, *, as_json: bool) -> None:
    """Rewrite the log of a memory store without what is dead.

    Nobody may have the store open. A crash at any point loses nothing.
    """
    if not directory or "\0" in directory:
        raise ConfigError(f"{directory!r} names no directory")
    paths = layout.find(OsStorage(), directory, Kind.AOF)
    with offline.opened(OsStorage(), paths) as log:
        done = _with_progress(log)
    if as_json:
        echo_json(dataclasses.asdict(done))
        return
    before, after = map(log_text.size_text, (done.before_bytes, done.after_bytes))
    echo(f"{before} before, {after} after")
    echo(f"{done.entry_count} entries, LSN {done.lsn}")


def _with_progress(log: OfflineLog) -> Compaction:
    """Compact, with a progress bar on a terminal."""
    steps = log.compact()
    if not sys.stderr.isatty():
        return result_of(steps)
    length_bytes = log.length_bytes
    with click.progressbar(
        length=length_bytes, label="compacting", file=sys.stderr
    ) as bar:
        done = result_of(steps, lambda read_bytes: bar.update(read_bytes - bar.pos))
        bar.update(length_bytes - bar.pos)
        return done


def _wanted(
    *,
    frames: bool,
    key: bytes | None,
    key_base64: str | None,
    from_lsn: int | None,
    to_lsn: int | None,
) -> Wanted | None:
    """Return which ops to list, None for the summary."""
    if key_base64 is not None:
        if key is not None:
            raise click.UsageError("--key and --key-base64 exclude each other")
        try:
            key = base64.b64decode(key_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise click.UsageError(f"--key-base64: {error}") from error
    if key is not None:
        check_key(key)
    wanted = Wanted(key, from_lsn, to_lsn)
    # A filter is about ops, and only a listing shows them.
    return wanted if frames or wanted != Wanted() else None


def _summarize(paths: StorePaths, kind: Kind, *, as_json: bool) -> State:
    report = inspect(OsStorage(), paths, kind, SystemClock().wall_ms())
    if as_json:
        echo_json(log_text.report_fields(report))
    else:
        _echo_all(log_text.report_lines(report))
    return report.state


def _list(paths: StorePaths, kind: Kind, wanted: Wanted, *, as_json: bool) -> State:
    storage = OsStorage()
    listing = Listing(storage, layout.load(storage, paths, kind), wanted)
    if as_json:
        fields = map(log_text.item_fields, listing)
        _echo_all(json_text(each) for each in fields if each is not None)
    else:
        _echo_all(map(log_text.item_line, listing))
        echo(verdict_of(listing.log))
    for note in listing.log.notes:
        exits.say(note)
    return state_of(listing.log)


def _echo_all(lines: Iterable[str]) -> None:
    # Each echo is a system call.
    waiting: Iterator[str] = iter(lines)
    while batch := list(islice(waiting, _LINES_AT_ONCE)):
        echo("\n".join(batch))

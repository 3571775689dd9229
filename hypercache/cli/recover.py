"""The command `hypercache-recover`: examine a store, and repair a copy of it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

import hypercache
from hypercache.cli import exits
from hypercache.cli.log_text import size_text
from hypercache.cli.printing import echo, echo_json, key_text
from hypercache.cli.stores import directory_argument, json_option
from hypercache.errors import ConfigError, CorruptionError, HyperCacheError
from hypercache.recovery import Examination, LossReport, Verdict, quarantine, whole
from hypercache.recovery.findings import Finding, Loss, Need
from hypercache.recovery.whole import Examinations
from hypercache.storage import OsStorage

__all__ = ["main"]

EXIT_CODES = {
    Verdict.CLEAN: 0,
    Verdict.REPAIRABLE: exits.REPAIRABLE,
    Verdict.DAMAGED: exits.DAMAGED,
}
EPILOG = """\
Exit codes: 0 nothing is wrong; 1 all of it can be repaired, or was, without a loss;
2 wrong usage; 3 damaged, something is or may be lost; 4 cannot be read (open in a
process, no permission, an unknown format); 130 interrupted.
"""
_SHOWN_KEYS = 20
_BAR_STEPS = 1000


class RecoverCommand(click.Command):
    """Run the command; HyperCache's errors become a line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except CorruptionError as error:
            exits.say(f"nothing was written: {exits.message_of(error)}")
            ctx.exit(exits.UNREADABLE)
        except HyperCacheError as error:
            exits.say(exits.message_of(error))
            ctx.exit(exits.code_of(error))
        except KeyboardInterrupt:
            ctx.exit(exits.INTERRUPTED)


@click.command(cls=RecoverCommand, epilog=EPILOG)
@click.version_option(hypercache.__version__, prog_name="hypercache-recover")
@directory_argument
@click.option("--output", metavar="OUT", help="Write a repaired store into OUT.")
@click.option("--keep-tail", is_flag=True, help="Keep frames behind a torn one.")
@json_option
def main(directory: str, *, output: str | None, keep_tail: bool, as_json: bool) -> None:
    """Say what is wrong with the store in DIR; with --output repair a copy of it.

    Its namespaces are examined, or repaired, with it.

    DIR is never changed, it may lie on a read-only disk; nobody may have it open. OUT
    must not exist, or be empty: it is complete at the end, and not there after an
    error. What could not be used, and the report, are kept in OUT/quarantine.
    """
    for name in (directory, output):
        if name is not None and (not name or "\0" in name):
            raise ConfigError(f"{name!r} names no directory")
    storage = OsStorage()
    with _progress(storage, directory, output) as tell:
        if output is None:
            found = whole.examine(storage, directory, tell=tell, keep_tail=keep_tail)
        else:
            found = whole.salvage(
                storage, directory, output, tell=tell, keep_tail=keep_tail
            )
    if as_json:
        echo_json(_fields(found))
    else:
        for name, each in found.items():
            _print(name, each)
    raise click.exceptions.Exit(
        max(EXIT_CODES[each.verdict] for each in found.values())
    )


def _fields(found: Examinations) -> dict[str, Any]:
    fields = {name: quarantine.fields_of(each) for name, each in found.items()}
    own = fields.pop(None)
    return {**own, "namespaces": fields} if fields else own


@contextlib.contextmanager
def _progress(
    storage: OsStorage, directory: str, output: str | None
) -> Iterator[Callable[[int], object]]:
    """Give what shows the progress: a bar on a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield int
        return
    passes = 2 if output is None else 3
    length = passes * whole.length_bytes(storage, directory)
    label = "examining" if output is None else "recovering"
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        before = pending = 0

        def tell(offset: int) -> None:
            # Offsets begin anew with each file; each step of the bar is a system call.
            nonlocal before, pending
            pending += offset - before if offset > before else 0
            before = offset
            if pending * _BAR_STEPS >= length:
                bar.update(min(pending, length - bar.pos))
                pending = 0

        yield tell
        bar.update(length - bar.pos)


def _print(name: str | None, found: Examination) -> None:
    if name is not None:
        echo(f"namespace {key_text(name.encode())}:")
    for finding in found.findings:
        for line in _lines(found.directory, finding):
            echo(line)
    echo(f"verdict: {_verdict(found)}")
    echo(f"next: {found.next}")


def _lines(directory: str, finding: Finding) -> Iterator[str]:
    where = [f"{directory}/{finding.file}".rstrip("/")]
    where += [f"offset {finding.offset}"] if finding.offset is not None else []
    where += [f"LSN {_lsns(finding)}"] if finding.first_lsn is not None else []
    size = f" ({size_text(finding.length_bytes)} bytes)" if finding.length_bytes else ""
    yield f"{', '.join(where)}: {finding.reason}{size}; {_consequence(finding)}"
    for lost in finding.keys[:_SHOWN_KEYS]:
        lsn = f", LSN {lost.lsn}" if lost.lsn is not None else ""
        yield f"    {lost.loss}: key {key_text(lost.key)}{lsn}"
    if len(finding.keys) > _SHOWN_KEYS:
        yield f"    and {len(finding.keys) - _SHOWN_KEYS} more keys, see --json"


def _lsns(finding: Finding) -> str:
    if finding.last_lsn is None:
        return f"{finding.first_lsn} and what followed"
    if finding.last_lsn == finding.first_lsn:
        return str(finding.first_lsn)
    return f"{finding.first_lsn} to {finding.last_lsn}"


def _consequence(finding: Finding) -> str:
    if finding.loss is Loss.CERTAIN:
        return "lost"
    if finding.loss is Loss.POSSIBLE:
        return "possibly lost"
    if finding.need is Need.NOTHING:
        return "no harm"
    return "nothing is lost"


def _verdict(found: Examination) -> str:
    ends = f"ends at LSN {found.lsn}"
    if isinstance(found, LossReport):
        ends = f"{found.output}: {found.entry_count} entries, {ends}"
    if found.verdict is Verdict.CLEAN:
        return f"clean; {ends}"
    if found.verdict is Verdict.REPAIRABLE:
        done = "repaired" if isinstance(found, LossReport) else "can be repaired"
        return f"{done} without a loss; {ends}"
    sure = "something is lost" if found.loss is Loss.CERTAIN else "a loss is possible"
    return f"damaged, {sure}; {ends}"

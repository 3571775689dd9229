"""How a command ends: its exit code, and one line on standard error.

The one place that turns an exception into either; the commands themselves raise.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import click

from hypercache.errors import (
    ArgumentTypeError,
    ConfigError,
    CorruptionError,
    DeserializationError,
    HyperCacheError,
    LimitError,
)

ABSENT = 1
REPAIRABLE = 1  # of a log: a torn tail
WRONG_USAGE = 2
DAMAGED = 3
UNREADABLE = 4
INTERRUPTED = 128 + 2  # as a shell reports SIGINT

_WRONG_USAGE = (ArgumentTypeError, ConfigError, LimitError)
_DAMAGED = (CorruptionError, DeserializationError)


class CommandGroup(click.Group):
    """Run a subcommand; HyperCache's errors become a line and an exit code.

    A broken pipe, as after `| head`, is left to click: it ends with 1 and no word.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand that the context names."""
        try:
            with _log_on_stderr():
                return super().invoke(ctx)
        except HyperCacheError as error:
            say(message_of(error))
            ctx.exit(code_of(error))
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


def code_of(error: HyperCacheError) -> int:
    """Return the exit code for an error."""
    if isinstance(error, _WRONG_USAGE):
        return WRONG_USAGE
    return DAMAGED if isinstance(error, _DAMAGED) else UNREADABLE


def message_of(error: HyperCacheError) -> str:
    """Return an error and its notes as one line."""
    notes = [f"({note})" for note in getattr(error, "__notes__", ())]
    return " ".join(" ".join([str(error), *notes]).split())


def say(message: str) -> None:
    """Print one line on standard error."""
    click.echo(f"hypercache: {message}", err=True)


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


@contextlib.contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Show what the engine logs, such as a torn tail that was cut."""
    logger, handler = logging.getLogger("hypercache"), _StderrHandler(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)

"""Errors that a command answers, as Redis words them."""

from __future__ import annotations

from hypercache.errors import (
    CacheFullError,
    CorruptionError,
    DeserializationError,
    DiskFullError,
    HyperCacheError,
    LimitError,
    ReadOnlyError,
    StorageError,
    StorageFailedError,
)
from hypercache.server import resp


class CommandError(HyperCacheError):
    """Say why a command was not carried out; nothing of it was written.

    The text is what the client gets, and begins with the code.
    """


class NotPlainError(Exception):
    """Say that a command is better run by itself; nothing of it was done."""


class WrongTypeError(CommandError):
    """Refuse an operation on a value of another kind."""

    def __init__(self) -> None:
        super().__init__(
            "WRONGTYPE Operation against a key holding the wrong kind of value"
        )


SYNTAX = "ERR syntax error"
NOT_AN_INTEGER = "ERR value is not an integer or out of range"
NOT_A_FLOAT = "ERR value is not a valid float"
NO_SUCH_KEY = "ERR no such key"

# The first that fits; docs/server.md has the table.
_CODES: tuple[tuple[type[HyperCacheError], str], ...] = (
    (CacheFullError, "OOM command not allowed when used memory > 'maxmemory'."),
    (DiskFullError, "OOM no space left for the store; nothing was written."),
    (StorageFailedError, "MISCONF the store accepts no more writes;"),
    (CorruptionError, "IOERR what is stored is damaged:"),
    (DeserializationError, "IOERR what is stored cannot be read:"),
    (StorageError, "MISCONF the store could not be written;"),
    (ReadOnlyError, "READONLY You can't write against a read only store."),
    (LimitError, "ERR"),
)


def reply_of(error: HyperCacheError) -> bytes:
    """Return the reply that tells a client of an error."""
    if isinstance(error, CommandError):
        return resp.error(str(error))
    for kind, code in _CODES:
        if isinstance(error, kind):
            return resp.error(f"{code} {error}")
    return resp.error(f"ERR {error}")

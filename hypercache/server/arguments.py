"""Read the arguments of a command, with Redis' limits and error texts."""

from __future__ import annotations

import re

from hypercache.server.errors import (
    NOT_A_FLOAT,
    NOT_AN_INTEGER,
    CommandError,
)

LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1
_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}").fullmatch
_LONGEST_FLOAT = 200


def maybe_integer(text: bytes) -> int | None:
    """Return a signed 64-bit integer, None for anything else."""
    if not _INTEGER(text):
        return None
    number = int(text)
    return number if LOWEST <= number <= HIGHEST else None


def integer(text: bytes, error: str = NOT_AN_INTEGER) -> int:
    """Return a signed 64-bit integer.

    Raises:
        CommandError: it is none.
    """
    number = maybe_integer(text)
    if number is None:
        raise CommandError(error)
    return number


def decimal(text: bytes, error: str = NOT_A_FLOAT) -> float:
    """Return a number; inf, but not nan.

    Raises:
        CommandError: it is none.
    """
    found = text.decode("ascii", "replace")
    if not text or len(text) > _LONGEST_FLOAT or "_" in found or found != found.strip():
        raise CommandError(error)
    try:
        number = float.fromhex(found) if _is_hex(found) else float(found)
    except (ValueError, OverflowError):
        raise CommandError(error) from None
    if number != number:
        raise CommandError(error)
    return number


def _is_hex(text: str) -> bool:
    return text.lstrip("+-")[:2].lower() == "0x"

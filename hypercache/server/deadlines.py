"""When an entry expires, as commands say it."""

from __future__ import annotations

from hypercache.server.arguments import HIGHEST, LOWEST, integer
from hypercache.server.errors import CommandError
from hypercache.server.session import Session

# What an amount is multiplied by, and whether it counts from now on.
UNITS = {
    b"ex": (1000, True),
    b"px": (1, True),
    b"exat": (1000, False),
    b"pxat": (1, False),
}


def deadline_ms(session: Session, name: str, unit: bytes, amount: bytes) -> int:
    """Return the time that a command wants its value to expire at, above 0.

    Raises:
        CommandError: it is none.
    """
    number = integer(amount)
    factor, is_relative = UNITS[unit]
    if number <= 0 or number > HIGHEST // factor:
        raise invalid(name)
    return _absolute(session, name, number * factor, is_relative=is_relative)


def any_deadline_ms(session: Session, name: str, unit: bytes, amount: bytes) -> int:
    """Return the time that EXPIRE and its like mean, which may be over, or below 0.

    Raises:
        CommandError: it is none.
    """
    number = integer(amount)
    factor, is_relative = UNITS[unit]
    if not LOWEST // factor <= number <= HIGHEST // factor:
        raise invalid(name)
    return _absolute(session, name, number * factor, is_relative=is_relative)


def invalid(name: str) -> CommandError:
    """Return what is answered for a time that is none."""
    return CommandError(f"ERR invalid expire time in '{name}' command")


def _absolute(session: Session, name: str, at_ms: int, *, is_relative: bool) -> int:
    if is_relative:
        at_ms += int(session.database.now_ms())
    if at_ms > HIGHEST:
        raise invalid(name)
    return at_ms

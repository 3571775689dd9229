"""Strings that are numbers: INCR and its like."""

from __future__ import annotations

from hypercache.server import long_double, resp
from hypercache.server.arguments import HIGHEST, LOWEST, integer
from hypercache.server.errors import NOT_A_FLOAT, CommandError
from hypercache.server.session import Session
from hypercache.server.table import Request, Role, command


def _add(session: Session, key: bytes, delta: int) -> bytes:
    database = session.database
    old = database.find_value(key)
    number = 0 if old is None else integer(old.data)
    number += delta
    if not LOWEST <= number <= HIGHEST:
        raise CommandError("ERR increment or decrement would overflow")
    database.put(key, b"%d" % number, 0 if old is None else old.expires_at_ms)
    return resp.integer(number)


@command(
    "incr",
    2,
    Role.WRITE,
    "Increments the integer value of a key by one. Uses 0 as initial value if the key "
    "doesn't exist.",
    flags="write denyoom fast",
    keys=(1, 1, 1),
    group="string",
)
def incr(session: Session, request: Request) -> bytes:
    """Add 1."""
    return _add(session, request[1], 1)


@command(
    "decr",
    2,
    Role.WRITE,
    "Decrements the integer value of a key by one. Uses 0 as initial value if the key "
    "doesn't exist.",
    flags="write denyoom fast",
    keys=(1, 1, 1),
    group="string",
)
def decr(session: Session, request: Request) -> bytes:
    """Subtract 1."""
    return _add(session, request[1], -1)


@command(
    "incrby",
    3,
    Role.WRITE,
    "Increments the integer value of a key by a number. Uses 0 as initial value if "
    "the key doesn't exist.",
    flags="write denyoom fast",
    keys=(1, 1, 1),
    group="string",
)
def incrby(session: Session, request: Request) -> bytes:
    """Add a number."""
    return _add(session, request[1], integer(request[2]))


@command(
    "decrby",
    3,
    Role.WRITE,
    "Decrements a number from the integer value of a key. Uses 0 as initial value if "
    "the key doesn't exist.",
    flags="write denyoom fast",
    keys=(1, 1, 1),
    group="string",
)
def decrby(session: Session, request: Request) -> bytes:
    """Subtract a number."""
    delta = integer(request[2])
    if delta == LOWEST:
        raise CommandError("ERR decrement would overflow")
    return _add(session, request[1], -delta)


@command(
    "incrbyfloat",
    3,
    Role.WRITE,
    "Increments the floating point value of a key by a number. Uses 0 as initial "
    "value if the key doesn't exist.",
    flags="write denyoom fast",
    keys=(1, 1, 1),
    since="2.6.0",
    group="string",
)
def incrbyfloat(session: Session, request: Request) -> bytes:
    """Add a number that need not be whole."""
    _, key, amount = request
    database = session.database
    old = database.find_value(key)
    before = long_double.maybe_number(b"0" if old is None else old.data)
    delta = long_double.maybe_number(amount)
    is_infinite = long_double.is_infinite(amount) or (
        old is not None and long_double.is_infinite(old.data)
    )
    if not is_infinite and (before is None or delta is None):
        raise CommandError(NOT_A_FLOAT)
    found = None
    if before is not None and delta is not None:
        found = long_double.total(before, delta)
    if found is None:
        raise CommandError("ERR increment would produce NaN or Infinity")
    text = long_double.shown(found)
    database.put(key, text, 0 if old is None else old.expires_at_ms)
    return resp.bulk(text)

"""Strings, in part: APPEND, STRLEN, GETRANGE, SETRANGE."""

from __future__ import annotations

from hypercache.server import resp
from hypercache.server.arguments import integer
from hypercache.server.errors import CommandError
from hypercache.server.session import Session
from hypercache.server.table import Request, Role, command

_TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"


def _check_length(session: Session, length: int) -> None:
    if length > session.parser.limits.argument_bytes:
        raise CommandError(_TOO_LONG)


@command(
    "append",
    3,
    Role.WRITE,
    "Appends a string to the value of a key. Creates the key if it doesn't exist.",
    flags="write denyoom fast",
    keys=(1, 1, 1),
    since="2.0.0",
    group="string",
)
def append(session: Session, request: Request) -> bytes:
    """Put bytes behind a value; answer how long it is then."""
    _, key, more = request
    database = session.database
    old = database.find_value(key)
    if old is None:
        database.put(key, more)
        return resp.integer(len(more))
    length = len(old.data) + len(more)
    _check_length(session, length)
    database.put(key, old.data + more, old.expires_at_ms)
    return resp.integer(length)


@command(
    "strlen",
    2,
    Role.READ,
    "Returns the length of a string value.",
    flags="readonly fast",
    keys=(1, 1, 1),
    since="2.2.0",
    group="string",
)
def strlen(session: Session, request: Request) -> bytes:
    """Answer how long a value is, 0 without one."""
    database = session.database
    data = database.find(request[1])
    if data is None:
        database.miss_count += 1
        return resp.ZERO
    database.hit_count += 1
    return resp.integer(len(data))


@command(
    "getrange",
    4,
    Role.READ,
    "Returns a substring of the string stored at a key.",
    flags="readonly",
    keys=(1, 1, 1),
    since="2.4.0",
    group="string",
    is_plain=True,
)
def getrange(session: Session, request: Request) -> bytes:
    """Answer a part of a value, from one place to another, both included."""
    start, end = integer(request[2]), integer(request[3])
    data = session.database.find(request[1]) or b""
    if start < 0 and end < 0 and start > end:
        return resp.EMPTY
    length = len(data)
    low = max(0, start + length) if start < 0 else start
    high = max(0, end + length) if end < 0 else end
    return resp.bulk(data[low : high + 1])


@command(
    "setrange",
    4,
    Role.WRITE,
    "Overwrites a part of a string value with another by an offset. Creates the key "
    "if it doesn't exist.",
    flags="write denyoom",
    keys=(1, 1, 1),
    since="2.2.0",
    group="string",
    is_plain=True,
)
def setrange(session: Session, request: Request) -> bytes:
    """Overwrite a part of a value, with zeros before it where there is nothing."""
    _, key, place, data = request
    offset = integer(place)
    if offset < 0:
        raise CommandError("ERR offset is out of range")
    database = session.database
    old = database.find_value(key)
    before = b"" if old is None else old.data
    if not data:
        return resp.integer(len(before))
    _check_length(session, offset + len(data))
    changed = before[:offset].ljust(offset, b"\0") + data + before[offset + len(data) :]
    database.put(key, changed, 0 if old is None else old.expires_at_ms)
    return resp.integer(len(changed))

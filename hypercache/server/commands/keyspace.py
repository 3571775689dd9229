"""Keys, whatever their values: DEL, RENAME, KEYS, SCAN and their like."""

from __future__ import annotations

import itertools
import secrets

from hypercache.server import glob, resp
from hypercache.server.arguments import integer
from hypercache.server.database import Database
from hypercache.server.errors import SYNTAX, CommandError
from hypercache.server.session import Session
from hypercache.server.table import Request, Role, command

_SAME = "ERR source and destination objects are the same"
_OUT_OF_RANGE = "ERR DB index is out of range"


def _delete(session: Session, request: Request) -> bytes:
    database, count = session.database, 0
    for key in request[1:]:
        if database.exists(key):
            database.remove(key)
            count += 1
    return resp.integer(count)


@command(
    "del",
    -2,
    Role.WRITE,
    "Deletes one or more keys.",
    flags="write",
    keys=(1, -1, 1),
    is_plain=True,
)
def delete(session: Session, request: Request) -> bytes:
    """Remove keys; answer how many there were."""
    return _delete(session, request)


@command(
    "unlink",
    -2,
    Role.WRITE,
    "Asynchronously deletes one or more keys.",
    flags="write fast",
    keys=(1, -1, 1),
    since="4.0.0",
)
def unlink(session: Session, request: Request) -> bytes:
    """Remove keys as DEL does: that takes no time for the size of a value."""
    return _delete(session, request)


def _count_present(session: Session, request: Request) -> bytes:
    return resp.integer(sum(map(session.database.exists, request[1:])))


@command(
    "exists",
    -2,
    Role.READ,
    "Determines whether one or more keys exist.",
    flags="readonly fast",
    keys=(1, -1, 1),
)
def exists(session: Session, request: Request) -> bytes:
    """Answer how many of the keys there are; one that is named twice counts twice."""
    return _count_present(session, request)


@command(
    "touch",
    -2,
    Role.READ,
    "Returns the number of existing keys out of those specified after updating the "
    "time they were last accessed.",
    flags="readonly fast",
    keys=(1, -1, 1),
    since="3.2.1",
)
def touch(session: Session, request: Request) -> bytes:
    """Read keys without answering their values."""
    return _count_present(session, request)


@command(
    "type",
    2,
    Role.READ,
    "Determines the type of value stored at a key.",
    flags="readonly fast",
    keys=(1, 1, 1),
)
def type_of(session: Session, request: Request) -> bytes:
    """Answer the kind of a value; there is one."""
    return resp.simple("string" if session.database.exists(request[1]) else "none")


def _move(session: Session, source: bytes, target: bytes) -> None:
    database = session.database
    if source != target:
        database.copy(source, database, target)
        database.remove(source)


def _check_source(session: Session, key: bytes) -> None:
    if not session.database.exists(key):
        raise CommandError("ERR no such key")


@command(
    "rename",
    3,
    Role.WRITE,
    "Renames a key and overwrites the destination.",
    flags="write",
    keys=(1, 2, 1),
    is_plain=True,
)
def rename(session: Session, request: Request) -> bytes:
    """Move a value to another key."""
    _, source, target = request
    _check_source(session, source)
    _move(session, source, target)
    return resp.OK


@command(
    "renamenx",
    3,
    Role.WRITE,
    "Renames a key only when the target key name doesn't exist.",
    flags="write fast",
    keys=(1, 2, 1),
)
def renamenx(session: Session, request: Request) -> bytes:
    """Move a value to a key that has none."""
    _, source, target = request
    _check_source(session, source)
    if session.database.exists(target):
        return resp.ZERO
    _move(session, source, target)
    return resp.ONE


@command(
    "copy",
    -3,
    Role.WRITE,
    "Copies the value of a key to a new key.",
    flags="write denyoom",
    keys=(1, 2, 1),
    since="6.2.0",
    is_data=False,  # it may write to another database
)
def copy(session: Session, request: Request) -> bytes:
    """Store a value under a second key, its expiry with it."""
    _, source, target, *words = request
    number, replaces = session.database_number, False
    left = iter(words)
    for word in map(bytes.lower, left):
        if word == b"replace":
            replaces = True
        elif word == b"db" and (text := next(left, None)) is not None:
            number = _number(session, text)
        else:
            raise CommandError(SYNTAX)
    database, other = session.database, session.core.databases[number]
    if database is other and source == target:
        raise CommandError(_SAME)
    if not database.exists(source) or (not replaces and other.exists(target)):
        return resp.ZERO
    database.copy(source, other, target)
    return resp.ONE


def _number(session: Session, text: bytes) -> int:
    number = integer(text)
    if not 0 <= number < len(session.core.databases):
        raise CommandError(_OUT_OF_RANGE)
    return number


@command(
    "dbsize",
    1,
    Role.READ,
    "Returns the number of keys.",
    flags="readonly fast",
    group="server",
    is_plain=False,
)
def dbsize(session: Session, _request: Request) -> bytes:
    """Answer how many keys there are."""
    return resp.integer(session.database.count())


@command(
    "randomkey",
    1,
    Role.READ,
    "Returns a random key name from the database.",
    flags="readonly",
)
def randomkey(session: Session, _request: Request) -> bytes:
    """Answer one of the keys, each as likely; takes time for their number."""
    database = session.database
    count = database.count()
    at = secrets.randbelow(count) if count else 0
    key = next(itertools.islice(database.keys(), at, None), None)
    return session.dialect.null if key is None else resp.bulk(key)


@command(
    "keys",
    2,
    Role.READ,
    "Returns all key names that match a pattern.",
    flags="readonly",
)
def keys(session: Session, request: Request) -> bytes:
    """Answer all keys that match."""
    pattern = request[1]
    start, stop = glob.bounds(pattern)
    found = session.database.keys(start, stop)
    return resp.bulks(filter(glob.matcher(pattern), found))


@command(
    "scan",
    -2,
    Role.READ,
    "Iterates over the key names in the database.",
    flags="readonly",
    since="2.8.0",
)
def scan(session: Session, request: Request) -> bytes:
    """Answer some of the keys, and a cursor for the next ones."""
    _, text, *words = request
    cursor = _cursor(text)
    matches, count, wants_strings = glob.matcher(b"*"), 10, True
    left = iter(words)
    for word in map(bytes.lower, left):
        value = next(left, None)
        if value is None:
            raise CommandError(SYNTAX)
        if word == b"match":
            matches = glob.matcher(value)
        elif word == b"count":
            count = integer(value)
            if count < 1:
                raise CommandError(SYNTAX)
        elif word == b"type":
            wants_strings = value.lower() == b"string"
        else:
            raise CommandError(SYNTAX)
    cursors = session.core.cursors
    following, found = cursors.advance(session.database, cursor, count)
    shown = filter(matches, found) if wants_strings else ()
    return resp.array([resp.bulk(b"%d" % following), resp.bulks(shown)])


def _cursor(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20 or int(text) >= 1 << 64:
        raise CommandError("ERR invalid cursor")
    return int(text)


def _clear(session: Session, request: Request, databases: list[Database]) -> bytes:
    if request[1:] and [request[1].lower()] not in ([b"async"], [b"sync"]):
        raise CommandError(SYNTAX)
    for database in databases:
        if session.is_in_exec:
            for key in list(database.keys()):
                database.remove(key)  # so that it is one batch with the others
        else:
            database.clear()
    return resp.OK


@command(
    "flushdb",
    -1,
    Role.ADMIN,
    "Removes all keys from the current database.",
    flags="write",
    group="server",
    is_data=False,
)
def flushdb(session: Session, request: Request) -> bytes:
    """Remove every key of a database."""
    return _clear(session, request, [session.database])


@command(
    "flushall",
    -1,
    Role.ADMIN,
    "Removes all keys from all databases.",
    flags="write",
    group="server",
    is_data=False,
)
def flushall(session: Session, request: Request) -> bytes:
    """Remove every key of all databases."""
    return _clear(session, request, session.core.databases.opened)

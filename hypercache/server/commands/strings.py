"""Strings, whole: GET, SET and what is made of them."""

from __future__ import annotations

from typing import NamedTuple

from hypercache.server import resp
from hypercache.server.deadlines import UNITS, deadline_ms
from hypercache.server.errors import SYNTAX, CommandError, NotPlainError
from hypercache.server.session import Session
from hypercache.server.table import Request, Role, command

_BULK_SMALL = 32 * 1024  # a larger reply is made by itself, where it is counted


class _SetOptions(NamedTuple):
    """What SET was told beside key and value."""

    expires_at_ms: int = 0
    keeps_ttl: bool = False
    returns_old: bool = False
    condition: bytes = b""


@command(
    "get",
    2,
    Role.READ,
    "Returns the string value of a key.",
    flags="readonly fast",
    keys=(1, 1, 1),
    group="string",
)
def get(session: Session, request: Request) -> bytes:
    """Answer the value of a key."""
    database = session.database
    data = database.find(request[1])
    if data is None:
        database.miss_count += 1
        return session.dialect.null
    database.hit_count += 1
    if len(data) > _BULK_SMALL and session.table and not session.is_in_exec:
        raise NotPlainError
    return b"$%d\r\n%b\r\n" % (len(data), data)


@command(
    "set",
    -3,
    Role.WRITE,
    "Sets the string value of a key, ignoring its type.",
    flags="write denyoom",
    keys=(1, 1, 1),
    group="string",
    is_plain=True,
)
def set_value(session: Session, request: Request) -> bytes:
    """Store a value."""
    if len(request) == 3:
        session.database.put_plain(request[1], request[2])
        return resp.OK
    return _set_with_options(session, request)


def _set_with_options(session: Session, request: Request) -> bytes:
    _, key, data, *words = request
    options = _set_options(session, words)
    database, null = session.database, session.dialect.null
    old = database.find_value(key)
    refused = options.condition == (b"xx" if old is None else b"nx")
    if not refused:
        expires_at_ms = options.expires_at_ms
        if options.keeps_ttl and old is not None:
            expires_at_ms = old.expires_at_ms
        database.put(key, data, expires_at_ms)
    if options.returns_old:
        return null if old is None else resp.bulk(old.data)
    return null if refused else resp.OK


def _set_options(session: Session, words: list[bytes]) -> _SetOptions:
    keeps_ttl, returns_old, condition = False, False, b""
    unit, amount = b"", b""
    left = iter(words)
    for word in map(bytes.lower, left):
        if word in (b"nx", b"xx") and condition in (b"", word):
            condition = word
        elif word == b"get":
            returns_old = True
        elif word == b"keepttl" and not unit:
            keeps_ttl = True
        elif word in UNITS and unit in (b"", word) and not keeps_ttl:
            unit, amount = word, next(left, b"")
            if not amount:
                raise CommandError(SYNTAX)
        else:
            raise CommandError(SYNTAX)
    expires_at_ms = deadline_ms(session, "set", unit, amount) if unit else 0
    return _SetOptions(expires_at_ms, keeps_ttl, returns_old, condition)


@command(
    "setnx",
    3,
    Role.WRITE,
    "Sets the string value of a key only when the key does not exist.",
    flags="write denyoom fast",
    keys=(1, 1, 1),
    group="string",
)
def setnx(session: Session, request: Request) -> bytes:
    """Store a value if there is none."""
    _, key, data = request
    if session.database.exists(key):
        return resp.ZERO
    session.database.put(key, data)
    return resp.ONE


def _set_for(session: Session, request: Request, unit: bytes) -> bytes:
    name, key, amount, data = request
    expires_at_ms = deadline_ms(session, name.lower().decode(), unit, amount)
    session.database.put(key, data, expires_at_ms)
    return resp.OK


@command(
    "setex",
    4,
    Role.WRITE,
    "Sets the string value and expiration time of a key.",
    flags="write denyoom",
    keys=(1, 1, 1),
    since="2.0.0",
    group="string",
    is_plain=True,
)
def setex(session: Session, request: Request) -> bytes:
    """Store a value for so many seconds."""
    return _set_for(session, request, b"ex")


@command(
    "psetex",
    4,
    Role.WRITE,
    "Sets both string value and expiration time in milliseconds of a key.",
    flags="write denyoom",
    keys=(1, 1, 1),
    since="2.6.0",
    group="string",
    is_plain=True,
)
def psetex(session: Session, request: Request) -> bytes:
    """Store a value for so many milliseconds."""
    return _set_for(session, request, b"px")


@command(
    "getset",
    3,
    Role.WRITE,
    "Returns the previous string value of a key after setting it to a new value.",
    flags="write denyoom fast",
    keys=(1, 1, 1),
    group="string",
)
def getset(session: Session, request: Request) -> bytes:
    """Store a value and answer the one before."""
    _, key, data = request
    old = session.database.find(key)
    session.database.put(key, data)
    return session.dialect.null if old is None else resp.bulk(old)


@command(
    "getdel",
    2,
    Role.WRITE,
    "Returns the string value of a key after deleting the key.",
    flags="write fast",
    keys=(1, 1, 1),
    since="6.2.0",
    group="string",
)
def getdel(session: Session, request: Request) -> bytes:
    """Remove a key and answer its value."""
    database, key = session.database, request[1]
    old = database.find(key)
    if old is None:
        database.miss_count += 1
        return session.dialect.null
    database.hit_count += 1
    database.remove(key)
    return resp.bulk(old)


@command(
    "getex",
    -2,
    Role.WRITE,
    "Returns the string value of a key after setting its expiration time.",
    flags="write fast",
    keys=(1, 1, 1),
    since="6.2.0",
    group="string",
)
def getex(session: Session, request: Request) -> bytes:
    """Answer a value and change how long it lives."""
    _, key, *words = request
    database = session.database
    persists, expires_at_ms = _getex_options(session, words)
    old = database.find_value(key)
    if old is None:
        database.miss_count += 1
        return session.dialect.null
    database.hit_count += 1
    if persists or expires_at_ms:
        database.expire(key, expires_at_ms)
    return resp.bulk(old.data)


def _getex_options(session: Session, words: list[bytes]) -> tuple[bool, int]:
    match [word.lower() for word in words[:1]] + words[1:]:
        case []:
            return False, 0
        case [b"persist"]:
            return True, 0
        case [(b"ex" | b"px" | b"exat" | b"pxat") as unit, amount]:
            return False, deadline_ms(session, "getex", unit, amount)
    raise CommandError(SYNTAX)


@command(
    "mget",
    -2,
    Role.READ,
    "Atomically returns the string values of one or more keys.",
    flags="readonly fast",
    keys=(1, -1, 1),
    group="string",
)
def mget(session: Session, request: Request) -> bytes:
    """Answer the values of keys, nothing for those without."""
    database, null = session.database, session.dialect.null
    found = [database.find_or_none(key) for key in request[1:]]
    missing = found.count(None)
    database.miss_count += missing
    database.hit_count += len(found) - missing
    return resp.array([null if data is None else resp.bulk(data) for data in found])


def _pairs(request: Request) -> dict[bytes, bytes]:
    if len(request) % 2 == 0:
        name = request[0].lower().decode()
        raise CommandError(f"ERR wrong number of arguments for '{name}' command")
    return dict(zip(request[1::2], request[2::2], strict=True))


@command(
    "mset",
    -3,
    Role.WRITE,
    "Atomically creates or modifies the string values of one or more keys.",
    flags="write denyoom",
    keys=(1, -1, 2),
    since="1.0.1",
    group="string",
    is_plain=True,
)
def mset(session: Session, request: Request) -> bytes:
    """Store many values, all or none."""
    session.database.put_all(_pairs(request))
    return resp.OK


@command(
    "msetnx",
    -3,
    Role.WRITE,
    "Atomically modifies the string values of one or more keys only when all keys "
    "don't exist.",
    flags="write denyoom",
    keys=(1, -1, 2),
    since="1.0.1",
    group="string",
    is_plain=True,
)
def msetnx(session: Session, request: Request) -> bytes:
    """Store many values if none of the keys has one."""
    pairs = _pairs(request)
    if any(map(session.database.exists, pairs)):
        return resp.ZERO
    session.database.put_all(pairs)
    return resp.ONE

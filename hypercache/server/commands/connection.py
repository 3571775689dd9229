"""The connection itself: PING, HELLO, AUTH, SELECT and their like."""

from __future__ import annotations

import hypercache
from hypercache.server import resp
from hypercache.server.arguments import integer
from hypercache.server.errors import SYNTAX, CommandError
from hypercache.server.session import Session
from hypercache.server.table import Request, Role, command

_GROUP = "connection"
# Whose commands these are: clients decide by it what they may send.
REDIS_VERSION = "7.2.0"
_INDEX_OUT_OF_RANGE = "ERR DB index is out of range"


@command(
    "ping",
    -1,
    Role.NONE,
    "Returns the server's liveliness response.",
    flags="fast",
    group=_GROUP,
    is_data=True,
)
def ping(_session: Session, request: Request) -> bytes:
    """Answer PONG, or what was sent."""
    if len(request) > 2:
        raise CommandError("ERR wrong number of arguments for 'ping' command")
    return resp.PONG if len(request) == 1 else resp.bulk(request[1])


@command(
    "echo",
    2,
    Role.CONNECTED,
    "Returns the given string.",
    flags="fast",
    group=_GROUP,
    is_data=True,
)
def echo(_session: Session, request: Request) -> bytes:
    """Answer what was sent."""
    return resp.bulk(request[1])


@command(
    "quit", -1, Role.NONE, "Closes the connection.", flags="fast no_multi", group=_GROUP
)
def quit_session(session: Session, _request: Request) -> bytes:
    """Close the connection behind the reply."""
    session.is_closing = True
    return resp.OK


@command(
    "hello",
    -1,
    Role.NONE,
    "Handshakes with the server.",
    flags="fast no_multi",
    since="6.0.0",
    group=_GROUP,
)
def hello(session: Session, request: Request) -> bytes:
    """Change the version of the protocol, and answer what this is."""
    dialect = session.dialect
    if len(request) > 1:
        version = integer(
            request[1], "ERR Protocol version is not an integer or out of range"
        )
        if version not in (2, 3):
            raise CommandError("NOPROTO unsupported protocol version")
        dialect = resp.DIALECTS[b"%d" % version]
    login, name = _hello_options(request)
    if login is not None:
        session.core.users.log_in(session, *login)
    if session.role is Role.NONE:
        raise CommandError(
            "NOAUTH HELLO must be called with the client already authenticated, "
            "otherwise the HELLO <proto> AUTH <user> <pass> option can be used to "
            "authenticate the client and select the RESP protocol version at the same "
            "time"
        )
    session.dialect = dialect
    if name is not None:
        session.name = name
    return dialect.map(
        [
            (resp.text("server"), resp.text("redis")),
            (resp.text("version"), resp.text(REDIS_VERSION)),
            (resp.text("hypercache"), resp.text(hypercache.__version__)),
            (resp.text("proto"), resp.integer(dialect.version)),
            (resp.text("id"), resp.integer(session.number)),
            (resp.text("mode"), resp.text("standalone")),
            (resp.text("role"), resp.text("master")),
            (resp.text("modules"), resp.EMPTY_ARRAY),
        ]
    )


def _hello_options(
    request: Request,
) -> tuple[tuple[bytes, bytes] | None, bytes | None]:
    login, name = None, None
    left = iter(request[2:])
    for word in left:
        if word.lower() == b"auth":
            user, password = next(left, None), next(left, None)
            if user is None or password is None:
                raise _hello_syntax(word)
            login = user, password
        elif word.lower() == b"setname" and (text := next(left, None)) is not None:
            name = checked_name(text)
        else:
            raise _hello_syntax(word)
    return login, name


def _hello_syntax(word: bytes) -> CommandError:
    shown = word[:128].decode("utf-8", "surrogateescape")
    return CommandError(f"ERR Syntax error in HELLO option '{shown}'")


def checked_name(name: bytes) -> bytes:
    """Return a name that CLIENT LIST can show.

    Raises:
        CommandError: it could not.
    """
    if any(not 0x21 <= byte <= 0x7E for byte in name):
        raise CommandError(
            "ERR Client names cannot contain spaces, newlines or special characters."
        )
    return name


@command(
    "auth",
    -2,
    Role.NONE,
    "Authenticates the connection.",
    flags="fast no_multi",
    group=_GROUP,
)
def auth(session: Session, request: Request) -> bytes:
    """Say who this is."""
    if len(request) > 3:
        raise CommandError(SYNTAX)
    user = request[1] if len(request) == 3 else b"default"
    session.core.users.log_in(session, user, request[-1])
    return resp.OK


@command(
    "select",
    2,
    Role.CONNECTED,
    "Changes the selected database.",
    flags="fast",
    group=_GROUP,
)
def select(session: Session, request: Request) -> bytes:
    """Change the database that commands mean."""
    number = integer(request[1])
    if not 0 <= number < len(session.core.databases):
        raise CommandError(_INDEX_OUT_OF_RANGE)
    session.core.select(session, number)
    return resp.OK


@command(
    "swapdb",
    3,
    Role.ADMIN,
    "Swaps two databases.",
    flags="write fast",
    since="4.0.0",
    group="server",
    is_data=False,
)
def swapdb(session: Session, request: Request) -> bytes:
    """Exchange two databases for all clients; on the medium before the reply."""
    one = integer(request[1], "ERR invalid first DB index")
    other = integer(request[2], "ERR invalid second DB index")
    count = len(session.core.databases)
    if not (0 <= one < count and 0 <= other < count):
        raise CommandError(_INDEX_OUT_OF_RANGE)
    if session.is_in_exec:
        raise CommandError("ERR SWAPDB is not allowed in transactions")
    session.core.swap(one, other)
    return resp.OK


@command(
    "reset",
    1,
    Role.NONE,
    "Resets the connection.",
    flags="fast no_multi",
    since="6.2.0",
    group=_GROUP,
)
def reset(session: Session, _request: Request) -> bytes:
    """Make the connection what it was when it began."""
    session.core.reset(session)
    return resp.simple("RESET")

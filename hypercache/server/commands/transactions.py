"""Transactions: MULTI, EXEC, DISCARD, WATCH, UNWATCH."""

from __future__ import annotations

from hypercache.server import resp
from hypercache.server.errors import CommandError
from hypercache.server.session import QueuedRequest, Session, Transaction
from hypercache.server.table import Request, Role, command

_GROUP = "transactions"
_MOST_BYTES = 128 * 1024 * 1024


@command(
    "multi",
    1,
    Role.CONNECTED,
    "Starts a transaction.",
    flags="fast no_multi",
    since="1.2.0",
    group=_GROUP,
)
def multi(session: Session, _request: Request) -> bytes:
    """Queue what follows until EXEC."""
    if session.transaction is not None:
        raise CommandError("ERR MULTI calls can not be nested")
    session.transaction = Transaction(_MOST_BYTES)
    session.core.settle(session)
    return resp.OK


@command(
    "exec",
    1,
    Role.CONNECTED,
    "Executes all commands in a transaction.",
    flags="no_multi",
    since="1.2.0",
    group=_GROUP,
)
def execute(session: Session, request: Request) -> bytes:
    """Run what was queued; `Core` has taken it from the session."""
    assert isinstance(request, QueuedRequest)
    return request.transaction.run(session)


@command(
    "discard",
    1,
    Role.CONNECTED,
    "Discards a transaction.",
    flags="fast no_multi",
    since="2.0.0",
    group=_GROUP,
)
def discard(session: Session, _request: Request) -> bytes:
    """Forget what was queued."""
    if session.transaction is None:
        raise CommandError("ERR DISCARD without MULTI")
    session.transaction = None
    session.core.unwatch(session)
    session.core.settle(session)
    return resp.OK


@command(
    "watch",
    -2,
    Role.READ,
    "Monitors changes to keys to determine the execution of a transaction.",
    flags="fast no_multi",
    keys=(1, -1, 1),
    since="2.2.0",
    group=_GROUP,
)
def watch(session: Session, request: Request) -> bytes:
    """Let EXEC fail should one of these keys change before it."""
    if session.transaction is not None:
        raise CommandError("ERR WATCH inside MULTI is not allowed")
    session.core.watch(session, request[1:])
    return resp.OK


@command(
    "unwatch",
    1,
    Role.CONNECTED,
    "Forgets about watched keys of a transaction.",
    flags="fast",
    since="2.2.0",
    group=_GROUP,
)
def unwatch(session: Session, _request: Request) -> bytes:
    """Forget what is watched."""
    session.core.unwatch(session)
    return resp.OK

"""What a server knows of one client."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hypercache.errors import HyperCacheError
from hypercache.server import resp
from hypercache.server.careful_parser import Limits
from hypercache.server.database import Database
from hypercache.server.errors import reply_of
from hypercache.server.requests import RequestParser
from hypercache.server.table import Command, Request, Role

if TYPE_CHECKING:
    from hypercache.server.core import Core


_QUEUED_BYTES = 200  # what a queued command takes beside its arguments
LARGE_BYTES = 1 << 20  # of replies; behind so much a client reads before it goes on


class Peer(NamedTuple):
    """Where a client is: addresses as Redis shows them."""

    address: str
    local_address: str
    ip: str | None = None  # None on a Unix socket


class Transaction:
    """What MULTI has begun.

    Attributes:
        is_refused: whether a command could not be queued.
        is_data: whether all of it could be run once more.
    """

    def __init__(self, most_bytes: int) -> None:
        self._queue: list[tuple[Command, Request]] = []
        self._room_bytes = most_bytes
        self.is_refused = False
        self.is_data = True

    def add(self, command: Command, request: Request) -> bytes:
        """Keep a command until EXEC and return the reply."""
        self._room_bytes -= sum(map(len, request)) + _QUEUED_BYTES
        if self._room_bytes < 0:
            self.is_refused = True
            return resp.error("ERR the transaction is too large; send it in parts")
        self._queue.append((command, request))
        self.is_data = self.is_data and command.is_data
        return resp.QUEUED

    def run(self, session: Session) -> bytes:
        """Run all of it, one after the other, whatever fails, and return the reply."""
        session.is_in_exec = True
        try:
            return resp.array([_reply(session, *queued) for queued in self._queue])
        finally:
            session.is_in_exec = False


class QueuedRequest(list[bytes]):
    """EXEC, with what it is to run."""

    def __init__(self, request: Request, transaction: Transaction) -> None:
        super().__init__(request)
        self.transaction = transaction


def _reply(session: Session, command: Command, request: Request) -> bytes:
    command.calls += 1
    try:
        return command.handler(session, request)
    except HyperCacheError as error:
        command.failed_calls += 1
        return reply_of(error)


class Session:
    """Hold the state of one connection; `Core` changes it.

    Attributes:
        out: replies that have not left yet, encoded.
        watched: keys that must not change before EXEC, and whether they exist.
        table: the commands that may be run without a closer look.
        backlog: requests that wait until the session goes on.
        waits_until: the monotonic time until which it does not, None if it does.
        on_wait_over: makes the reply when the time is over.
        is_closing: nothing more is read, and the connection closed behind `out`.
        sends_replies: False after CLIENT REPLY OFF.
        skips_replies: how many replies are left out: CLIENT REPLY SKIP.
        large_bytes: of the replies since the session last went on.
    """

    def __init__(self, core: Core, number: int, peer: Peer, limits: Limits) -> None:
        self.core = core
        self.number = number
        self.peer = peer
        self.parser = RequestParser(limits)
        self.out: list[bytes] = []
        self.backlog: list[Request] = []
        self.database: Database = core.databases[0]
        self.database_number = 0
        self.dialect: resp.Dialect = resp.RESP2
        self.user: str | None = None
        self.role = Role.NONE
        self.table: dict[bytes, Command] = {}
        self.transaction: Transaction | None = None
        self.watched: dict[tuple[Database, bytes], bool] = {}
        self.is_watch_broken = self.is_in_exec = False
        self.name = self.library_name = self.library_version = b""
        self.sends_replies = True
        self.skips_replies = 0
        self.resists_eviction = False
        self.waits_until: float | None = None
        self.is_closing = False
        self.failed_logins = 0
        self.created_at = self.active_at = core.clock.monotonic()
        self.last_command = "NULL"
        self.in_bytes = self.out_bytes = 0
        self.large_bytes = 0

    @property
    def is_stalled(self) -> bool:
        """Tell whether requests have to wait."""
        return (
            self.is_closing
            or self.waits_until is not None
            or self.large_bytes > LARGE_BYTES
        )

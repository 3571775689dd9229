"""From bytes to replies: no sockets, no threads, no clock of its own.

`receive` takes what a client sent and puts replies into `Session.out`; they may leave
after `commit`. What a client may call without a closer look is in `Session.table`; all
else goes through `_dispatch`: unknown names, MULTI, AUTH, what takes longer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from hypercache.errors import HyperCacheError
from hypercache.server import resp, watching
from hypercache.server.careful_parser import Limits
from hypercache.server.cursors import Cursors
from hypercache.server.database import Database
from hypercache.server.databases import Databases
from hypercache.server.errors import CommandError, NotPlainError, reply_of
from hypercache.server.group import Group, Stretch
from hypercache.server.session import Peer, QueuedRequest, Session
from hypercache.server.table import COMMANDS, Command, Request, Role, find, plain_table
from hypercache.server.users import Users
from hypercache.storage import Clock

_SHOWN_BYTES = 128  # of the arguments in an error about an unknown command

EXECABORT = resp.error("EXECABORT Transaction discarded because of previous errors.")


class Host(Protocol):
    """What the core needs of the loop that it runs in."""

    def in_background(self, job: Callable[[], object]) -> None:
        """Run a job in a thread."""

    def close(self, session: Session) -> None:
        """Close the connection of a session behind what it was sent."""

    def shut_down(self) -> None:
        """End the server as SIGTERM does."""


class Core:
    """Run the requests of all clients, in one thread.

    Args:
        databases: the sixteen, by number.
        clock: wall and monotonic time.

    Attributes:
        sessions: all clients that are connected, by number.
        group: the writes of this turn.
    """

    def __init__(self, databases: Databases, clock: Clock, host: Host) -> None:
        self.databases, self.clock, self.host = databases, clock, host
        self.sessions: dict[int, Session] = {}
        self.group = Group()
        self.watchers = watching.Watchers()
        self.cursors = Cursors()
        self.users = Users()
        self._numbers = itertools.count(1)
        self._tables = {role: plain_table(role) for role in Role}
        self._paused_until = 0.0
        self._pauses_all = False

    # Sessions

    def connect(self, peer: Peer) -> Session:
        """Begin a session."""
        session = Session(self, next(self._numbers), peer, Limits())
        self.sessions[session.number] = session
        session.role = self.users.first_role()
        self.settle(session)
        return session

    def reset(self, session: Session) -> None:
        """Make a session what it was when it began."""
        session.transaction = None
        self.unwatch(session)
        session.dialect, session.name = resp.RESP2, b""
        session.sends_replies, session.skips_replies = True, 0
        session.user, session.role = None, self.users.first_role()
        self.select(session, 0)

    def select(self, session: Session, number: int) -> None:
        """Let a session's commands mean another database."""
        session.database_number = number
        session.database = self.databases[number]
        self.settle(session)

    def swap(self, one: int, other: int) -> None:
        """Exchange two databases for all sessions."""
        if one == other:
            return
        if self.watchers:
            self.watchers.replaced(self.databases[one], self.databases[other])
        self.databases.swap(one, other)
        for session in self.sessions.values():
            self.select(session, session.database_number)

    def disconnect(self, session: Session) -> None:
        """Forget a session."""
        self.sessions.pop(session.number, None)
        self.unwatch(session)

    def settle(self, session: Session) -> None:
        """Work out anew what a session may call without a closer look."""
        is_plain = (
            session.transaction is None
            and session.sends_replies
            and not session.skips_replies
            and not session.database.is_shared
        )
        session.table = self._tables[session.role] if is_plain else {}

    def watch(self, session: Session, keys: list[bytes]) -> None:
        """Let the session's EXEC fail should one of these keys change."""
        self.group.commit()  # what was written before does not count
        for key in keys:
            self.watchers.watch(session, key)
        self.listen()

    def unwatch(self, session: Session) -> None:
        """Forget what a session watches."""
        self.watchers.unwatch(session)
        self.listen()

    def listen(self) -> None:
        """Hear of changes where somebody wants to know them."""
        is_wanted = bool(self.watchers)
        for database in self.databases:
            database.on_change = partial(self._changed, database) if is_wanted else None

    def _changed(self, database: Database, keys: Iterable[bytes] | None) -> None:
        if keys is None:
            self.watchers.replaced(database)
        else:
            self.watchers.changed(database, keys)

    # Requests

    def receive(self, session: Session, data: bytes) -> None:
        """Take bytes; replies are in `session.out`, and may leave after `commit`."""
        session.in_bytes += len(data)
        session.active_at = self.clock.monotonic()
        requests = session.parser.feed(data)
        self.group.received(len(data))
        if session.backlog:
            session.backlog += requests
        else:
            self._run(session, requests)

    def resume(self, session: Session) -> None:
        """Go on with what a session has sent before it had to wait."""
        session.large_bytes = 0
        requests, session.backlog = session.backlog, []
        self._run(session, requests)

    def commit(self) -> None:
        """Write what is pending; then the replies may leave."""
        self.group.commit()

    def _run(self, session: Session, requests: list[Request]) -> None:
        at = 0
        while at < len(requests) and not session.is_stalled:
            at += self._run_plain(session, requests, at)
            if at < len(requests) and not session.is_stalled:
                self._dispatch(session, requests[at])
                at += 1
        if session.is_closing:
            return
        session.backlog = requests[at:]
        if session.parser.error is not None and not session.backlog:
            session.out.append(resp.error(f"ERR {session.parser.error}"))
            session.is_closing = True

    def _run_plain(self, session: Session, requests: list[Request], first: int) -> int:
        """Run requests for which the table is enough; return how many."""
        stretch = requests[first:] if first else requests
        find_entry, out, database = session.table.get, session.out, session.database
        place = len(out)
        append = out.append
        try:
            for request in stretch:
                entry = find_entry(request[0])
                count = len(request)
                if entry is None or (entry.arity != count and count < entry.least):
                    break
                entry.calls += 1
                try:
                    append(entry.handler(session, request))
                except HyperCacheError as error:
                    append(reply_of(error))
        except NotPlainError:
            pass
        count = len(out) - place
        if count and database.pending:
            done = stretch if count == len(stretch) else stretch[:count]
            self.group.add(Stretch(session, database, done, place, _run_entry))
        return count

    def _dispatch(self, session: Session, request: Request) -> None:
        """Run a request that takes a closer look."""
        try:
            entry = self._admitted(session, request)
        except CommandError as error:
            if session.transaction is not None:
                session.transaction.is_refused = True
            self._reply(session, reply_of(error))
            return
        if entry.name == "exec":
            self._exec(session, entry, request)
        elif session.transaction is not None and "no_multi" not in entry.flags:
            self._reply(session, session.transaction.add(entry, request))
        elif entry.is_data:
            self._run_data(session, entry, request)
        else:
            self._run_once(session, entry, request)

    def _admitted(self, session: Session, request: Request) -> Command:
        """Return the command that a request calls, if the client may call it.

        Raises:
            CommandError: it may not, or there is none.
        """
        entry = COMMANDS.get(request[0]) or find(request[0])
        if entry is None:
            raise _unknown(request)
        if entry.subcommands and len(request) > 1:
            entry = _subcommand(entry, request[1])
        if not entry.takes(len(request)):
            raise CommandError(
                f"ERR wrong number of arguments for '{entry.name}' command"
            )
        if entry.role > session.role:
            raise _refused(session, entry)
        return entry

    def _exec(self, session: Session, entry: Command, request: Request) -> None:
        transaction, session.transaction = session.transaction, None
        is_broken = session.is_watch_broken or watching.is_broken(session)
        self.unwatch(session)
        self.settle(session)
        if transaction is None:
            self._reply(session, resp.error("ERR EXEC without MULTI"))
        elif transaction.is_refused:
            self._reply(session, EXECABORT)
        elif is_broken:
            self._reply(session, session.dialect.null_array)
        else:
            run = self._run_data if transaction.is_data else self._run_once
            run(session, entry, QueuedRequest(request, transaction))

    def _run_data(self, session: Session, entry: Command, request: Request) -> None:
        """Run what reads and writes the session's database, and nothing else."""
        database, place = session.database, len(session.out)
        if database.is_shared:
            database.lock()
        reply = self._answer(session, entry, request)
        self._reply(session, reply)
        if database.pending or database.is_shared:
            self.group.add(Stretch(session, database, [request], place, entry.handler))

    def _run_once(self, session: Session, entry: Command, request: Request) -> None:
        """Run what cannot be run once more, so nothing may be pending around it."""
        self.group.commit()
        reply = self._answer(session, entry, request)
        try:
            for database in self.databases:
                database.commit()
        except HyperCacheError as error:
            reply = reply_of(error)
        self._reply(session, reply)

    def _answer(self, session: Session, entry: Command, request: Request) -> bytes:
        entry.calls += 1
        try:
            return entry.handler(session, request)
        except HyperCacheError as error:
            entry.failed_calls += 1
            return reply_of(error)

    def _reply(self, session: Session, reply: bytes) -> None:
        if session.sends_replies and not session.skips_replies:
            session.out.append(reply)
            session.large_bytes += len(reply)
        else:
            session.out.append(b"")
            session.skips_replies = max(0, session.skips_replies - 1)
            self.settle(session)


def _run_entry(session: Session, request: Request) -> bytes:
    found = COMMANDS.get(request[0]) or find(request[0])
    assert found is not None
    return found.handler(session, request)


def _subcommand(entry: Command, name: bytes) -> Command:
    found = entry.subcommands.get(name.lower())
    if found is None:
        shown = name[:_SHOWN_BYTES].decode("utf-8", "surrogateescape")
        raise CommandError(
            f"ERR unknown subcommand '{shown}'. Try {entry.name.upper()} HELP."
        )
    return found


def _unknown(request: Request) -> CommandError:
    name = request[0][:_SHOWN_BYTES].decode("utf-8", "surrogateescape")
    shown = ""
    for argument in request[1:]:
        if len(shown) >= _SHOWN_BYTES:
            break
        part = argument[: _SHOWN_BYTES - len(shown)]
        shown += f"'{part.decode('utf-8', 'surrogateescape')}' "
    return CommandError(
        f"ERR unknown command '{name}', with args beginning with: {shown}"
    )


def _refused(session: Session, entry: Command) -> CommandError:
    if session.role is Role.NONE:
        return CommandError("NOAUTH Authentication required.")
    return CommandError(
        f"NOPERM User {session.user} has no permissions to run the "
        f"'{entry.name}' command"
    )

"""Bring what all clients wrote in one turn into one batch for each database.

Replies are made before the batch is written and leave after it. Should it be refused,
nothing of it was written: then the commands are run once more, each with a batch of
its own, and only those that cannot be done answer an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hypercache.errors import HyperCacheError
from hypercache.options import MIB
from hypercache.server.database import Database
from hypercache.server.errors import reply_of
from hypercache.server.session import Session
from hypercache.server.table import Request

# From so much on a batch is written before the turn is over.
_MOST_BYTES = 4 * MIB

Run = Callable[[Session, Request], bytes]


class Stretch(NamedTuple):
    """Requests of one session that were run one after the other.

    Attributes:
        place: of the first one's reply in the session's `out`; each has one item.
        run: runs one of them again.
    """

    session: Session
    database: Database
    requests: list[Request]
    place: int
    run: Run


class Group:
    """Gather the writes of one turn."""

    def __init__(self) -> None:
        self._stretches: list[Stretch] = []
        self._databases: set[Database] = set()
        self._bytes = 0

    def add(self, stretch: Stretch) -> None:
        """Note requests that were run, and may have written."""
        self._stretches.append(stretch)
        self._databases.add(stretch.database)

    def received(self, size_bytes: int) -> None:
        """Note how much came in; commit when it is much."""
        self._bytes += size_bytes
        if self._bytes > _MOST_BYTES:
            self.commit()

    def commit(self) -> None:
        """Write all that is pending; replies that turn out wrong are replaced."""
        stretches, self._stretches, self._bytes = self._stretches, [], 0
        if not self._databases:
            return
        databases, self._databases = self._databases, set()
        refused = [each for each in databases if not _is_committed(each)]
        if refused:
            for stretch in stretches:
                if stretch.database in refused:
                    _run_again(stretch)


def _is_committed(database: Database) -> bool:
    try:
        database.commit()
    except HyperCacheError:
        return False
    return True


def _run_again(stretch: Stretch) -> None:
    session, out = stretch.session, stretch.session.out
    database, session.database = session.database, stretch.database
    try:
        for place, request in enumerate(stretch.requests, stretch.place):
            try:
                if stretch.database.is_shared:
                    stretch.database.lock()
                reply = stretch.run(session, request)
                stretch.database.commit()
            except HyperCacheError as error:
                reply = reply_of(error)
                stretch.database.discard()
            out[place] = reply
    finally:
        session.database = database

"""WATCH: keys that must not change before EXEC."""

from __future__ import annotations

from collections.abc import Iterable

from hypercache.server.database import Database
from hypercache.server.session import Session


class Watchers:
    """Know which sessions watch which keys."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[Database, bytes], set[Session]] = {}

    def __bool__(self) -> bool:
        return bool(self._sessions)

    def watch(self, session: Session, key: bytes) -> None:
        """Let EXEC fail should this key change from now on."""
        watched = session.database, key
        if watched not in session.watched:
            session.watched[watched] = session.database.exists(key)
            self._sessions.setdefault(watched, set()).add(session)

    def unwatch(self, session: Session) -> None:
        """Forget what a session watches."""
        for watched in session.watched:
            sessions = self._sessions[watched]
            sessions.discard(session)
            if not sessions:
                del self._sessions[watched]
        session.watched.clear()
        session.is_watch_broken = False

    def changed(self, database: Database, keys: Iterable[bytes]) -> None:
        """Tell the sessions that watch one of these keys."""
        for key in keys:
            for session in self._sessions.get((database, key), ()):
                session.is_watch_broken = True

    def replaced(self, *databases: Database) -> None:
        """Tell the sessions that watch a key which one of these databases has."""
        for database in databases:
            self.changed(
                database,
                [
                    key
                    for _, key in self._sessions
                    if any(each.exists(key) for each in databases)
                ],
            )


def is_broken(session: Session) -> bool:
    """Tell whether a watched key has changed in this turn, expired or was evicted."""
    return any(
        key in database.pending or (existed and not database.exists(key))
        for (database, key), existed in session.watched.items()
    )

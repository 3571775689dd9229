"""Who may connect, and what they may do."""

from __future__ import annotations

from hypercache.server.errors import CommandError
from hypercache.server.session import Session
from hypercache.server.table import Role


class Users:
    """Know the users; without any, everybody who connects may do everything."""

    def first_role(self) -> Role:
        """Return what a client may do before it has said who it is."""
        return Role.ADMIN

    def log_in(self, session: Session, user: bytes, password: bytes) -> None:
        """Let a session be a user's.

        Raises:
            CommandError: it may not.
        """
        del session, user, password
        raise CommandError(
            "ERR AUTH <password> called without any password configured for the "
            "default user. Are you sure your configuration is correct?"
        )

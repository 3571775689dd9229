"""When keys expire: EXPIRE, TTL, PERSIST and their like."""

from __future__ import annotations

from collections.abc import Callable

from hypercache.server import resp
from hypercache.server.deadlines import any_deadline_ms
from hypercache.server.errors import CommandError
from hypercache.server.session import Session
from hypercache.server.table import Request, Role, command

_NO_KEY, _NO_EXPIRY = resp.integer(-2), resp.integer(-1)
_NOT_COMPATIBLE = "ERR NX and XX, GT or LT options at the same time are not compatible"
_GT_AND_LT = "ERR GT and LT options at the same time are not compatible"


def _register_expire(name: str, unit: bytes, since: str, what: str) -> None:
    @command(
        name,
        -3,
        Role.WRITE,
        f"Sets the expiration time of a key {what}.",
        flags="write fast",
        keys=(1, 1, 1),
        since=since,
    )
    def expire(session: Session, request: Request) -> bytes:
        """Change when a key expires; one that has no value stays without."""
        _, key, amount, *words = request
        conditions = _conditions(words)
        at_ms = any_deadline_ms(session, name, unit, amount)
        database = session.database
        old = database.find_entry(key)
        if old is None or not _holds(conditions, old.expires_at_ms, at_ms):
            return resp.ZERO
        # A time before 1970 is as good as any that is over; 0 would mean never.
        database.expire(key, max(1, at_ms))
        return resp.ONE


def _conditions(words: list[bytes]) -> set[bytes]:
    conditions = {word.lower() for word in words}
    for word in words:
        if word.lower() not in (b"nx", b"xx", b"gt", b"lt"):
            shown = word[:128].decode("utf-8", "surrogateescape")
            raise CommandError(f"ERR Unsupported option {shown}")
    if b"nx" in conditions and len(conditions) > 1:
        raise CommandError(_NOT_COMPATIBLE)
    if {b"gt", b"lt"} <= conditions:
        raise CommandError(_GT_AND_LT)
    return conditions


def _holds(conditions: set[bytes], old_ms: int, new_ms: int) -> bool:
    """Tell whether all conditions hold; without an expiry a key lives longest."""
    return not (
        (b"nx" in conditions and old_ms)
        or (b"xx" in conditions and not old_ms)
        or (b"gt" in conditions and (not old_ms or new_ms <= old_ms))
        or (b"lt" in conditions and old_ms and new_ms >= old_ms)
    )


_register_expire("expire", b"ex", "1.0.0", "in seconds")
_register_expire("pexpire", b"px", "2.6.0", "in milliseconds")
_register_expire("expireat", b"exat", "1.2.0", "to a Unix timestamp")
_register_expire("pexpireat", b"pxat", "2.6.0", "to a Unix milliseconds timestamp")


def _register_ttl(
    name: str, since: str, summary: str, shown: Callable[[int, float], int]
) -> None:
    @command(
        name,
        2,
        Role.READ,
        summary,
        flags="readonly fast",
        keys=(1, 1, 1),
        since=since,
    )
    def ttl(session: Session, request: Request) -> bytes:
        """Answer how long a key lives, -1 for ever, -2 without one."""
        found = session.database.find_entry(request[1])
        if found is None:
            return _NO_KEY
        if not found.expires_at_ms:
            return _NO_EXPIRY
        return resp.integer(shown(found.expires_at_ms, session.database.now_ms()))


_register_ttl(
    "ttl",
    "1.0.0",
    "Returns the expiration time in seconds of a key.",
    lambda at_ms, now_ms: int(max(0, at_ms - now_ms) + 500) // 1000,
)
_register_ttl(
    "pttl",
    "2.6.0",
    "Returns the expiration time in milliseconds of a key.",
    lambda at_ms, now_ms: int(max(0, at_ms - now_ms)),
)
_register_ttl(
    "expiretime",
    "7.0.0",
    "Returns the expiration time of a key as a Unix timestamp.",
    lambda at_ms, _now_ms: (at_ms + 500) // 1000,
)
_register_ttl(
    "pexpiretime",
    "7.0.0",
    "Returns the expiration time of a key as a Unix milliseconds timestamp.",
    lambda at_ms, _now_ms: at_ms,
)


@command(
    "persist",
    2,
    Role.WRITE,
    "Removes the expiration time of a key.",
    flags="write fast",
    keys=(1, 1, 1),
    since="2.2.0",
)
def persist(session: Session, request: Request) -> bytes:
    """Let a key live for ever."""
    database, key = session.database, request[1]
    found = database.find_entry(key)
    if found is None or not found.expires_at_ms:
        return resp.ZERO
    database.expire(key, 0)
    return resp.ONE

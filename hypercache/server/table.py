"""The table of commands: what each is called, takes, needs and does.

`command` registers a function; COMMAND, HELP and the dispatch all read this table, so
none of them can tell of a command that is not there.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from hypercache.server.session import Session

Request: TypeAlias = list[bytes]
Handler: TypeAlias = "Callable[[Session, Request], bytes]"


class Role(enum.IntEnum):
    """What a user may do; each includes those before it."""

    NONE = 0  # nobody has to be known for it
    CONNECTED = 1  # about the connection itself
    READ = 2
    WRITE = 3
    ADMIN = 4


@dataclass(slots=True, eq=False)
class Command:
    """One command, or one subcommand of a container.

    Attributes:
        name: in lower case; that of a subcommand is `config|get`.
        arity: how many arguments with the name; -N stands for N or more.
        flags: Redis' words for what it is.
        keys: position of the first key, of the last (-1: the last argument), and the
            step between two; (0, 0, 0) without any.
        is_data: answers from the database alone, so that it may be run once more.
        is_plain: is_data, and so quick that it is not timed by itself.
        calls: how often it was run.
    """

    name: str
    handler: Handler
    arity: int
    role: Role
    flags: tuple[str, ...]
    keys: tuple[int, int, int]
    since: str
    group: str
    summary: str
    is_data: bool
    is_plain: bool
    least: int | float = field(init=False)
    calls: int = 0
    failed_calls: int = 0
    total_us: float = 0.0
    subcommands: dict[bytes, Command] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.least = -self.arity if self.arity < 0 else float("inf")

    @property
    def is_write(self) -> bool:
        """Tell whether it may change the database."""
        return "write" in self.flags

    def takes(self, count: int) -> bool:
        """Tell whether it may be called with so many arguments, the name among them."""
        return count == self.arity or count >= self.least

    def keys_of(self, request: Sequence[bytes]) -> Sequence[bytes]:
        """Return the keys among the arguments."""
        first, last, step = self.keys
        if not first:
            return ()
        return request[first : (last + 1) or None : step]


COMMANDS: dict[bytes, Command] = {}


def command(
    name: str,
    arity: int,
    role: Role,
    summary: str,
    *,
    flags: str = "",
    keys: tuple[int, int, int] = (0, 0, 0),
    since: str = "1.0.0",
    group: str = "generic",
    is_data: bool | None = None,
    is_plain: bool | None = None,
) -> Callable[[Handler], Handler]:
    """Register a function as a command; `config|get` as a subcommand of `config`."""
    words = tuple(flags.split())
    data = bool({"write", "readonly"}.intersection(words))

    def register(handler: Handler) -> Handler:
        entry = Command(
            name,
            handler,
            arity,
            role,
            words,
            keys,
            since,
            group,
            summary,
            data if is_data is None else is_data,
            data and "fast" in words if is_plain is None else is_plain,
        )
        container, _, part = name.partition("|")
        if part:
            COMMANDS[container.encode()].subcommands[part.encode()] = entry
        else:
            COMMANDS[name.encode()] = entry
        return handler

    return register


def find(name: bytes) -> Command | None:
    """Return a command by its name in any case; a subcommand as `config|get`."""
    container, _, part = name.lower().partition(b"|")
    found = COMMANDS.get(container)
    if found is None or not part:
        return found
    return found.subcommands.get(part)


def all_commands() -> Iterator[Command]:
    """Yield all commands, each followed by its subcommands."""
    for entry in COMMANDS.values():
        yield entry
        yield from entry.subcommands.values()


def plain_table(role: Role) -> dict[bytes, Command]:
    """Return what a user with a role may call without a closer look, by its name.

    Names are those that clients send, all in one case.
    """
    found = {}
    for name, entry in COMMANDS.items():
        if entry.is_plain and entry.role <= role:
            found[name] = found[name.upper()] = entry
    return found

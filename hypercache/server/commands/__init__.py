"""The commands, by the group that Redis' documentation has them in.

A handler gets the session and the whole request, the name first, and returns the
encoded reply. It checks all it must before it writes: what it raises is the reply, and
then nothing of it is pending.
"""

from importlib import import_module

_MODULES = (
    "connection",
    "counters",
    "expiry",
    "keyspace",
    "parts",
    "strings",
    "transactions",
)


def register() -> None:
    """Put all commands into the table."""
    for name in _MODULES:
        import_module(f"{__name__}.{name}")

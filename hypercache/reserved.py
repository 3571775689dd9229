"""The keys under which a cache keeps records for itself, beside those of its callers.

They lie in the one store, so that a record is written in one batch with the entries
that it is about, and goes through the same log, recovery and backup. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from hypercache.errors import LimitError
from hypercache.options import MAX_KEY_BYTES

FIRST = b"\x00hypercache/"
BEHIND = b"\x00hypercache0"  # the lowest key above all with that prefix
LOWEST_FREE = b"\x01"  # what is not below it needs no closer look
ATTRIBUTED = FIRST + b"attributed"  # there is or was an entry with attributes
_TAG, _LEASE = b"tag/", b"lease/"
MAX_TAG_BYTES = 255

Bounds = tuple[bytes | None, bytes | None]


def tag_key(tag: bytes) -> bytes:
    """Return the key of a tag's record."""
    return FIRST + _TAG + tag


def lease_key(key: bytes) -> bytes:
    """Return the key of the record that says who makes the value of `key` now.

    Raises:
        LimitError: the key is too long for it.
    """
    name = FIRST + _LEASE + key
    if len(name) > MAX_KEY_BYTES:
        most = MAX_KEY_BYTES - len(FIRST) - len(_LEASE)
        raise LimitError(
            f"the key {key[:32]!r}... has {len(key)} bytes; one that a function is "
            f"called for has at most {most}"
        )
    return name


def is_reserved(key: bytes) -> bool:
    """Tell whether a key is not for callers."""
    return key.startswith(FIRST)


def refuse(key: bytes) -> None:
    """Refuse to write a reserved key.

    Raises:
        LimitError: it is one.
    """
    if is_reserved(key):
        raise LimitError(
            f"the key {key[:64]!r} begins with {FIRST!r}, where the cache keeps what "
            "it needs itself; choose another"
        )


def ranges(low: bytes | None, high: bytes | None, reverse: bool) -> Iterator[Bounds]:
    """Yield the parts of low <= key < high that are the callers'."""
    parts: list[Bounds] = []
    if low is None or low < FIRST:
        parts.append((low, FIRST if high is None else min(high, FIRST)))
    if high is None or high > BEHIND:
        parts.append((BEHIND if low is None else max(low, BEHIND), high))
    yield from reversed(parts) if reverse else parts

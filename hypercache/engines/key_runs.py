"""Walk an LMDB cursor run by run, in key order.

Long keys that share a prefix lie together, in the order of their hashes: a run. Any
other entry is a run of one. Who reads a whole run can put it into key order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from hypercache.engines.envelope import (
    HASH_BYTES,
    SHORT_KEY_BYTES,
    Head,
    is_long,
    maybe_head,
    stored_key,
)

# Transactions are begun without buffers=True, so LMDB hands out bytes.
Run = list[tuple[Any, Any]]


class Cursor(Protocol):
    """What is used of an LMDB cursor."""

    def item(self) -> tuple[Any, Any]:
        """Return key and value here."""

    def key(self) -> Any:
        """Return the key here, empty when the cursor is nowhere."""

    def next(self) -> bool:
        """Go one up; tell whether there is an entry."""

    def prev(self) -> bool:
        """Go one down; tell whether there is an entry."""

    def last(self) -> bool:
        """Go to the highest key; tell whether there is an entry."""

    def set_range(self, key: bytes, /) -> bool:
        """Go to the first key that is not below this one."""


def forward(cursor: Cursor, start: bytes | None, stop: bytes | None) -> Iterator[Run]:
    """Yield the runs that may hold keys of start <= key < stop, upwards."""
    bound = stop and stop[:SHORT_KEY_BYTES]
    here = cursor.set_range((start or b"")[:SHORT_KEY_BYTES])
    while here:
        key, value = cursor.item()
        if bound is not None and key[:SHORT_KEY_BYTES] > bound:
            return
        run = [(key, value)]
        here = cursor.next()
        while here and _same_run(key, cursor.key()):
            run.append(cursor.item())
            here = cursor.next()
        yield run


def heads(cursor: Cursor, start: bytes, count: int) -> list[Head]:
    """Return the heads of the first entries at or behind a key, at most so many.

    Of long keys that share a prefix the order is not that of the keys.
    """
    found: list[Head] = []
    here = cursor.set_range(stored_key(start))
    while here and len(found) < count:
        head = maybe_head(*cursor.item())
        if head is not None:
            found.append(head)
        here = cursor.next()
    return found


def last_head(cursor: Cursor) -> Head | None:
    """Return the head of the last entry, None without any."""
    return maybe_head(*cursor.item()) if cursor.last() else None


def backward(cursor: Cursor, start: bytes | None, stop: bytes | None) -> Iterator[Run]:
    """Yield the runs that may hold keys of start <= key < stop, downwards."""
    bound = start and start[:SHORT_KEY_BYTES]
    here = _seek_below(cursor, stop)
    while here:
        key, value = cursor.item()
        if bound and key < bound:
            return
        run = [(key, value)]
        here = cursor.prev()
        while here and _same_run(key, cursor.key()):
            run.append(cursor.item())
            here = cursor.prev()
        yield run


def _seek_below(cursor: Cursor, stop: bytes | None) -> bool:
    if stop is None:
        return cursor.last()
    if len(stop) > SHORT_KEY_BYTES:
        # Behind the whole run that may hold keys below `stop`.
        stop = stop[:SHORT_KEY_BYTES] + b"\xff" * HASH_BYTES
        if cursor.set_range(stop) and cursor.key() == stop:
            return True
    elif not cursor.set_range(stop):
        return cursor.last()
    return cursor.prev() if cursor.key() else cursor.last()


def _same_run(key: Any, other: Any) -> bool:
    return (
        is_long(key)
        and is_long(other)
        and key[:SHORT_KEY_BYTES] == other[:SHORT_KEY_BYTES]
    )

"""Where each SCAN is: a cursor is a number for the key to go on behind.

An iterator is kept for the cursors used last, because to begin one may take the time of
sorting all keys; the others begin anew behind their key.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from typing import TypeVar

from hypercache.server.database import Database
from hypercache.server.errors import CommandError

T = TypeVar("T")
MOST_CURSORS = 10_000
MOST_ITERATORS = 64


class Cursors:
    """Remember the cursors of all clients."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._keys: OrderedDict[int, tuple[Database, bytes]] = OrderedDict()
        self._iterators: OrderedDict[int, Iterator[bytes]] = OrderedDict()

    def advance(
        self, database: Database, cursor: int, count: int
    ) -> tuple[int, list[bytes]]:
        """Return the next cursor, 0 at the end, and the next keys.

        Every key that is there from the first call to the last is returned once.

        Raises:
            CommandError: the cursor is unknown, or forgotten.
        """
        keys = self._iterators.pop(cursor, None)
        if keys is None:
            keys = database.keys(self._start(database, cursor))
        found = list(itertools.islice(keys, count))
        if len(found) < count:
            return 0, found
        following = next(self._numbers)
        _add(self._keys, following, (database, found[-1]), MOST_CURSORS)
        _add(self._iterators, following, keys, MOST_ITERATORS)
        return following, found

    def _start(self, database: Database, cursor: int) -> bytes | None:
        if not cursor:
            return None
        known, key = self._keys.get(cursor, (None, b""))
        if known is not database:
            raise CommandError("ERR invalid cursor")
        return key + b"\0"


def _add(table: OrderedDict[int, T], number: int, item: T, most: int) -> None:
    table[number] = item
    if len(table) > most:
        table.popitem(last=False)

"""Collect the writes of one transaction over an engine.

While a transaction is open its view stands in the place of the engine: the thread that
opened it reads and writes through the collected changes, all others go straight to the
engine below (and wait there, if they write). So `Cache` has one implementation of
every operation, inside a transaction and outside; a nested transaction is a view over
a view.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager

from hypercache.engines.base import (
    CheckReport,
    Delete,
    EngineStats,
    Entry,
    KeyOp,
    Put,
    StorageEngine,
    changed_entry,
    check_op,
)
from hypercache.errors import TransactionError


class TransactionView(StorageEngine):
    """Show an engine as one transaction sees it; must be built inside `exclusive`."""

    def __init__(self, below: StorageEngine) -> None:
        self._below = below
        self._owner: tuple[int, int] | None = _myself()
        self._changes: dict[bytes, Entry | None] = {}

    def commit(self) -> None:
        """Apply everything collected to the engine below, as one batch."""
        batch: list[KeyOp] = [
            Delete(key) if entry is None else Put(key, *entry)
            for key, entry in self._changes.items()
        ]
        self.end()
        if batch:
            self._below.apply(batch)

    def end(self) -> None:
        """Forget what was collected; from now on this view only passes through."""
        self._owner = None
        self._changes = {}

    def get_entry(self, key: bytes) -> Entry | None:
        """Return value and expiry as this transaction sees them."""
        if not self.is_mine() or key not in self._changes:
            return self._below.get_entry(key)
        entry = self._changes[key]
        expired = entry and entry.expires_at_ms and entry.expires_at_ms <= self.now_ms()
        return None if expired else entry

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values of the keys that are present."""
        if not self.is_mine():
            return self._below.get_many(keys)
        return super().get_many(keys)

    def now_ms(self) -> float:
        """Return the time of the engine below."""
        return self._below.now_ms()

    def apply(self, ops: Sequence[KeyOp]) -> int:
        """Collect a batch; the LSN is not known before the commit, so it is 0."""
        if not self.is_mine():
            return self._below.apply(ops)
        for op in ops:
            check_op(op)
        for op in ops:
            self._changes[op.key] = changed_entry(self.get_entry(op.key), op)
        return 0

    def exclusive(self) -> AbstractContextManager[None]:
        """Nest, or wait for this transaction to end."""
        return self._below.exclusive()

    def scan(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        *,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, Entry]]:
        """Yield the entries as this transaction sees them."""
        below = self._below.scan(start, stop, reverse=reverse)
        if not self.is_mine():
            yield from below
            return
        merged = dict(below)
        for key in self._changes:
            if (start is None or start <= key) and (stop is None or key < stop):
                entry = self.get_entry(key)
                merged.pop(key, None)
                if entry is not None:
                    merged[key] = entry
        for key in sorted(merged, reverse=reverse):
            yield key, merged[key]

    def count(self) -> int:
        """Return the number of keys as this transaction sees them."""
        if not self.is_mine():
            return self._below.count()
        return super().count()

    def clear(self) -> int:
        """Collect the removal of every key."""
        if not self.is_mine():
            return self._below.clear()
        return self.apply([Delete(key) for key, _ in self.scan()])

    def sync(self) -> int:
        """Refuse: the transaction is not written yet."""
        self._outside("sync")
        return self._below.sync()

    def wait_durable(self, lsn: int, timeout: float | None = None) -> None:
        """Refuse: the transaction is not written yet."""
        self._outside("wait_durable")
        self._below.wait_durable(lsn, timeout)

    def checkpoint(self) -> int:
        """Refuse: the transaction is not written yet."""
        self._outside("checkpoint")
        return self._below.checkpoint()

    def compact(self) -> int:
        """Refuse: the transaction is not written yet."""
        self._outside("compact")
        return self._below.compact()

    def backup(self, destination: str) -> int:
        """Refuse: the transaction is not written yet."""
        self._outside("backup")
        return self._below.backup(destination)

    def refresh(self) -> int:
        """Refresh the engine below: an engine that can be written shows the present."""
        return self._below.refresh()

    def check(self) -> CheckReport:
        """Refuse: the transaction is not written yet."""
        self._outside("check")
        return self._below.check()

    def stats(self) -> EngineStats:
        """Return the numbers of the engine below."""
        return self._below.stats()

    def close(self) -> None:
        """Refuse inside the transaction; from elsewhere, wait for its end."""
        self._outside("close")
        self._below.close()

    def is_mine(self) -> bool:
        """Tell whether this thread opened the transaction, and it is still open."""
        return self._owner == _myself()

    def _outside(self, name: str) -> None:
        if self.is_mine():
            raise TransactionError(
                f"{name}() cannot be called inside a transaction; leave its block first"
            )


def _myself() -> tuple[int, int]:
    """Name this thread; its copy in a forked child is another."""
    return os.getpid(), threading.get_ident()

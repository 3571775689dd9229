"""What all read-only engines have in common: they refuse to write."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NoReturn

from hypercache.engines import refusals
from hypercache.engines.base import Change, StorageEngine
from hypercache.engines.slots import ExpiryClock
from hypercache.errors import ConfigError, HyperCacheError, ReadOnlyError
from hypercache.ops import KeyOp
from hypercache.paths import StorePaths
from hypercache.storage import Clock, Storage


class ReadOnlyEngine(StorageEngine):
    """Show a store as of `refresh`, changing nothing, not even a lock.

    A writer may have it open meanwhile, here or in another process.
    """

    def __init__(self, storage: Storage, paths: StorePaths, clock: Clock) -> None:
        self._storage, self._paths = storage, paths
        self._closed = False
        self._opener_pid = os.getpid()
        expiry = ExpiryClock(clock)
        self._live, self._expiry_ms = expiry.live, expiry.now_ms

    @abstractmethod
    def refresh(self) -> int:
        """Move the snapshot forward to now and return its LSN."""

    def now_ms(self) -> float:
        """Return the time that expiry is judged by."""
        return self._expiry_ms()

    def apply(self, ops: Sequence[KeyOp]) -> int:
        """Refuse."""
        del ops
        self._refuse_write()

    def update(self, key: bytes, change: Change) -> int | None:
        """Refuse."""
        del key, change
        self._refuse_write()

    def exclusive(self) -> AbstractContextManager[None]:
        """Refuse: nobody can be kept out."""
        self._refuse_write()

    def clear(self) -> int:
        """Refuse."""
        self._refuse_write()

    def sync(self) -> int:
        """Refuse: what is acknowledged elsewhere is not ours to sync."""
        self._refuse_write()

    def wait_durable(self, lsn: int, timeout: float | None = None) -> None:
        """Refuse, like `sync`."""
        del lsn, timeout
        self._refuse_write()

    def _refuse(self) -> None:
        if self._closed:
            raise refusals.closed(self._paths.root)
        if os.getpid() != self._opener_pid:
            raise refusals.forked(self._paths.root)

    def _refuse_write(self) -> NoReturn:
        self._refuse()
        raise ReadOnlyError(
            f"{self._paths.root} was opened with read_only=True; open it without to "
            "write to it"
        )


def no_store(paths: StorePaths, engine: str) -> HyperCacheError:
    """Return the error of a read-only open where there is nothing to read."""
    return ConfigError(
        f"{paths.root} holds no {engine} store, and read_only=True creates none; open "
        "it once without read_only"
    )

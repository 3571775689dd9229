"""What all read-only engines have in common: they refuse to write."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NoReturn

from hypercache.engines import identity, refusals
from hypercache.engines.base import Change, StorageEngine
from hypercache.engines.slots import ExpiryClock
from hypercache.errors import (
    ConfigError,
    CorruptionError,
    HyperCacheError,
    ReadOnlyError,
    StorageError,
)
from hypercache.ops import KeyOp
from hypercache.options import Options
from hypercache.paths import StorePaths
from hypercache.storage import Clock, OsStorage, Storage, SystemClock


class ReadOnlyEngine(StorageEngine):
    """Show a store as of `refresh`, changing nothing, not even a lock.

    A writer may have it open meanwhile, here or in another process.

    Raises:
        ConfigError, UnsupportedFormatError, CorruptionError, StorageError: at
            construction.
    """

    engine: str  # what STORE must say

    def __init__(
        self,
        path: str,
        options: Options,
        *,
        storage: Storage | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._storage = storage or OsStorage()
        self._paths = paths = StorePaths(path.rstrip("/") or "/")
        self._options = options
        self._closed = False
        self._opener_pid = os.getpid()
        expiry = ExpiryClock(clock or SystemClock())
        self._live, self._expiry_ms = expiry.live, expiry.now_ms
        identity.refuse_unfit(self._storage, paths, options)
        found = None
        if self._storage.is_directory(paths.root):
            found = identity.load_ready(self._storage, paths, options, self.engine)
        if found is None:
            raise _no_store(paths, self.engine)
        self._uuid = found.uuid_bytes

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
        if self._is_forked():
            raise refusals.forked(self._paths.root)

    def _refuse_backwards(self, shown_lsn: int, lsn: int) -> None:
        if lsn < shown_lsn:
            reason = f"the store ends there, and this handle has shown LSN {shown_lsn}"
            raise CorruptionError(self._paths.root, reason, lsn=lsn)

    def _is_forked(self) -> bool:
        return os.getpid() != self._opener_pid

    def _may_be_written(self) -> bool:
        return self._storage.may_be_written(self._paths.lock)

    def _refuse_write(self) -> NoReturn:
        self._refuse()
        raise ReadOnlyError(
            f"{self._paths.root} was opened with read_only=True; open it without to "
            "write to it"
        )


def too_fast(paths: StorePaths) -> StorageError:
    """Return the error of a reader that a writer never lets come to an end."""
    return StorageError(
        f"{paths.root} is written to faster than it can be read; try again"
    )


def _no_store(paths: StorePaths, engine: str) -> HyperCacheError:
    return ConfigError(
        f"{paths.root} holds no {engine} store, and read_only=True creates none; open "
        "it once without read_only"
    )

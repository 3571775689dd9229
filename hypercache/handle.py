"""What a cache does with its store as a whole: sync, backup, check, close."""

from __future__ import annotations

import os
import weakref
from types import TracebackType
from typing import Self

from hypercache import arguments, sweeper
from hypercache.closing import close_forgotten
from hypercache.engines.base import CheckReport, EngineStats, StorageEngine


class StoreHandle:
    """Hold the engine of one open store."""

    def __init__(self, engine: StorageEngine) -> None:
        self._engine = engine
        # Closes when the cache is forgotten, and at the end of the interpreter.
        self._finalizer = weakref.finalize(self, close_forgotten, engine)

    @property
    def engine(self) -> StorageEngine:
        """Return the engine below, which knows stored forms and nothing of values."""
        return self._engine

    def sync(self) -> int:
        """Return when everything acknowledged so far is on the medium, and its LSN."""
        return self._engine.sync()

    def wait_durable(self, lsn: int, timeout: float | None = None) -> None:
        """Return when the write with this LSN is on the medium.

        Raises:
            WaitTimeoutError: `timeout` seconds passed first; the write stands.
            StorageFailedError: the log failed; the write may be lost.
        """
        self._engine.wait_durable(lsn, timeout)

    def checkpoint(self) -> int:
        """Fold the log into the store below it and return the LSN reached."""
        return self._engine.checkpoint()

    def compact(self) -> int:
        """Rewrite what is on disk without what is dead; return the LSN reached.

        The hybrid engine's checkpoint does that, the memory engine rewrites its log;
        LMDB uses the room of what was deleted again by itself.
        """
        return self._engine.compact()

    def backup(self, destination: str | os.PathLike[str]) -> int:
        """Copy the store into a new directory; return the LSN that the copy is of.

        Reads and writes go on meanwhile. On return the copy is on the medium and was
        read back; on an error there is none. It opens like any store.

        Raises:
            ConfigError: the destination is the store itself, lies in it or around it,
                or is not empty; or the cache is volatile.
            DiskFullError, StorageError, CorruptionError: there is no copy.
        """
        return self._engine.backup(arguments.absolute(destination))

    def refresh(self) -> int:
        """Move what a read-only cache shows forward to now; return its LSN.

        Any other cache shows the present anyway.
        """
        return self._engine.refresh()

    def check(self) -> CheckReport:
        """Read everything back; `report.ok` is True when nothing is wrong."""
        return self._engine.check()

    def stats(self) -> EngineStats:
        """Return the numbers of this moment."""
        return self._engine.stats()

    @property
    def is_closed(self) -> bool:
        """Tell whether `close` was called, and succeeded."""
        return not self._finalizer.alive

    def close(self) -> None:
        """Bring everything to the medium and let go of all files; repeatable."""
        sweeper.forget(self._engine)
        self._engine.close()
        self._finalizer.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

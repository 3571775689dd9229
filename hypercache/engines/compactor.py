"""Run the compactions of a durable memory store.

A compaction seals the active increment, rewrites the base and all sealed increments
into a new base, lets the manifest name it, and removes the history. Readers have
everything in RAM and never wait; writers go on meanwhile into a new increment.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator, Iterator

from hypercache.aof.compact import compact
from hypercache.aof.manifest import BaseFacts, Manifest
from hypercache.aof.writer import AofWriter
from hypercache.engines import compact_helper
from hypercache.engines.memory_table import MemoryTable
from hypercache.engines.upkeep import Alone, Upkeep
from hypercache.errors import CorruptionError, DiskFullError, StorageError
from hypercache.group_commit import GroupCommit
from hypercache.locking import DirectoryLock
from hypercache.options import Options
from hypercache.paths import StorePaths
from hypercache.storage import Clock, Storage

_log = logging.getLogger(__name__)
DEAD_FACTOR = 2  # a log longer than so many times its live data is compacted


class Compactor(Upkeep):
    """Own the passage from increments to bases."""

    name = "compaction"

    def __init__(
        self,
        place: tuple[Storage, StorePaths, bytes, Options],
        log: tuple[Alone, AofWriter, GroupCommit],
        table: MemoryTable,
        clock: Clock,
        directory_lock: DirectoryLock,
    ) -> None:
        self._storage, self._paths, self._uuid, self._options = place
        self._alone, self._log, self._commit = log
        self._table, self._directory_lock = table, directory_lock
        self.damaged = False
        self._compacting_bytes = 0  # of the log, on their way into a base
        super().__init__(self._commit.state, clock, self._options.maintenance)
        self._log.on_seal = self.look
        self.look()  # what the last process left may be due already

    @property
    def disk_bytes(self) -> int:
        """Return the length of base and increments."""
        return self._log.base_bytes + self._log.kept_bytes

    def is_due(self) -> bool:
        """Tell whether most of a log of some length is dead.

        While a compaction goes on: whether another segment was filled meanwhile.
        """
        if self._compacting_bytes:
            return self._log.sealed_bytes > self._compacting_bytes
        disk_bytes = self.disk_bytes
        return (
            disk_bytes >= self._options.compact_min_bytes
            and disk_bytes > DEAD_FACTOR * self._table.live_bytes
        )

    def steps(self, in_process: bool) -> Iterator[int]:
        """Compact everything appended."""
        with self._alone():
            self._refuse_unfit()
            self._log.seal_active()
            self.due = False
            manifest = self._log.manifest
            if not manifest.extent.numbers:
                return
            self._compacting_bytes = self._log.sealed_bytes
        try:
            base = yield from self._compact(manifest, in_process)
            with self._alone():
                self._refuse_unfit()
                self._adopt(base)
        finally:
            self._compacting_bytes = 0
        self._prune()
        self.count += 1

    def close_cleanly(self) -> None:
        """Seal the log and say in the manifest that the close was clean.

        Raises:
            StorageError: the log could not be brought to the medium.
        """
        self._commit.flush()
        if self.damaged:
            return  # without a clean mark, so that the next open looks at everything
        try:
            self._log.seal_active()
            if not self._log.manifest.clean:
                self._log.closed()
        except DiskFullError as error:
            _log.warning("closed without saying so, nothing is lost: %s", error)

    def abandon(self) -> None:
        """Leave nothing of a compaction that was begun; called at close."""
        if self.abandon_pending():
            with contextlib.suppress(StorageError):  # then the next open does it
                self._log.prune()

    def _refuse_unfit(self) -> None:
        self._commit.state.raise_if_failed()
        if self.damaged:
            # Compacting would take away increments, which may be all that is whole.
            reason = "check() has found damage; nothing is compacted any more"
            raise CorruptionError(self._paths.root, reason)

    def _adopt(self, base: BaseFacts) -> None:
        try:
            self._log.adopt(base)
        except DiskFullError:
            self._log.prune()  # the base that nothing names takes space, too
            raise

    def _prune(self) -> None:
        try:
            self._log.prune()
        except DiskFullError:
            raise  # the next compaction or open removes what is left
        except StorageError as error:
            self._commit.fail(error)
            raise

    def _compact(
        self, manifest: Manifest, in_process: bool
    ) -> Generator[int, None, BaseFacts]:
        place = self._paths, self._uuid, manifest
        if in_process:
            base = compact_helper.maybe_compact(*place, self._directory_lock.fileno())
            if base is not None:
                return base
        return (yield from compact(self._storage, *place))

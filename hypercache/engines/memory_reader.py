"""Read a durable memory store without opening it for writing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hypercache.aof import manifest as manifests
from hypercache.aof.base import BaseReader
from hypercache.aof.manifest import Manifest
from hypercache.engines import auditing, backup, identity, memory_table
from hypercache.engines.base import CheckReport, EngineStats, Entry
from hypercache.engines.memory_table import MemoryTable
from hypercache.engines.opening import notes_on
from hypercache.engines.read_only import ReadOnlyEngine, no_store
from hypercache.errors import CorruptionError
from hypercache.log_reader import HeldLog, LogReader, hold
from hypercache.options import Options
from hypercache.paths import StorePaths
from hypercache.read_file import ReadFile
from hypercache.storage import Clock, OsStorage, Storage, SystemClock

_ATTEMPTS = 100
_BASE = 0  # where the held files have the base; segments are numbered from 1


class MemoryReader(ReadOnlyEngine):
    """Load a durable memory store as it is at one moment.

    Raises:
        ConfigError, UnsupportedFormatError, CorruptionError, StorageError: at
            construction.
    """

    engine = "memory"

    def __init__(
        self,
        path: str,
        options: Options,
        *,
        storage: Storage | None = None,
        clock: Clock | None = None,
    ) -> None:
        paths = StorePaths(path.rstrip("/") or "/")
        super().__init__(storage or OsStorage(), paths, clock or SystemClock())
        identity.refuse_unfit(self._storage, paths, options)
        found = None
        if self._storage.is_directory(paths.root):
            found = identity.load_ready(self._storage, paths, options, self.engine)
        if found is None:
            raise no_store(paths, self.engine)
        self._uuid = found.uuid_bytes
        self._load()

    def get_entry(self, key: bytes) -> Entry | None:
        """Return value and expiry, None for a key that is absent or expired."""
        self._refuse()
        return self._live(self._table.active.get(key))

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values of the keys that are present."""
        self._refuse()
        active = self._table.active
        found = ((key, self._live(active.get(key))) for key in keys)
        return {key: entry.value for key, entry in found if entry is not None}

    def scan(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        *,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, Entry]]:
        """Yield the live entries with start <= key < stop in key order."""
        self._refuse()
        table = self._table.active
        yield from memory_table.scan(table, self.get_entry, (start, stop), reverse)

    def refresh(self) -> int:
        """Load what has been written since and return the LSN reached."""
        self._refuse()
        self._load()
        return self._lsn

    def check(self) -> CheckReport:
        """Read everything back and report what is wrong."""
        try:
            self.refresh()
        except CorruptionError as error:
            return CheckReport((auditing.problem_of(error),), 0)
        return CheckReport((), self.count())

    def stats(self) -> EngineStats:
        """Return the numbers of the snapshot."""
        self._refuse()
        return EngineStats(
            engine=self.engine,
            path=self._paths.root,
            read_only=True,
            appended_lsn=self._lsn,
            memtable_count=len(self._table.active),
            log_bytes=self._log_bytes,
            live_bytes=self._table.live_bytes,
            base_bytes=self._base_bytes,
            disk_bytes=auditing.disk_bytes(self._storage, self._paths),
            recovery=self._recovery,
        )

    def backup(self, destination: str) -> int:
        """Copy the store as it is now into a new directory; return the LSN reached."""
        self._refuse()
        manifest, held = self._cut()
        with held:
            cut = backup.AofCut(manifest, held)
            return backup.back_up_aof(self._storage, self._paths, cut, destination)

    def close(self) -> None:
        """Forget everything."""
        self._closed, self._table = True, MemoryTable()

    def _cut(self) -> tuple[Manifest, HeldLog]:
        return hold_named(self._storage, self._paths)

    def _load(self) -> None:
        manifest, held = self._cut()
        table = MemoryTable()
        with held:
            if manifest.base is not None:
                base = BaseReader(held.files[_BASE], self._uuid, manifest.base)
                for block in base.blocks():
                    table.active.update(block)
            paths = self._paths.increments
            log = LogReader(
                self._storage, paths, self._uuid, manifest.extent, held=held
            )
            memory_table.replay(table, log.runs())
        table.recount()
        self._base_bytes = manifest.base.length_bytes if manifest.base else 0
        lengths = [end.length_bytes for end in log.ends.values()]
        self._log_bytes = self._base_bytes + sum(lengths)
        self._recovery = notes_on(log.torn_tail, cut=False)
        self._table, self._lsn = table, log.next_lsn - 1


def hold_named(storage: Storage, paths: StorePaths) -> tuple[Manifest, HeldLog]:
    """Hold the files that the manifest names, the base as number 0.

    A compaction may take them away in between: then the next manifest names others.

    Raises:
        CorruptionError: the manifest names files that are not there.
    """
    for _ in range(_ATTEMPTS):
        manifest = manifests.load(storage, paths)
        held = hold(storage, paths.increments, manifest.extent)
        if held is None or not _hold_base(storage, paths, manifest, held.files):
            if held is not None:
                held.close()
            if manifests.load(storage, paths) == manifest:
                break
            continue
        return manifest, held
    raise CorruptionError(paths.aof, "not all files that the manifest names are there")


def _hold_base(
    storage: Storage, paths: StorePaths, manifest: Manifest, files: dict[int, ReadFile]
) -> bool:
    if manifest.base is None:
        return True
    path = paths.bases.segment(manifest.base.number)
    if storage.info(path) is None:
        return False
    files[_BASE] = storage.open_read(path)
    return True

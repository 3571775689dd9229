"""Read a durable memory store without opening it for writing."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from hypercache.aof import manifest as manifests
from hypercache.aof.base import BaseReader
from hypercache.aof.manifest import Manifest
from hypercache.engines import auditing, backup, identity, memory_table
from hypercache.engines.base import CheckReport, EngineStats, Entry
from hypercache.engines.memory_table import Loader, MemoryTable
from hypercache.engines.opening import notes_on
from hypercache.engines.read_only import ReadOnlyEngine, too_fast
from hypercache.errors import CorruptionError, StorageError
from hypercache.log_reader import HeldLog, LogReader, hold, refuse_unknown
from hypercache.options import Options
from hypercache.paths import StorePaths
from hypercache.read_file import ReadFile
from hypercache.storage import Clock, Storage

_ATTEMPTS = 100
_BASE = 0  # where the held files have the base; segments are numbered from 1


@dataclass(frozen=True, slots=True)
class _View:
    """What is shown: everything, as it was at one moment."""

    table: MemoryTable
    lsn: int
    base_bytes: int
    log_bytes: int
    recovery: tuple[str, ...]


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
        super().__init__(path, options, storage=storage, clock=clock)
        self._refreshing = threading.Lock()
        self._view = self._load()

    def get_entry(self, key: bytes) -> Entry | None:
        """Return value and expiry, None for a key that is absent or expired."""
        self._refuse()
        return self._live(self._view.table.active.get(key))

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values of the keys that are present."""
        self._refuse()
        active = self._view.table.active
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
        table = self._view.table.active
        yield from memory_table.scan(table, self.get_entry, (start, stop), reverse)

    def count(self) -> int:
        """Return the number of live keys; looks at all entries if any can expire."""
        self._refuse()
        table = self._view.table
        if not table.expiring_count:
            return len(table.active)
        return sum(self._live(slot) is not None for slot in table.active.values())

    def refresh(self) -> int:
        """Load what has been written since and return the LSN reached."""
        self._refuse()
        with self._refreshing:
            view = self._load()
            self._refuse()
            self._refuse_backwards(self._view.lsn, view.lsn)
            self._view = view
            return view.lsn

    def check(self) -> CheckReport:
        """Read everything back and report what is wrong."""
        self._refuse()
        try:
            identity.load_ready(self._storage, self._paths, self._options, self.engine)
            self._load()
        except CorruptionError as error:
            return CheckReport((auditing.problem_of(error),), 0)
        return CheckReport((), self.count())

    def stats(self) -> EngineStats:
        """Return the numbers of the snapshot."""
        self._refuse()
        view = self._view
        return EngineStats(
            engine=self.engine,
            path=self._paths.root,
            read_only=True,
            appended_lsn=view.lsn,
            memtable_count=len(view.table.active),
            log_bytes=view.log_bytes,
            live_bytes=view.table.live_bytes,
            base_bytes=view.base_bytes,
            disk_bytes=auditing.disk_bytes(self._storage, self._paths),
            recovery=view.recovery,
        )

    def backup(self, destination: str) -> int:
        """Copy the store as it is now into a new directory; return the LSN reached."""
        self._refuse()
        wanted = backup.Wanted(destination, self._view.lsn)
        return back_up(self._storage, self._paths, self._uuid, wanted)

    def close(self) -> None:
        """Refuse every later call; nothing is held open."""
        self._closed = True

    def _load(self) -> _View:
        manifest, held = _hold_named(self._storage, self._paths)
        loader = Loader()
        with held:
            if manifest.base is not None:
                base = BaseReader(held.files[_BASE], self._uuid, manifest.base)
                for block in base.blocks():
                    loader.add(block)
            paths = self._paths.increments
            log = LogReader(
                self._storage, paths, self._uuid, manifest.extent, held=held
            )
            loader.replay(log.unpacked())
        refuse_unknown(log, partial(self._is_active, manifest.active_segment))
        table = loader.finish()
        base_bytes = manifest.base.length_bytes if manifest.base else 0
        lengths = [end.length_bytes for end in log.ends.values()]
        # What looks torn beside a writer is what it is writing.
        tail = None if self._may_be_written() else log.torn_tail
        return _View(
            table,
            log.next_lsn - 1,
            base_bytes,
            base_bytes + sum(lengths),
            notes_on(tail, cut=False),
        )

    def _is_active(self, number: int) -> bool:
        return manifests.load(self._storage, self._paths).active_segment == number


def back_up(
    storage: Storage, paths: StorePaths, uuid: bytes, wanted: backup.Wanted
) -> int:
    """Copy a durable memory store as it is now, and return the LSN of the copy."""
    manifest, held = _hold_named(storage, paths)
    with held:
        cut = backup.AofCut(manifest, held)
        return backup.back_up_aof(storage, paths, uuid, cut, wanted)


def _hold_named(storage: Storage, paths: StorePaths) -> tuple[Manifest, HeldLog]:
    """Hold the files that the manifest names, the base as number 0.

    A compaction may take them away in between: then the next manifest names others.

    Raises:
        CorruptionError: the manifest names files that are not there.
    """
    for _ in range(_ATTEMPTS):
        manifest = manifests.load(storage, paths)
        held = hold(storage, paths.increments, manifest.extent)
        if held is not None:
            try:
                if _hold_base(storage, paths, manifest, held.files):
                    return manifest, held
            except BaseException:
                held.close()
                raise
            held.close()
        if manifests.load(storage, paths) == manifest:
            reason = "not all files that the manifest names are there"
            raise CorruptionError(paths.aof, reason)
    raise too_fast(paths)


def _hold_base(
    storage: Storage, paths: StorePaths, manifest: Manifest, files: dict[int, ReadFile]
) -> bool:
    if manifest.base is None:
        return True
    path = paths.bases.segment(manifest.base.number)
    try:
        if storage.info(path) is None:
            return False
        files[_BASE] = storage.open_read(path)
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return False
        raise
    return True

"""Compact the log of a durable memory store that nobody has open."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hypercache.aof import manifest as manifests
from hypercache.aof.compact import compact
from hypercache.aof.writer import AofWriter
from hypercache.engines import auditing, identity
from hypercache.errors import ConfigError
from hypercache.options import Options
from hypercache.paths import StorePaths
from hypercache.storage import Storage

ENGINE = "memory"


@dataclass(frozen=True, slots=True)
class Compaction:
    """What an offline compaction did; the sizes are those of the whole store."""

    lsn: int
    entry_count: int
    before_bytes: int
    after_bytes: int


class OfflineLog:
    """The log of a store that this process alone may change."""

    def __init__(self, storage: Storage, paths: StorePaths, uuid: bytes) -> None:
        self._storage, self._paths, self._uuid = storage, paths, uuid
        self._log = AofWriter(
            storage, paths, Options.resolve(), uuid, manifests.load(storage, paths)
        )

    @property
    def length_bytes(self) -> int:
        """Return how many bytes `compact` has to read, about."""
        increments = self._paths.increments
        numbers = self._log.extent.numbers
        found = (self._storage.info(increments.segment(number)) for number in numbers)
        return self._log.base_bytes + sum(info.size_bytes for info in found if info)

    def compact(self) -> Generator[int, None, Compaction]:
        """Rewrite base and increments as one base; yield how much was read.

        A torn tail is cut, as every open for writing does.

        Raises:
            CorruptionError: the log is damaged; nothing was changed.
            DiskFullError, StorageError: the log is as it was.
        """
        storage, paths, log = self._storage, self._paths, self._log
        before_bytes = auditing.disk_bytes(storage, paths)
        for _ in log.unpacked():
            yield 0
        log.settle()
        base = yield from compact(storage, paths, self._uuid, log.manifest)
        log.manifest = dataclasses.replace(
            log.manifest,
            base=base,
            first_segment=log.manifest.active_segment + 1,
            next_lsn=log.next_lsn,
            clean=True,
        )
        manifests.store(storage, paths, log.manifest)
        log.prune()
        after_bytes = auditing.disk_bytes(storage, paths)
        return Compaction(base.lsn, base.entry_count, before_bytes, after_bytes)


@contextmanager
def opened(storage: Storage, paths: StorePaths) -> Iterator[OfflineLog]:
    """Keep everybody else out while the block works on the log.

    Raises:
        ConfigError: there is no such store, and none is created.
        StoreLockedError: somebody has it open.
    """
    options, found = Options.resolve(), None
    if storage.is_directory(paths.root):
        found = identity.load_ready(storage, paths, options, ENGINE)
    if found is None:
        raise ConfigError(f"{paths.root} holds no store of the engine {ENGINE!r}")
    lock = identity.claim_directory(storage, paths, options)
    try:
        yield OfflineLog(storage, paths, found.uuid_bytes)
    finally:
        lock.release()

"""The append-only log: increments that the manifest names, beside a base."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial

from hypercache import log_reader
from hypercache.aof import manifest as manifests
from hypercache.aof.base import BaseReader, Block, entries
from hypercache.aof.manifest import BaseFacts, Manifest
from hypercache.errors import CorruptionError
from hypercache.log_reader import Extent
from hypercache.log_writer import LogWriter
from hypercache.ops import Op, Put
from hypercache.options import Options
from hypercache.paths import TEMP_SUFFIX, StorePaths
from hypercache.storage import Storage


class AofWriter(LogWriter):
    """Own the end of the append-only log, and the manifest."""

    def __init__(
        self,
        storage: Storage,
        paths: StorePaths,
        options: Options,
        uuid: bytes,
        manifest: Manifest,
    ) -> None:
        super().__init__(storage, paths.increments, options, uuid)
        self._store_paths = paths
        self.manifest = manifest

    @property
    def extent(self) -> Extent:
        """Return what the manifest says of the increments."""
        return self.manifest.extent

    @property
    def base_bytes(self) -> int:
        """Return the length of the base, 0 without one."""
        return self.manifest.base.length_bytes if self.manifest.base else 0

    def replay(self) -> Iterator[tuple[int, Op]]:
        """Yield the entries of the base as puts, then the ops of the increments."""
        for key, slot in entries(self.base_blocks()):
            put = Put(key, slot) if isinstance(slot, bytes) else Put(key, *slot)
            yield self.extent.floor_lsn, put
        yield from super().replay()

    def base_blocks(self) -> Iterator[Block]:
        """Yield the blocks of the base."""
        yield from base_blocks(
            self._storage, self._store_paths, self._uuid, self.manifest
        )

    def settle(self) -> None:
        """Bring the manifest and all that was read to the medium."""
        # Whoever replaced the manifest may have been killed before this: what follows
        # must not be found beside an older one.
        self._storage.sync_directory(self._store_paths.aof)
        super().settle()

    def name_active(self, number: int) -> None:
        """Let the manifest name a new active increment."""
        self._set_manifest(
            dataclasses.replace(
                self.manifest,
                active_segment=number,
                next_lsn=self._next_lsn,
                clean=False,
            )
        )

    def adopt(self, base: BaseFacts) -> None:
        """Let a new base stand for the increments below it."""
        first = self.first_above(base.lsn)
        empty = first > self.manifest.active_segment
        self._set_manifest(
            dataclasses.replace(
                self.manifest,
                base=base,
                first_segment=first,
                next_lsn=self._next_lsn if empty else self.manifest.next_lsn,
            )
        )
        self.forget_below(first)

    def trim(self, lsn: int) -> None:
        """Remove the history; a base must hold all ops up to `lsn`."""
        if lsn > self.extent.floor_lsn:
            path = self._store_paths.manifest
            raise CorruptionError(path, f"no base reaches LSN {lsn}", lsn=lsn)
        self.prune()

    def prune(self) -> None:
        """Remove what the manifest has left behind or has never named."""
        prune(self._storage, self._store_paths, self.manifest)

    def closed(self) -> None:
        """Put a clean close into the manifest; the log must be sealed."""
        self._set_manifest(
            dataclasses.replace(self.manifest, next_lsn=self._next_lsn, clean=True)
        )

    def _set_manifest(self, manifest: Manifest) -> None:
        self.latching(
            partial(manifests.store, self._storage, self._store_paths, manifest)
        )
        self.manifest = manifest


def base_blocks(
    storage: Storage, paths: StorePaths, uuid: bytes, manifest: Manifest
) -> Iterator[Block]:
    """Yield the blocks of the base that a manifest names, if any.

    Raises:
        CorruptionError: the base is missing, another one, or damaged.
    """
    facts = manifest.base
    if facts is None:
        return
    path = paths.bases.segment(facts.number)
    if storage.info(path) is None:
        raise CorruptionError(path, "the base is missing")
    with storage.open_read(path) as file:
        yield from BaseReader(file, uuid, facts).blocks()


def prune(storage: Storage, paths: StorePaths, manifest: Manifest) -> None:
    """Remove history, and bases that no manifest has come to name."""
    log_reader.prune(storage, paths.increments, manifest.first_segment)
    keep = manifest.base.number if manifest.base else 0
    names = storage.list(paths.aof)
    stale = [
        name
        for name in names
        if paths.bases.maybe_number(name.removesuffix(TEMP_SUFFIX)) is not None
        and name != f"base-{keep:016d}.base"
    ]
    for name in stale:
        storage.unlink(f"{paths.aof}/{name}")
    if stale:
        storage.sync_directory(paths.aof)

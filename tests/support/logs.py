"""Build the directory of a log frame by frame, with the writers of the engines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from hypercache import metafile, ops
from hypercache.aof import manifest
from hypercache.aof.base import BaseWriter
from hypercache.aof.manifest import BaseFacts, Manifest
from hypercache.inspection.layout import Kind
from hypercache.ops import Op
from hypercache.paths import StorePaths
from hypercache.segment import NO_SEGMENT, SegmentHeader, SegmentWriter
from hypercache.storage import OsStorage
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker

UUID = bytes(range(16))
CAPACITY = 1 << 20


class BuiltLog:
    """A log that grows segment by segment; `name` writes what names its files."""

    def __init__(self, root: Path, kind: Kind) -> None:
        self.root, self.kind = root, kind
        self.storage = OsStorage()
        self.paths = StorePaths(str(root))
        wal = kind is Kind.WAL
        self.log = self.paths.wal_log if wal else self.paths.increments
        self.next_lsn, self.number, self.began_at = 1, 0, 1
        self.base: BaseFacts | None = None
        self.offsets: dict[int, tuple[Path, int]] = {}  # by LSN: where its frame is
        self._previous = NO_SEGMENT
        self.storage.make_directory(self.log.directory)
        fields = {
            "format": 1,
            "engine": "hybrid" if wal else "memory",
            "uuid": UUID.hex(),
            "state": "ready",
            "serializer": "bytes",
        }
        metafile.write(self.storage, self.paths.store, fields)

    def segment(
        self,
        batches: Iterable[Sequence[Op]],
        *,
        sealed: bool = True,
        synced: bool = False,
        capacity: int = CAPACITY,
        mapped: bool = False,
    ) -> Path:
        """Add a segment; `synced` lets each frame know those before it as synced."""
        self.number += 1
        self.began_at = self.next_lsn
        path = self.log.segment(self.number)
        header = SegmentHeader(UUID, self.number, self.next_lsn, self._previous)
        reserve = capacity if mapped else 0
        file = self.storage.create(path, reserve, mapped=mapped)
        writer, packer = SegmentWriter(file, header, capacity), ops.Packer()
        for batch in batches:
            self.offsets[writer.next_lsn] = (Path(path), writer.offset)
            known = writer.next_lsn - 1 if synced else 0
            writer.append(ops.encode(packer, batch), len(batch), known)
        self.next_lsn = writer.next_lsn
        if sealed:
            self._previous = writer.seal(self.next_lsn - 1 if synced else 0)
        else:
            writer.close()
        return Path(path)

    def write_base(
        self, number: int, lsn: int, entries: dict[bytes, bytes | tuple[bytes, int]]
    ) -> Path:
        """Write a base; the next `name` names it."""
        path = self.paths.bases.segment(number)
        file = self.storage.create(path, mapped=False)
        writer = BaseWriter(file, UUID, number, lsn)
        for at, (key, slot) in enumerate(entries.items()):
            writer.add(key, slot)
            if at % 3 == 2:
                writer.flush()
        self.base = writer.finish()
        file.close()
        return Path(path)

    def name(self, first_segment: int = 1, floor_lsn: int = 0, **changes: bool) -> None:
        """Write the marker or the manifest for what is there."""
        if self.kind is Kind.WAL:
            marker = Marker(floor_lsn, first_segment, self.number, self.began_at)
            marker = dataclasses.replace(marker, **changes)
            checkpoint.store(self.storage, self.paths, marker)
        else:
            named = Manifest(self.base, first_segment, self.number, self.began_at)
            named = dataclasses.replace(named, **changes)
            manifest.store(self.storage, self.paths, named)

"""Find out what there is of a store, whatever of it is damaged or missing.

A `Source` gives everything that can be read as ops, in an order in which they can be
applied, and collects what is wrong.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from hypercache.aof import manifest as manifests
from hypercache.aof.manifest import Manifest
from hypercache.engines.identity import READY, Identity
from hypercache.errors import ConfigError, CorruptionError, StoreLockedError
from hypercache.log_reader import Extent
from hypercache.ops import Clear, Put
from hypercache.paths import LogPaths, StorePaths
from hypercache.recovery import bases, history, lmdb_source, metafiles, strays
from hypercache.recovery.bases import Base
from hypercache.recovery.entries import Item
from hypercache.recovery.findings import Finding, Kind, Loss, Need
from hypercache.recovery.history import History
from hypercache.recovery.lmdb_source import LmdbSource
from hypercache.recovery.segments import Tell
from hypercache.segment import HEADER_BYTES, SegmentHeader, is_only_begun
from hypercache.storage import Storage
from hypercache.wal.checkpoint import Marker


class Below(Protocol):
    """What a log is applied on top of: a base, or LMDB."""

    lsn: int
    findings: list[Finding]

    def puts(self, tell: Tell, bad: list[Finding]) -> Iterator[Item]:
        """Yield the entries as puts, in the same order each time."""


@dataclass
class Source:
    """A store as far as it can be read; `next_lsn` was never given out."""

    paths: StorePaths
    identity: Identity
    findings: list[Finding] = field(default_factory=list)
    below: Below | None = None
    log: History | None = None
    next_lsn: int = 1

    def items(self, tell: Tell, bad: list[Finding]) -> Iterator[Item]:
        """Yield all ops that count; what turns out to be wrong goes to `bad`."""
        floor_lsn = self.log.extent.floor_lsn if self.log is not None else 0
        ahead: dict[bytes, int] = {}
        if self.below is not None:
            for lsn, op in self.below.puts(tell, bad):
                if self.log is not None and lsn > floor_lsn and type(op) is Put:
                    ahead[op.key] = lsn
                yield lsn, op
        if self.log is not None:
            yield from _not_behind(self.log.ops(tell, bad), ahead)


def _not_behind(items: Iterator[Item], ahead: dict[bytes, int]) -> Iterator[Item]:
    """Leave out the ops on entries that a checkpoint under way has taken further.

    With a whole log that makes no difference, because the op that made the entry
    follows. Where that one is damaged, the entry is all there is of it.
    """
    for lsn, op in items:
        if type(op) is Clear:
            ahead.clear()
        elif ahead and not isinstance(op, Clear) and lsn <= ahead.get(op.key, 0):
            continue
        yield lsn, op


def refuse_open(storage: Storage, paths: StorePaths) -> None:
    """Make sure that nobody has the store open.

    Raises:
        StoreLockedError: somebody has.
    """
    if storage.may_be_written(paths.lock):
        raise StoreLockedError(paths.root, None)


def load(
    storage: Storage, directory: str, tell: Tell, *, keep_tail: bool = False
) -> Source:
    """Look at all files of a store; values are not read yet.

    Raises:
        ConfigError: there is no store.
        StoreLockedError: somebody has it open.
        StorageError: something cannot be read.
        UnsupportedFormatError: another version wrote it.
    """
    paths = StorePaths(os.path.abspath(directory))
    _refuse_no_store(storage, paths)
    refuse_open(storage, paths)
    found = metafiles.read(storage, paths.store, metafiles.identity_is_sound)
    if not metafiles.is_ready(found.fields):
        raise ConfigError(
            f"the creation of a store in {paths.root} was interrupted, it holds "
            "nothing yet; open it: that completes it"
        )
    identity = _identity(storage, paths, found)
    source = Source(paths, identity)
    source.findings += strays.find(storage, paths, identity.engine)
    reading = _Reading(storage, source, tell, keep_tail)
    if identity.engine == "memory":
        reading.load_aof()
    else:
        reading.load_lmdb()
    _note_identity(source, found)
    return source


@dataclass
class _Reading:
    storage: Storage
    source: Source
    tell: Tell
    keep_tail: bool

    @property
    def paths(self) -> StorePaths:
        return self.source.paths

    def load_aof(self) -> None:
        paths, source = self.paths, self.source
        found = metafiles.read(
            self.storage, paths.manifest, metafiles.manifest_is_sound
        )
        self._note(
            found, "aof/MANIFEST", "the files themselves say which of them count"
        )
        manifest = None
        if found.fields is not None:
            manifest = manifests.from_fields(found.fields, paths.manifest)
        uuid = _uuid_bytes(source.identity)
        number = self._base_number(manifest)
        base = Base(self.storage, paths.root)
        if number:
            facts = manifest.base if manifest else None
            where = self.storage, paths.bases, paths.root
            base = bases.load(*where, facts, number, uuid, self.tell)
            if uuid is None and base.survey and base.survey.header:
                uuid = base.survey.header.uuid
        source.below = base
        source.findings += base.findings
        if manifest is not None and not manifest.clean:
            self._note_unclean("aof/MANIFEST")
        extent = manifest.extent if manifest else None
        self._load_log(paths.increments, extent, base.lsn, uuid)

    def load_lmdb(self) -> None:
        paths, source = self.paths, self.source
        found = metafiles.read(
            self.storage, paths.checkpoint, metafiles.marker_is_sound
        )
        self._note(found, "CHECKPOINT", "the files themselves say which of them count")
        marker = Marker(**found.fields) if found.fields is not None else None
        uuid = _uuid_bytes(source.identity)
        below = lmdb_source.load(self.storage, paths, marker, uuid, self.tell)
        source.below = below
        if uuid is None and below.uuid:
            uuid = below.uuid
            self._name(uuid)
        if source.identity.engine == "persistent":
            clean = marker is not None and marker.clean
            below.findings = [_without_log(each, clean) for each in below.findings]
            below.findings += _newer_lost(below)
        source.findings += below.findings
        if marker is not None and not marker.clean:
            self._note_unclean("CHECKPOINT")
        if source.identity.engine == "persistent":
            known = marker.checkpoint_lsn if marker else 0
            source.next_lsn = max(below.lsn, known) + 1
            return
        extent = marker.extent if marker else None
        self._load_log(paths.wal_log, extent, self._floor_lsn(below, marker), uuid)
        assert source.log is not None
        source.next_lsn = max(source.next_lsn, below.highest_lsn + 1)

    def _floor_lsn(self, below: LmdbSource, marker: Marker | None) -> int:
        """Return the LSN behind which the log is applied.

        Applying more of a log than is needed changes nothing, as long as it is there.
        """
        numbers = _numbers(self.storage, self.paths.wal_log)
        if not numbers:
            return below.lsn
        first = _first_lsn(self.storage, self.paths.wal_log.segment(numbers[0]))
        if not below.lsn_is_known:
            return max((first or 1) - 1, 0)
        if marker is None or below.lsn <= marker.checkpoint_lsn:
            return below.lsn
        stale = first is not None and first > marker.checkpoint_lsn + 1
        return below.lsn if stale else marker.checkpoint_lsn

    def _load_log(
        self, log: LogPaths, extent: Extent | None, floor_lsn: int, uuid: bytes | None
    ) -> None:
        storage, source = self.storage, self.source
        numbers = _numbers(storage, log)
        if extent is None:
            extent = Extent(
                floor_lsn=floor_lsn,
                first_segment=min(numbers, default=1),
                active_segment=max(numbers, default=0),
                next_lsn=floor_lsn + 1,
            )
        known_lsn = max(extent.floor_lsn, floor_lsn)
        extent = dataclasses.replace(extent, floor_lsn=floor_lsn)
        extent = self._with_newer(log, extent, numbers)
        counted = [number for number in numbers if number in extent.numbers]
        found = History(storage, self.paths.root, extent, uuid, self.keep_tail)
        found.next_lsn = known_lsn + 1
        history.load(storage, log, found, counted, self.tell)
        source.log = found
        source.findings += found.findings
        source.next_lsn = found.next_lsn
        if found.uuid is not None and not source.identity.uuid:
            self._name(found.uuid)

    def _name(self, uuid: bytes) -> None:
        identity = self.source.identity
        self.source.identity = dataclasses.replace(identity, uuid=uuid.hex())

    def _with_newer(self, log: LogPaths, extent: Extent, numbers: list[int]) -> Extent:
        """Count the segments that hold something and that no metafile knows."""
        beyond = [number for number in numbers if number > extent.active_segment]
        if not beyond:
            return extent
        name = log.segment(beyond[0]).removeprefix(f"{self.paths.root}/")
        if len(beyond) == 1 and beyond[0] == extent.active_segment + 1:
            with self.storage.open_read(log.segment(beyond[0])) as file:
                begun = is_only_begun(file)
            if begun:
                reason = "it was begun and holds nothing"
                self.source.findings.append(
                    Finding(Kind.LEFTOVER, name, reason, need=Need.NOTHING)
                )
                return extent
        reason = "the segment is newer than what names the segments knows"
        self.source.findings.append(Finding(Kind.OLDER, name, reason))
        return dataclasses.replace(extent, active_segment=beyond[-1], clean=False)

    def _base_number(self, manifest: Manifest | None) -> int:
        if manifest is not None:
            return manifest.base.number if manifest.base else 0
        return max(_numbers(self.storage, self.paths.bases), default=0)

    def _note(self, found: metafiles.Metafile, name: str, extra: str) -> None:
        finding = metafiles.finding(found, name, extra)
        if finding is not None:
            self.source.findings.append(finding)

    def _note_unclean(self, name: str) -> None:
        reason = "the store was not closed"
        self.source.findings.append(Finding(Kind.UNCLEAN, name, reason, need=Need.OPEN))


def _without_log(finding: Finding, clean: bool) -> Finding:
    """Return what it means to be older or not there where no log continues LMDB."""
    if finding.kind is Kind.OLDER:
        return dataclasses.replace(finding, loss=Loss.CERTAIN)
    gone = finding.kind in (Kind.MISSING_FILE, Kind.FOREIGN_FILE)
    if gone and finding.loss is Loss.NONE and not clean:
        # Its marker is that of the last open: what came after is not known.
        return dataclasses.replace(finding, loss=Loss.POSSIBLE)
    return finding


def _newer_lost(below: LmdbSource) -> list[Finding]:
    """Return what is said of a newer state of LMDB, which no log makes up for."""
    known = any(each.kind is Kind.OLDER for each in below.findings)
    if known or below.newer is Loss.NONE:
        return []
    reason = f"a newer state than the one at LSN {below.lsn} is lost"
    if below.newer is Loss.POSSIBLE:
        reason = f"a newer state than the one at LSN {below.lsn} may be lost"
    return [Finding(Kind.OLDER, lmdb_source.NAME, reason, loss=below.newer)]


def _refuse_no_store(storage: Storage, paths: StorePaths) -> None:
    root = paths.root
    if not storage.is_directory(root):
        exists = storage.info(root) is not None
        what = "is a file" if exists else "does not exist"
        raise ConfigError(f"{root} {what}; pass the directory of a store")
    parts = (paths.aof, paths.wal, paths.lmdb)
    if storage.info(paths.store) is None and not any(
        storage.is_directory(part) for part in parts
    ):
        raise ConfigError(
            f"{root} holds no HyperCache store; look for another directory"
        )


def _identity(
    storage: Storage, paths: StorePaths, found: metafiles.Metafile
) -> Identity:
    if found.fields is not None:
        return Identity(**found.fields)
    guessed: dict[str, Any] = strays.identity_in(storage, paths)
    return Identity(guessed["engine"], guessed["uuid"], READY, guessed["serializer"])


def _note_identity(source: Source, found: metafiles.Metafile) -> None:
    identity = source.identity
    if not identity.uuid:
        # No file is left that has it, so nothing depends on it.
        source.identity = dataclasses.replace(identity, uuid=bytes(16).hex())
    extra = f"it is a store of the engine {identity.engine!r} by its files"
    if identity.serializer is None:
        extra += "; its serializer is not known any more"
    finding = metafiles.finding(found, "STORE", extra)
    if finding is not None:
        source.findings.insert(0, finding)


def _uuid_bytes(identity: Identity) -> bytes | None:
    return identity.uuid_bytes if identity.uuid else None


def _first_lsn(storage: Storage, path: str) -> int | None:
    with storage.open_read(path) as file:
        head = file.read_at(0, min(HEADER_BYTES, file.size_bytes))
    try:
        return SegmentHeader.decode(head, path).first_lsn
    except CorruptionError:
        return None


def _numbers(storage: Storage, log: LogPaths) -> list[int]:
    if not storage.is_directory(log.directory):
        return []
    names = storage.list(log.directory)
    found = map(log.maybe_number, names)
    return sorted(
        number
        for number, name in zip(found, names, strict=True)
        if number is not None
        and number
        and storage.info(f"{log.directory}/{name}") is not None
    )

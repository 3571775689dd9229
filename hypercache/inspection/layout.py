"""Find the files of a log, and what the store says about them.

Without the metafile that names the segments, or with one that cannot be read, a log
can still be looked into: then its files themselves say which of them count.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypercache import metafile
from hypercache.aof import manifest
from hypercache.aof.manifest import BaseFacts, Manifest
from hypercache.errors import ConfigError, CorruptionError, StorageError
from hypercache.log_reader import Extent
from hypercache.paths import TEMP_SUFFIX, LogPaths, StorePaths
from hypercache.storage import Storage
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker


class Kind(enum.StrEnum):
    """Which of the two logs."""

    WAL = "wal"
    AOF = "aof"


class Role(enum.StrEnum):
    """What a file is to the log."""

    BASE = "base"
    SEALED = "sealed"
    ACTIVE = "active"
    # No longer part of the log, not removed yet: a WAL's were folded, an AOF's
    # were compacted.
    PRUNED = "pruned-pending"
    HISTORY = "history"
    # Begun, but not named by the metafile: a crash came first.
    UNNAMED = "unnamed"


_ATTEMPTS = 5  # at a directory that a writer changes while it is listed
LEFTOVER = frozenset({Role.PRUNED, Role.HISTORY})


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file of a log; `size_bytes` and `mtime_ns` as the directory has them."""

    path: str
    number: int
    role: Role
    size_bytes: int
    mtime_ns: int

    @property
    def name(self) -> str:
        """Return the name without its directory."""
        return os.path.basename(self.path)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at one place; `length_bytes` cannot be read because of it."""

    path: str
    reason: str
    offset: int | None = None
    lsn: int | None = None
    length_bytes: int = 0


@dataclass
class Layout:
    """The files of a log in order, and what must hold for them.

    `named` is what the metafile says, None where it cannot be read.
    """

    kind: Kind
    paths: StorePaths
    named: Marker | Manifest | None = None
    uuid: bytes | None = None
    files: list[LogFile] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def directory(self) -> str:
        """Return the directory of the log."""
        return self.paths.wal if self.kind is Kind.WAL else self.paths.aof

    @property
    def extent(self) -> Extent | None:
        """Return which segments count, None where nothing readable names them."""
        return self.named.extent if self.named is not None else None

    @property
    def base(self) -> BaseFacts | None:
        """Return what the manifest says of the base."""
        return self.named.base if isinstance(self.named, Manifest) else None

    @property
    def judged_by(self) -> Extent:
        """Return the extent, or the one that the files themselves suggest."""
        if self.extent is not None:
            return self.extent
        numbers = [file.number for file in self.files if file.role is not Role.BASE]
        if not numbers:
            return Extent()
        return Extent(first_segment=min(numbers), active_segment=max(numbers))


def find(storage: Storage, directory: str, kind: Kind) -> StorePaths:
    """Return the paths of the store whose log is in, or is, this directory.

    Raises:
        ConfigError: there is no such log; the message says what there is.
    """
    root = os.path.abspath(directory)
    if storage.info(root) is None:
        raise ConfigError(f"{root} does not exist; pass the directory of a store")
    if not storage.is_directory(root):
        raise ConfigError(f"{root} is a file; pass the directory of a store")
    if storage.is_directory(f"{root}/{kind}"):
        return StorePaths(root)
    parent = StorePaths(os.path.dirname(root))
    if os.path.basename(root) == kind:
        return parent
    other = Kind.AOF if kind is Kind.WAL else Kind.WAL
    if os.path.basename(root) == other or storage.is_directory(f"{root}/{other}"):
        raise ConfigError(
            f"{root} holds no {kind} log, it holds one of the kind {other}; look at "
            f"it with `hypercache {other} inspect {directory}`"
        )
    raise ConfigError(
        f"{root} holds no {kind} log ({_shown(storage.list(root))}); pass the "
        f"directory of a store, or the directory {kind} in it"
    )


def load(storage: Storage, paths: StorePaths, kind: Kind) -> Layout:
    """Return the layout of the log as it is at this moment.

    Raises:
        StorageError: the directory cannot be read.
    """
    for _ in range(_ATTEMPTS):
        layout = _load(storage, paths, kind)
        if not changed(storage, layout):
            break
    return layout


def changed(storage: Storage, layout: Layout) -> bool:
    """Tell whether other files are named by now: then a writer is at work."""
    now = Layout(layout.kind, layout.paths)
    _read_names(storage, layout.paths, now, None)
    return now.named != layout.named


def _load(storage: Storage, paths: StorePaths, kind: Kind) -> Layout:
    layout = Layout(kind, paths)
    identity = _identity(storage, paths, layout)
    # Before the directory is listed: a file that is named then and gone by now was
    # removed by a writer, and `changed` will say so.
    _read_names(storage, paths, layout, identity)
    names = storage.list(layout.directory)
    if kind is Kind.AOF:
        _list_bases(storage, paths.bases, names, layout)
    log = paths.wal_log if kind is Kind.WAL else paths.increments
    _list_segments(storage, log, names, layout)
    layout.notes += [
        f"{layout.directory}/{name} was not finished, or is being written"
        for name in names
        if name.endswith(TEMP_SUFFIX)
    ]
    return layout


def _read_names(
    storage: Storage,
    paths: StorePaths,
    layout: Layout,
    identity: Mapping[str, Any] | None,
) -> None:
    wal = layout.kind is Kind.WAL
    path = paths.checkpoint if wal else paths.manifest
    try:
        if storage.info(path) is None:
            _note_missing(layout, path, identity)
        elif wal:
            layout.named = checkpoint.load(storage, paths)
        else:
            layout.named = manifest.load(storage, paths)
    except CorruptionError as error:
        layout.problems.append(Problem(path, error.reason, error.offset))
    except StorageError as error:
        layout.problems.append(Problem(path, str(error)))


def _note_missing(
    layout: Layout, path: str, identity: Mapping[str, Any] | None
) -> None:
    if identity is not None and identity.get("state") == "creating":
        layout.notes.append("the creation of this store was interrupted")
    elif identity is None and layout.kind is Kind.WAL:
        layout.notes.append(f"there is no {path}: the segments speak for themselves")
    else:
        layout.problems.append(Problem(path, "the file is missing"))


def _identity(
    storage: Storage, paths: StorePaths, layout: Layout
) -> Mapping[str, Any] | None:
    try:
        fields = metafile.maybe_read(storage, paths.store)
        if fields is not None:
            layout.uuid = bytes.fromhex(fields["uuid"])
        return fields
    except (CorruptionError, StorageError) as error:
        layout.problems.append(Problem(paths.store, str(error)))
    except (KeyError, TypeError, ValueError):
        layout.problems.append(Problem(paths.store, "it names no uuid"))
    return None


def _list_segments(
    storage: Storage, log: LogPaths, names: list[str], layout: Layout
) -> None:
    leftover = Role.PRUNED if layout.kind is Kind.WAL else Role.HISTORY
    numbers = _numbers(log, names)
    known = layout.extent
    first = known.first_segment if known else min(numbers, default=1)
    active = known.active_segment if known else max(numbers, default=0)
    for number in numbers:
        if number < first:
            role = leftover
        elif number > active:
            role = Role.UNNAMED
        else:
            role = Role.ACTIVE if number == active else Role.SEALED
        _add(storage, log.segment(number), number, role, layout)
    # As a range it may be long, if a damaged metafile says so.
    absent = active - first + 1 - sum(first <= number <= active for number in numbers)
    if absent:
        present = set(numbers)
        gone = next(n for n in range(first, active + 1) if n not in present)
        layout.missing.append(log.segment(gone))


def _list_bases(
    storage: Storage, log: LogPaths, names: list[str], layout: Layout
) -> None:
    numbers = _numbers(log, names)
    if layout.extent is None:  # then the newest one counts
        named = max(numbers, default=0)
    else:
        named = layout.base.number if layout.base else 0
    for number in numbers:
        if number == named:
            role = Role.BASE
        elif number < named:
            role = Role.HISTORY
        else:
            role = Role.UNNAMED
        _add(storage, log.segment(number), number, role, layout)
    if named and named not in numbers:
        layout.missing.append(log.segment(named))


def _numbers(log: LogPaths, names: list[str]) -> list[int]:
    found = map(log.maybe_number, names)
    return sorted(number for number in found if number is not None)


def _add(storage: Storage, path: str, number: int, role: Role, layout: Layout) -> None:
    info = storage.info(path)
    if info is not None:
        layout.files.append(LogFile(path, number, role, info.size_bytes, info.mtime_ns))
    elif role in LEFTOVER:
        layout.notes.append(f"{path} was removed while the log was being read")
    else:
        layout.missing.append(path)


def _shown(names: list[str]) -> str:
    if not names:
        return "it is empty"
    return "there is " + ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")

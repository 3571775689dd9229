"""Write a cut of a store into a new directory: complete and verified, or absent.

The files are copied into a directory beside the destination, which is opened like any
store, checked, and closed; only then does it get its name. What a killed backup has
left behind is removed by the next one to the same destination.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hypercache import metafile
from hypercache.aof import manifest as manifests
from hypercache.aof.manifest import Manifest
from hypercache.engines import open_engine
from hypercache.errors import (
    ConfigError,
    CorruptionError,
    StorageError,
    StorageFailedError,
)
from hypercache.liveness import is_alive
from hypercache.log_reader import HeldLog, LogReader
from hypercache.options import Options
from hypercache.paths import LogPaths, StorePaths
from hypercache.read_file import ReadFile
from hypercache.storage import Storage
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker

_PIECE_BYTES = 1 << 20
_PARTIAL = "partial"
_at_work: set[str] = set()  # the directories that this process is filling


@dataclass(frozen=True, slots=True)
class LmdbCut:
    """One moment of a store with LMDB: what LMDB has, and the log from there on."""

    marker: Marker
    log: HeldLog
    copy_to: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AofCut:
    """One moment of a durable memory store; number 0 of the files is the base."""

    manifest: Manifest
    log: HeldLog


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where a copy is to be, and the LSN that it must reach."""

    destination: str
    lsn: int = 0


def refuse_destination(storage: Storage, paths: StorePaths, destination: str) -> None:
    """Make sure that a copy of a store may be written there.

    Raises:
        ConfigError: it is the store, lies in it, is a file, or is not empty.
    """
    target, root = storage.real_path(destination), storage.real_path(paths.root)
    if target == root or target.startswith(root + os.sep):
        raise ConfigError(f"{destination} lies in the store itself; copy it elsewhere")
    if root.startswith(target + os.sep):
        raise ConfigError(f"{destination} holds the store; name a directory of its own")
    if storage.is_directory(target):
        if storage.list(target):
            raise ConfigError(
                f"{destination} is not empty; pass a new or an empty directory"
            )
    elif storage.info(target) is not None:
        raise ConfigError(f"{destination} is a file; pass a new or an empty directory")


def back_up_lmdb(
    storage: Storage,
    paths: StorePaths,
    engine: str,
    uuid: bytes,
    cut: LmdbCut,
    wanted: Wanted,
) -> int:
    """Copy a hybrid or persistent store; return the LSN of the copy."""
    with _new_store(storage, paths, wanted.destination) as copy:
        storage.make_directory(copy.lmdb)
        cut.copy_to(copy.lmdb)
        if engine == "hybrid":
            log = LogReader(
                storage, paths.wal_log, uuid, cut.marker.extent, held=cut.log
            )
            _copy_log(storage, log, cut.log, copy.wal_log)
        # LMDB counts its transactions anew in a copy.
        marker = dataclasses.replace(
            cut.marker, clean=False, lmdb_txn=0, lmdb_size_bytes=0, lmdb_mtime_ns=0
        )
        checkpoint.store(storage, copy, marker)
        return _verified(storage, paths, copy, engine, wanted.lsn)


def back_up_aof(
    storage: Storage, paths: StorePaths, uuid: bytes, cut: AofCut, wanted: Wanted
) -> int:
    """Copy a durable memory store; return the LSN of the copy."""
    with _new_store(storage, paths, wanted.destination) as copy:
        storage.make_directory(copy.aof)
        base, facts = cut.log.files.get(0), cut.manifest.base
        if base is not None and facts is not None:
            path = copy.bases.segment(facts.number)
            _copy_file(storage, base, path, base.size_bytes)
        extent = cut.manifest.extent
        log = LogReader(storage, paths.increments, uuid, extent, held=cut.log)
        _copy_log(storage, log, cut.log, copy.increments)
        manifest = dataclasses.replace(cut.manifest, clean=False)
        manifests.store(storage, copy, manifest)
        return _verified(storage, paths, copy, "memory", wanted.lsn)


@contextlib.contextmanager
def _new_store(
    storage: Storage, paths: StorePaths, destination: str
) -> Iterator[StorePaths]:
    identity = metafile.maybe_read(storage, paths.store)
    if identity is None:
        raise CorruptionError(paths.store, "the file is missing")
    with new_store(storage, paths, destination, identity) as copy:
        yield copy


@contextlib.contextmanager
def new_store(
    storage: Storage, paths: StorePaths, destination: str, identity: dict[str, Any]
) -> Iterator[StorePaths]:
    """Give a directory to write a store into, which then gets the name `destination`.

    `paths` are those of the store that it is made from, `identity` what its STORE will
    say. When the block ends all is synced; when it fails, or the process is killed,
    there is nothing at the destination.

    Raises:
        ConfigError: nothing may be written there, see `refuse_destination`.
    """
    with staged(storage, paths, destination) as root:
        copy = StorePaths(root)
        storage.make_directory(root)
        metafile.write(storage, copy.store, identity)
        yield copy
        for directory in (copy.wal, copy.aof, copy.lmdb, copy.quarantine, root):
            _sync_all(storage, directory)


@contextlib.contextmanager
def staged(storage: Storage, paths: StorePaths, destination: str) -> Iterator[str]:
    """Give the path of a directory to make, which then gets the name `destination`.

    It must be on the medium when the block ends, with all that is in it; when the block
    fails, or the process is killed, there is nothing at the destination.

    Raises:
        ConfigError: nothing may be written there, see `refuse_destination`.
    """
    refuse_destination(storage, paths, destination)
    target = storage.real_path(destination)
    storage.make_directory(os.path.dirname(target))
    # A pid alone may come again, and its left-over with it.
    root = f"{target}.{os.getpid()}-{os.urandom(4).hex()}.{_PARTIAL}"
    _at_work.add(root)
    is_whole = False
    try:
        remove_left_behind(storage, target)
        yield root
        is_whole = True
        storage.rename(root, target)
    except BaseException:
        if is_whole and not storage.is_directory(root):
            _take_back(storage, target, root)
        else:
            storage.remove_tree(root)
        raise
    finally:
        _at_work.discard(root)


def _take_back(storage: Storage, target: str, root: str) -> None:
    """Remove a store that got its name in vain: the sync of the name has failed.

    Not under that name, or a crash could leave half of it there. If the name is not
    lost durably the store stays, whole, for the next backup to remove.
    """
    with contextlib.suppress(StorageError):
        storage.rename(target, root)
        storage.remove_tree(root)


def remove_left_behind(storage: Storage, destination: str) -> None:
    """Remove what backups to a destination have left that were killed."""
    parent, name = os.path.split(storage.real_path(destination))
    if not storage.is_directory(parent):
        return
    # One that is inside another has both their names.
    made = rf"\.([0-9]+)-[0-9a-f]{{8}}\.{_PARTIAL}"
    pattern = re.compile(rf"{re.escape(name)}(?:{made})+")
    for found in filter(None, map(pattern.fullmatch, storage.list(parent))):
        path, pid = f"{parent.rstrip(os.sep)}/{found[0]}", int(found[1])
        alive = path in _at_work if pid == os.getpid() else is_alive(pid)
        if not alive:
            # Or a crash could bring it back half removed, under the name it had.
            storage.sync_directory(parent)
            storage.remove_tree(path)


def _copy_log(storage: Storage, log: LogReader, held: HeldLog, paths: LogPaths) -> None:
    """Copy the frames of a log: not what a writer was writing, nor a torn tail."""
    for _ in log.runs():
        pass
    storage.make_directory(paths.directory)
    for number, end in log.ends.items():
        path = paths.segment(number)
        _copy_file(storage, held.files[number], path, end.length_bytes)


def _copy_file(
    storage: Storage, source: ReadFile, path: str, length_bytes: int
) -> None:
    with contextlib.closing(storage.create(path, mapped=False)) as file:
        for offset in range(0, length_bytes, _PIECE_BYTES):
            wanted = min(_PIECE_BYTES, length_bytes - offset)
            file.write_at(offset, source.read_at(offset, wanted))


def _sync_all(storage: Storage, directory: str) -> None:
    if not storage.is_directory(directory):
        return
    for name in storage.list(directory):
        path = f"{directory}/{name}"
        if storage.is_directory(path):
            continue
        with contextlib.closing(storage.open(path)) as file:
            file.sync()
    storage.sync_directory(directory)


def _verified(
    storage: Storage, paths: StorePaths, copy: StorePaths, engine: str, least_lsn: int
) -> int:
    """Open a copy as its owner will, read it back, and close it cleanly."""
    options = Options.resolve(
        engine=engine, maintenance="inline", allow_network_fs=True
    )
    try:
        opened = open_engine(copy.root, engine=engine, options=options, storage=storage)
        with contextlib.closing(opened):
            for problem in opened.check().problems:
                raise CorruptionError(**dataclasses.asdict(problem))
            lsn = opened.stats().appended_lsn
            if lsn < least_lsn:
                reason = f"it ends before LSN {least_lsn}, which was acknowledged"
                raise CorruptionError(copy.root, reason, lsn=lsn)
            return lsn
    except StorageFailedError as error:
        # It is the log of the copy that has failed, and the copy goes away.
        reason = f"the copy of {paths.root} cannot be written: {error.__cause__}"
        raise StorageError(reason) from error
    except CorruptionError as error:
        # The copy goes away; what is wrong with it is wrong with the store.
        raise CorruptionError(
            error.path.replace(copy.root, paths.root, 1),
            f"its copy is not whole: {error.reason}",
            offset=error.offset,
            lsn=error.lsn,
            key=error.key,
        ) from error

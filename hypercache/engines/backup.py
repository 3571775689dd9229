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

from hypercache import metafile
from hypercache.aof import manifest as manifests
from hypercache.aof.manifest import Manifest
from hypercache.engines import open_engine
from hypercache.errors import ConfigError, CorruptionError
from hypercache.liveness import is_alive
from hypercache.log_reader import HeldLog
from hypercache.options import Options
from hypercache.paths import LogPaths, StorePaths
from hypercache.read_file import ReadFile
from hypercache.storage import Storage
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker

_PIECE_BYTES = 1 << 20
_PARTIAL = "partial"


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
    storage: Storage, paths: StorePaths, engine: str, cut: LmdbCut, destination: str
) -> int:
    """Copy a hybrid or persistent store; return the LSN of the copy."""
    with _new_store(storage, paths, destination) as copy:
        storage.make_directory(copy.lmdb)
        cut.copy_to(copy.lmdb)
        with contextlib.closing(storage.open(copy.lmdb_data)) as data:
            data.sync()
        storage.sync_directory(copy.lmdb)
        if engine == "hybrid":
            storage.make_directory(copy.wal)
            _copy_log(storage, cut.log, copy.wal_log)
        # LMDB counts its transactions anew in a copy.
        marker = dataclasses.replace(
            cut.marker, clean=False, lmdb_txn=0, lmdb_size_bytes=0, lmdb_mtime_ns=0
        )
        checkpoint.store(storage, copy, marker)
        return _verified(copy, engine)


def back_up_aof(
    storage: Storage, paths: StorePaths, cut: AofCut, destination: str
) -> int:
    """Copy a durable memory store; return the LSN of the copy."""
    with _new_store(storage, paths, destination) as copy:
        storage.make_directory(copy.aof)
        base, facts = cut.log.files.get(0), cut.manifest.base
        if base is not None and facts is not None:
            _copy_file(storage, base, copy.bases.segment(facts.number))
        _copy_log(storage, cut.log, copy.increments)
        manifest = dataclasses.replace(cut.manifest, clean=False)
        manifests.store(storage, copy, manifest)
        return _verified(copy, "memory")


@contextlib.contextmanager
def _new_store(
    storage: Storage, paths: StorePaths, destination: str
) -> Iterator[StorePaths]:
    refuse_destination(storage, paths, destination)
    target = storage.real_path(destination)
    parent = os.path.dirname(target)
    storage.make_directory(parent)
    _remove_left_behind(storage, target)
    copy = StorePaths(f"{target}.{os.getpid()}.{_PARTIAL}")
    identity = metafile.maybe_read(storage, paths.store)
    if identity is None:
        raise CorruptionError(paths.store, "the file is missing")
    try:
        storage.make_directory(copy.root)
        metafile.write(storage, copy.store, identity)
        yield copy
        storage.rename(copy.root, target)
    except BaseException:
        storage.remove_tree(copy.root)
        raise


def _remove_left_behind(storage: Storage, target: str) -> None:
    parent, name = os.path.split(target)
    pattern = re.compile(rf"{re.escape(name)}\.([0-9]+)\.{_PARTIAL}")
    for found in filter(None, map(pattern.fullmatch, storage.list(parent))):
        if not is_alive(int(found[1])):
            storage.remove_tree(f"{parent}/{found[0]}")


def _copy_log(storage: Storage, log: HeldLog, paths: LogPaths) -> None:
    for number, file in log.files.items():
        if number:
            _copy_file(storage, file, paths.segment(number))
    storage.sync_directory(paths.directory)


def _copy_file(storage: Storage, source: ReadFile, path: str) -> None:
    with contextlib.closing(storage.create(path, mapped=False)) as file:
        for offset in range(0, source.size_bytes, _PIECE_BYTES):
            file.write_at(offset, source.read_at(offset, _PIECE_BYTES))
        file.sync()


def _verified(copy: StorePaths, engine: str) -> int:
    """Open a copy as its owner will, read it back, and close it cleanly."""
    opened = open_engine(
        copy.root,
        engine=engine,
        options=Options.resolve(engine=engine, maintenance="inline"),
    )
    with contextlib.closing(opened):
        for problem in opened.check().problems:
            raise CorruptionError(
                problem.path,
                f"the copy is not whole: {problem.reason}",
                offset=problem.offset,
                lsn=problem.lsn,
                key=problem.key,
            )
        return opened.stats().appended_lsn

"""Read a hybrid store back, file by file, and say what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator

from hypercache import metafile
from hypercache.engines import lmdb_walk
from hypercache.engines.base import Problem
from hypercache.engines.lmdb_store import LmdbStore
from hypercache.errors import CorruptionError
from hypercache.log_reader import Extent, LogReader
from hypercache.log_writer import LogEnd
from hypercache.paths import LogPaths, StorePaths
from hypercache.storage import Storage
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker


def problems(
    storage: Storage,
    paths: StorePaths,
    uuid: bytes,
    log: tuple[Marker, LogEnd],
    store: LmdbStore,
) -> list[Problem]:
    """Return what is wrong with the files of an open store.

    No checkpoint may run meanwhile; writes may, and only what came before `end` is
    looked at.
    """
    marker, end = log
    return [
        *_metafiles(storage, paths, uuid, marker),
        *log_problems(storage, paths.wal_log, uuid, marker.extent, end),
        *lmdb_walk.verify(paths.lmdb, store),
    ]


def disk_bytes(storage: Storage, paths: StorePaths) -> int:
    """Return the sum of the sizes of all files of a store of any engine."""
    directories = (paths.root, paths.wal, paths.aof, paths.lmdb)
    found = (
        storage.info(f"{directory}/{name}")
        for directory in directories
        if storage.is_directory(directory)
        for name in storage.list(directory)
        if f"{directory}/{name}" not in (*directories, paths.namespaces)
    )
    return sum(info.size_bytes for info in found if info is not None)


def _metafiles(
    storage: Storage, paths: StorePaths, uuid: bytes, marker: Marker
) -> Iterator[Problem]:
    try:
        identity = metafile.maybe_read(storage, paths.store)
        if identity is None or identity.get("uuid") != uuid.hex():
            yield Problem(paths.store, "it is missing or that of another store")
        if checkpoint.load(storage, paths).checkpoint_lsn < marker.checkpoint_lsn:
            yield Problem(paths.checkpoint, "it is older than the open store")
    except CorruptionError as error:
        yield problem_of(error)


def log_problems(
    storage: Storage, paths: LogPaths, uuid: bytes, extent: Extent, end: LogEnd
) -> Iterator[Problem]:
    """Yield what is wrong with a log of segments up to `end`."""
    reader = LogReader(storage, paths, uuid, extent, end.active_bytes)
    try:
        for _ in reader.runs():
            pass
        tail = reader.torn_tail
        if tail is not None:
            yield Problem(tail.path, tail.reason, tail.offset, tail.lsn)
        elif reader.next_lsn < end.next_lsn:
            reason = f"the log ends before LSN {end.next_lsn}"
            yield Problem(paths.directory, reason, lsn=reader.next_lsn)
    except CorruptionError as error:
        yield problem_of(error)


def problem_of(error: CorruptionError) -> Problem:
    """Return an error as a finding."""
    return Problem(error.path, error.reason, error.offset, error.lsn, error.key)

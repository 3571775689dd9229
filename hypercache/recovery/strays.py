"""What else is in the directory of a store, and what it tells without its STORE."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hypercache.paths import (
    LMDB_DATA,
    LMDB_LOCK,
    MANIFEST,
    NAMESPACES,
    OWN_NAMES,
    TEMP_SUFFIX,
    LogPaths,
    StorePaths,
    is_dropped,
    maybe_namespace,
)
from hypercache.recovery.findings import Finding, Kind, Need
from hypercache.storage import Storage

_MOST_BYTES = 1 << 14
_ENGINE = re.compile(rb'"engine": "(memory|hybrid|persistent)"')
_UUID = re.compile(rb'"uuid": "([0-9a-f]{32})"')
_SERIALIZER = re.compile(rb'"serializer": "([a-z]{1,32})"')


def find(storage: Storage, paths: StorePaths, engine: str) -> Iterator[Finding]:
    """Yield the files that are no part of the store, and directories it lacks."""
    for name in storage.list(paths.root):
        if name.endswith(TEMP_SUFFIX) and name in OWN_NAMES:
            yield _leftover(name)
        elif name not in OWN_NAMES:
            yield _foreign(name)
    for name in _names(storage, paths.namespaces):
        if is_dropped(name):
            yield _leftover(f"{NAMESPACES}/{name}")
        elif maybe_namespace(name) is None:
            yield _foreign(f"{NAMESPACES}/{name}")
    if engine == "memory":
        yield from _in_log(storage, paths, (paths.increments, paths.bases))
    if engine == "hybrid":
        yield from _in_log(storage, paths, (paths.wal_log,))
    if engine != "memory":
        known = (LMDB_DATA, LMDB_LOCK)
        for name in _names(storage, paths.lmdb):
            if name not in known:
                yield _foreign(f"lmdb/{name}")


def identity_in(storage: Storage, paths: StorePaths) -> dict[str, Any]:
    """Return what can be told of a store without the checksum of its STORE."""
    info = storage.info(paths.store)
    data = b""
    if info is not None and info.size_bytes <= _MOST_BYTES:
        data = storage.read(paths.store)
    engine, uuid, serializer = (
        match[1].decode() if (match := pattern.search(data)) else None
        for pattern in (_ENGINE, _UUID, _SERIALIZER)
    )
    # The files are better witnesses of the engine than a damaged text.
    if storage.is_directory(paths.aof):
        engine = "memory"
    elif storage.is_directory(paths.wal):
        engine = "hybrid"
    elif storage.is_directory(paths.lmdb):
        engine = "persistent"
    # They are of the uuid too: headers of logs and the record of LMDB have checksums.
    if storage.info(paths.lmdb_data) is not None or _has_segments(storage, paths):
        uuid = None
    return {"engine": engine, "uuid": uuid or "", "serializer": serializer}


def _has_segments(storage: Storage, paths: StorePaths) -> bool:
    return any(
        log.maybe_number(name) is not None
        for log in (paths.increments, paths.bases, paths.wal_log)
        for name in _names(storage, log.directory)
    )


def _in_log(
    storage: Storage, paths: StorePaths, logs: tuple[LogPaths, ...]
) -> Iterator[Finding]:
    directory = logs[0].directory
    where = directory.removeprefix(f"{paths.root}/")
    if not storage.is_directory(directory):
        reason = "the directory is missing"
        yield Finding(Kind.MISSING_FILE, where, reason)
    for name in _names(storage, directory):
        if name == MANIFEST:
            continue
        if name.endswith(TEMP_SUFFIX):
            yield _leftover(f"{where}/{name}")
        elif all(log.maybe_number(name) is None for log in logs):
            yield _foreign(f"{where}/{name}")


def _names(storage: Storage, directory: str) -> list[str]:
    return storage.list(directory) if storage.is_directory(directory) else []


def _leftover(name: str) -> Finding:
    reason = "it was not finished, and does not count"
    return Finding(Kind.LEFTOVER, name, reason, need=Need.NOTHING)


def _foreign(name: str) -> Finding:
    reason = "it is no part of the store"
    return Finding(Kind.FOREIGN_FILE, name, reason, need=Need.NOTHING)


Snapshot = tuple[tuple[str, int, int], ...]


def snapshot(storage: Storage, directory: str) -> Snapshot:
    """Return names, sizes and times of all files, to notice a change."""
    paths = StorePaths(directory.rstrip("/") or "/")
    found = []
    for place in (paths.root, paths.aof, paths.wal, paths.lmdb):
        for name in _names(storage, place):
            info = storage.info(f"{place}/{name}")
            if info is not None and not storage.is_directory(f"{place}/{name}"):
                found.append((f"{place}/{name}", *info))
    return tuple(found)

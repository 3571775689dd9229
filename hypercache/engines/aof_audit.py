"""Read a durable memory store back, file by file, and say what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator

from hypercache import metafile
from hypercache.aof import manifest as manifests
from hypercache.aof.manifest import Manifest
from hypercache.aof.writer import base_blocks
from hypercache.engines.auditing import log_problems, problem_of
from hypercache.engines.base import Problem
from hypercache.errors import CorruptionError
from hypercache.log_writer import LogEnd
from hypercache.paths import StorePaths
from hypercache.storage import Storage


def problems(
    storage: Storage, paths: StorePaths, uuid: bytes, log: tuple[Manifest, LogEnd]
) -> list[Problem]:
    """Return what is wrong with the files of an open store.

    No compaction may run meanwhile; writes may, and only what came before `end` is
    looked at.
    """
    manifest, end = log
    return [
        *_metafiles(storage, paths, uuid, manifest),
        *_base(storage, paths, uuid, manifest),
        *log_problems(storage, paths.increments, uuid, manifest.extent, end),
    ]


def _metafiles(
    storage: Storage, paths: StorePaths, uuid: bytes, manifest: Manifest
) -> Iterator[Problem]:
    try:
        found = metafile.maybe_read(storage, paths.store)
        if found is None or found.get("uuid") != uuid.hex():
            yield Problem(paths.store, "it is missing or that of another store")
        if manifests.load(storage, paths).base != manifest.base:
            yield Problem(paths.manifest, "it names another base than the open store")
    except CorruptionError as error:
        yield problem_of(error)


def _base(
    storage: Storage, paths: StorePaths, uuid: bytes, manifest: Manifest
) -> Iterator[Problem]:
    try:
        for _ in base_blocks(storage, paths, uuid, manifest):
            pass
    except CorruptionError as error:
        yield problem_of(error)

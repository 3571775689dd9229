"""The stores inside a store: which there are, and how one is removed or copied.

The layout and what a crash leaves are specified in docs/namespaces.md.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable

from hypercache.engines import BUILT_IN, backup, backup_helper, identity, open_engine
from hypercache.engines.auditing import problem_of
from hypercache.engines.base import CheckReport, StorageEngine
from hypercache.errors import CorruptionError, StorageError, UnsupportedFormatError
from hypercache.options import Options
from hypercache.paths import (
    NAMESPACES,
    OWN_NAMES,
    STORE_PARTS,
    StorePaths,
    is_dropped,
    maybe_namespace,
)
from hypercache.storage import Storage

_log = logging.getLogger(__name__)
# What may be in a directory before there is a store in it: locks, a STORE half written.
_EMPTY = OWN_NAMES.difference(STORE_PARTS)


def names(storage: Storage, paths: StorePaths) -> list[str]:
    """Return the namespaces of a store, sorted; not those that are only half made."""
    if not storage.is_directory(paths.namespaces):
        return []
    found = map(maybe_namespace, storage.list(paths.namespaces))
    return sorted(name for name in found if name and exists(storage, paths, name))


def exists(storage: Storage, paths: StorePaths, name: str) -> bool:
    """Tell whether there is a namespace of that name, whole or damaged."""
    inner = paths.namespace(name)
    if not storage.is_directory(inner.root):
        return False
    try:
        found = identity.load_identity(storage, inner)
    except (CorruptionError, StorageError, UnsupportedFormatError):
        return True
    if found is None:  # engines of other packages need not have a STORE
        return not _EMPTY.issuperset(storage.list(inner.root))
    return found.state != identity.CREATING


def prepare(storage: Storage, paths: StorePaths) -> None:
    """Make the directory of the namespaces; its name is on the medium on return."""
    storage.make_directory(paths.namespaces)
    # A process that was killed may have made it, and not have synced its name.
    storage.sync_directory(paths.root)


def drop(storage: Storage, paths: StorePaths, name: str) -> bool:
    """Remove a namespace that nobody has open; tell whether there was one.

    Raises:
        StoreLockedError: it is open, here or in another process.
        StorageError: it is there, whole, or gone; never a part of it.
    """
    inner = paths.namespace(name)
    if not storage.is_directory(inner.root):
        return False
    was_there = exists(storage, paths, name)
    dropped = paths.dropped(int.from_bytes(os.urandom(8)))
    lock = storage.lock(inner.root, inner.lock)
    try:
        storage.rename(inner.root, dropped)
        storage.remove_tree(dropped)
    finally:
        lock.release()
    return was_there


def remove_dropped(storage: Storage, paths: StorePaths) -> None:
    """Remove what a drop that was interrupted has left; if that fails, it is logged."""
    if not storage.is_directory(paths.namespaces):
        return
    try:
        left = [name for name in storage.list(paths.namespaces) if is_dropped(name)]
        if left:
            # Or a power cut could bring half of it back, under the name it had.
            storage.sync_directory(paths.namespaces)
        for name in left:
            storage.remove_tree(f"{paths.namespaces}/{name}")
    except StorageError as error:
        _log.warning("what is left of a dropped namespace stays: %s", error)


def is_inside(storage: Storage, paths: StorePaths) -> bool:
    """Tell whether a store is itself a namespace of another."""
    above, directory = os.path.split(os.path.dirname(storage.real_path(paths.root)))
    outer = StorePaths(above)
    return directory == NAMESPACES and storage.info(outer.store) is not None


def check(
    storage: Storage, paths: StorePaths, name: str, default_engine: str
) -> CheckReport:
    """Read a namespace back that is not open here."""
    inner = paths.namespace(name)
    try:
        engine = _engine(storage, inner, default_engine)
        with contextlib.closing(_reader(storage, inner, engine)) as opened:
            return opened.check()
    except CorruptionError as error:
        return CheckReport((problem_of(error),))


def back_up(
    storage: Storage,
    paths: StorePaths,
    name: str,
    default_engine: str,
    destination: str,
) -> None:
    """Copy a namespace that is not open here."""
    inner = paths.namespace(name)
    engine = _engine(storage, inner, default_engine)
    if engine in BUILT_IN:
        backup_helper.back_up(storage, inner, engine, destination)
    else:
        with contextlib.closing(_reader(storage, inner, engine)) as opened:
            opened.backup(destination)


def _engine(storage: Storage, inner: StorePaths, default_engine: str) -> str:
    found = identity.load_identity(storage, inner)
    return found.engine if found else default_engine


def _reader(storage: Storage, inner: StorePaths, engine: str) -> StorageEngine:
    options = Options.resolve(engine=engine, read_only=True, allow_network_fs=True)
    return open_engine(inner.root, engine=engine, options=options, storage=storage)


def back_up_all(
    storage: Storage,
    paths: StorePaths,
    destination: str,
    copy_store: Callable[[str], int],
    copy_namespace: Callable[[str, str], object],
) -> int:
    """Copy a store with its namespaces; return the LSN of the store's own copy.

    `copy_store` is given a destination, `copy_namespace` a name and a destination.
    What is at `destination` on return is complete; after an error nothing is.
    """
    found = names(storage, paths)
    if not found:
        return copy_store(destination)
    with backup.staged(storage, paths, destination) as root:
        lsn = copy_store(root)
        for name in found:
            copy_namespace(name, StorePaths(root).namespace(name).root)
    return lsn

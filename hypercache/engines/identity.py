"""Claim a directory for a store, and keep in STORE what it is.

Everything here happens before an engine looks at its own files, and may be interrupted
and repeated at any point: see "Crash cases" in docs/wal_format.md.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from hypercache import metafile
from hypercache.errors import (
    ConfigError,
    CorruptionError,
    StorageError,
    UnsupportedFormatError,
)
from hypercache.locking import DirectoryLock
from hypercache.mounts import NETWORK_MOUNTS
from hypercache.options import Options
from hypercache.paths import OWN_NAMES, STORE, STORE_PARTS, StorePaths
from hypercache.storage import Storage

FORMAT = 1
CREATING, READY = "creating", "ready"
_UUID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Identity:
    """What STORE says; the serializer is a label of the cache above, or None."""

    engine: str
    uuid: str
    state: str
    serializer: str | None = None
    format: int = FORMAT

    @property
    def uuid_bytes(self) -> bytes:
        """Return the uuid as the logs have it."""
        return bytes.fromhex(self.uuid)


def claim_directory(
    storage: Storage, paths: StorePaths, options: Options, *, shared: bool = False
) -> DirectoryLock:
    """Make sure the path can hold a store, create it if absent, and lock it.

    With `shared`, together with other processes; see `DirectoryLock`.

    Raises:
        ConfigError: the path is a file, holds something else, or lies on a network
            file system; nothing was changed.
        StoreLockedError: it is open, here or in another process.
        StorageError: it cannot be created or written.
    """
    refuse_unfit(storage, paths, options)
    storage.make_directory(paths.root)
    if shared:
        return storage.lock(paths.root, paths.lock, shared=True)
    return storage.lock(paths.root, paths.lock)


def refuse_unfit(storage: Storage, paths: StorePaths, options: Options) -> None:
    """Make sure that the path holds a store, or nothing that would be in its way.

    Raises:
        ConfigError: as `claim_directory` says.
        CorruptionError: there are parts of a store without its STORE.
    """
    root = paths.root
    if storage.info(root) is not None and not storage.is_directory(root):
        raise ConfigError(f"{root} is a file; pass the path of a directory")
    if not options.allow_network_fs and storage.mount_type(root) in NETWORK_MOUNTS:
        kind = storage.mount_type(root)
        raise ConfigError(
            f"{root} is on a network file system ({kind}), whose locks and syncs do "
            "not hold; use a local disk, or pass allow_network_fs=True at your own risk"
        )
    if storage.is_directory(root):
        _refuse_foreign(storage, paths)


def load_identity(storage: Storage, paths: StorePaths) -> Identity | None:
    """Read STORE; None where there is no store yet.

    Raises:
        UnsupportedFormatError: a later version wrote it.
        CorruptionError: it is damaged.
    """
    fields = metafile.maybe_read(storage, paths.store)
    if fields is None:
        return None
    if fields.get("format") != FORMAT:
        raise UnsupportedFormatError(paths.store, fields.get("format"), str(FORMAT))
    try:
        found = Identity(**fields)
    except TypeError as error:
        raise CorruptionError(paths.store, f"unexpected fields: {error}") from error
    label = "" if found.serializer is None else found.serializer
    texts = (found.engine, found.state, label, found.uuid)
    if set(map(type, texts)) != {str} or not _UUID.fullmatch(found.uuid):
        raise CorruptionError(paths.store, "its fields make no sense", offset=0)
    return found


def load_ready(
    storage: Storage, paths: StorePaths, options: Options, engine: str
) -> Identity | None:
    """Return the identity of a store that is complete and may be opened like this.

    None where there is no store, or one whose creation was interrupted.

    Raises:
        ConfigError: it is of another engine or serializer.
        CorruptionError, UnsupportedFormatError: as `load_identity` says.
    """
    found = load_identity(storage, paths)
    if found is None or found.state == CREATING:
        return None
    if found.state != READY:
        raise CorruptionError(paths.store, f"its state is {found.state!r}")
    if found.engine != engine:
        raise ConfigError(
            f"{paths.root} is a store of the engine {found.engine!r}; open it with "
            f"engine={found.engine!r}"
        )
    asked, made = options.serializer, found.serializer
    if asked is not None and made is not None and asked != made:
        raise ConfigError(
            f"{paths.root} was created with serializer={made!r}, not {asked!r}; "
            f"open it with serializer={made!r}"
        )
    return found


def load_or_create(
    storage: Storage,
    paths: StorePaths,
    options: Options,
    engine: str,
    create: Callable[[bytes], None],
) -> Identity:
    """Return the identity of the store; without one let `create` make its files.

    Called under the lock of the directory.
    """
    found = load_ready(storage, paths, options, engine)
    if found is not None:
        # Whoever replaced STORE or the marker may have been killed before this: after
        # a power cut the older one would disown what is written from now on.
        storage.sync_directory(paths.root)
        return found
    _sync_above(storage, paths.root)
    # "creating" first: whatever a crash leaves, the next open starts over.
    uuid = os.urandom(16).hex()
    identity = Identity(engine, uuid, CREATING, options.serializer)
    metafile.write(storage, paths.store, dataclasses.asdict(identity))
    create(identity.uuid_bytes)
    ready = dataclasses.replace(identity, state=READY)
    metafile.write(storage, paths.store, dataclasses.asdict(ready))
    return ready


def _sync_above(storage: Storage, root: str) -> None:
    # Whoever made the directory, perhaps we, may have been killed before its name was
    # on the medium: then a power cut would take away all that is in it.
    try:
        storage.sync_directory(os.path.dirname(os.path.abspath(root)))
    except StorageError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise


def make_empty(storage: Storage, directory: str) -> None:
    """Make sure that a directory of a new store exists and holds nothing."""
    storage.make_directory(directory)
    for name in storage.list(directory):
        storage.unlink(f"{directory}/{name}")


def _refuse_foreign(storage: Storage, paths: StorePaths) -> None:
    names = storage.list(paths.root)
    foreign = [name for name in names if name not in OWN_NAMES]
    if STORE not in names and foreign:
        shown = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise ConfigError(
            f"{paths.root} holds something that is not a HyperCache store ({shown}); "
            "pass an empty or a new directory"
        )
    orphaned = [name for name in names if name in STORE_PARTS]
    if STORE not in names and orphaned:
        reason = f"the file is missing, but {', '.join(orphaned)} is there"
        raise CorruptionError(paths.store, reason)

"""Open a store the way its STORE file says it was made.

A command that reads must not create: a mistyped path would become an empty store.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from hypercache.cache import Cache
from hypercache.engines.identity import READY, Identity, load_identity
from hypercache.errors import ConfigError, CorruptionError, HyperCacheError
from hypercache.paths import STORE_PARTS, StorePaths
from hypercache.storage import OsStorage, Storage

DEFAULT_SERIALIZER = "msgpack"
CUSTOM = "custom"

Command = Callable[..., Any]


class AsStored:
    """Show the bytes that a serializer unknown to this program has written.

    To a Cache it is one more custom serializer, so it opens the stores of all others.
    """

    def dumps(self, value: object, /) -> bytes:
        """Refuse: the program that owns the store could not read it back."""
        raise TypeError(f"a {type(value).__name__} would be stored unencoded")

    def loads(self, data: bytes, /) -> object:
        """Return the bytes themselves."""
        return data


def directory_argument(command: Command) -> Command:
    """Give a command its first argument, DIR."""
    return click.argument("directory", metavar="DIR")(command)


def json_option(command: Command) -> Command:
    """Give a command the option --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def open_to_read(directory: str) -> Cache:
    """Open the store in a directory as it is now; nothing of it is changed.

    It may be open elsewhere meanwhile, and on a disk that cannot be written.

    Raises:
        ConfigError: there is no store.
        CorruptionError: there is a part of one.
        HyperCacheError: as `Cache` says.
    """
    return _open(directory, identity_of(directory), read_only=True)


def open_to_write(directory: str) -> Cache:
    """Open the store in a directory; without one nothing is created.

    Raises:
        As `open_to_read`, and StoreLockedError.
    """
    return _open(directory, identity_of(directory), read_only=False)


def open_or_create(directory: str, engine: str | None) -> Cache:
    """Open the store in a directory, or create one there, by default a hybrid one.

    Raises:
        ConfigError: it is of another engine, or only the program that owns the store
            can encode its values.
        HyperCacheError: as `Cache` says.
    """
    found, name = find_identity(directory), serializer_of(directory)
    if name == CUSTOM:
        raise ConfigError(
            f"{directory} was created with a serializer of its program's own, which "
            "this command does not have; write to it from that program"
        )
    kind = engine or (found.engine if found else None)
    return Cache(directory, engine=kind, serializer=_serializer(name))


def identity_of(directory: str) -> Identity:
    """Return what STORE says of a store that is there.

    Raises:
        ConfigError: there is no store.
        CorruptionError: there is a part of one.
    """
    found = find_identity(directory)
    if found is None or found.state != READY:
        raise _no_store(OsStorage(), paths_of(directory))
    return found


def serializer_of(directory: str) -> str | None:
    """Return the serializer's name a store has on record, or would get."""
    found = find_identity(directory)
    if found is None or found.state != READY:
        return DEFAULT_SERIALIZER
    return found.serializer


def find_identity(directory: str) -> Identity | None:
    """Return what STORE says, None where there is no such file."""
    storage, paths = OsStorage(), paths_of(directory)
    if not storage.is_directory(paths.root):
        return None
    return load_identity(storage, paths)


def paths_of(directory: str) -> StorePaths:
    """Return the paths of a store.

    Raises:
        ConfigError: the name cannot be that of a directory.
    """
    if not directory or "\0" in directory:
        raise ConfigError(f"{directory!r} names no directory")
    return StorePaths(os.path.abspath(directory))


def _open(directory: str, found: Identity, *, read_only: bool) -> Cache:
    return Cache(
        directory,
        engine=found.engine,
        serializer=_serializer(found.serializer),
        read_only=read_only,
    )


def _serializer(name: str | None) -> Any:
    if name == CUSTOM:
        return AsStored()
    return name or "bytes"


def _no_store(storage: Storage, paths: StorePaths) -> HyperCacheError:
    root = paths.root
    if storage.info(root) is None:
        return ConfigError(
            f"{root} does not exist; `hypercache set` creates a store there"
        )
    if not storage.is_directory(root):
        return ConfigError(f"{root} is a file; pass the directory of a store")
    if storage.info(paths.store) is not None:
        return ConfigError(
            f"the creation of a store in {root} was interrupted, it holds nothing yet; "
            "`hypercache set` completes it"
        )
    names = storage.list(root)
    left = [name for name in STORE_PARTS if name in names]
    if left:
        reason = f"the file is missing, but {', '.join(left)} is there"
        return CorruptionError(paths.store, reason)
    return ConfigError(f"{root} holds no HyperCache store; look for another directory")

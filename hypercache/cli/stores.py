"""Open a store the way its STORE file says it was made.

A command that reads must not create: a mistyped path would become an empty store.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from hypercache.cache import Cache
from hypercache.engines.identity import Identity, load_identity
from hypercache.errors import ConfigError, CorruptionError, HyperCacheError
from hypercache.paths import CHECKPOINT, LMDB, WAL, StorePaths
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


def open_existing(directory: str) -> Cache:
    """Open the store in a directory; without one nothing is created.

    Raises:
        ConfigError: there is no store.
        CorruptionError: there is a part of one.
        HyperCacheError: as `Cache` says.
    """
    identity = find_identity(directory)
    if identity is None or identity.state != "ready":
        raise _no_store(OsStorage(), _paths(directory))
    return Cache(directory, serializer=_serializer(identity.serializer))


def open_or_create(directory: str) -> Cache:
    """Open the store in a directory, or create one there.

    Raises:
        ConfigError: only the program that owns the store can encode its values.
        HyperCacheError: as `Cache` says.
    """
    name = serializer_of(directory)
    if name == CUSTOM:
        raise ConfigError(
            f"{directory} was created with a serializer of its program's own, which "
            "this command does not have; write to it from that program"
        )
    return Cache(directory, serializer=_serializer(name))


def serializer_of(directory: str) -> str | None:
    """Return the serializer's name a store has on record, or would get."""
    identity = find_identity(directory)
    if identity is None or identity.state != "ready":
        return DEFAULT_SERIALIZER
    return identity.serializer


def find_identity(directory: str) -> Identity | None:
    """Return what STORE says, None where there is no such file."""
    storage, paths = OsStorage(), _paths(directory)
    if not storage.is_directory(paths.root):
        return None
    return load_identity(storage, paths)


def _paths(directory: str) -> StorePaths:
    if not directory or "\0" in directory:
        raise ConfigError(f"{directory!r} names no directory")
    return StorePaths(os.path.abspath(directory))


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
    left = [name for name in (WAL, LMDB, CHECKPOINT) if name in names]
    if left:
        reason = f"the file is missing, but {', '.join(left)} is there"
        return CorruptionError(paths.store, reason)
    return ConfigError(f"{root} holds no HyperCache store; look for another directory")

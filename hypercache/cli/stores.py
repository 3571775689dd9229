"""Open a store the way its STORE file says it was made.

A command that reads must not create: a mistyped path would become an empty store.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import click

from hypercache import arguments
from hypercache.cache import Cache
from hypercache.engines import namespaces
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


def store_argument(command: Command) -> Command:
    """Give a command DIR and --namespace; it gets the directory of what is meant."""

    @functools.wraps(command)
    def within(
        directory: str, *arguments: Any, namespace: str | None, **given: Any
    ) -> Any:
        if namespace is not None:
            directory = namespace_directory(directory, namespace)
        return command(directory, *arguments, **given)

    return directory_argument(namespace_option(within))


def namespace_option(command: Command) -> Command:
    """Give a command the option --namespace."""
    text = "Of this namespace in DIR."
    return click.option("--namespace", metavar="NAME", help=text)(command)


def namespace_directory(directory: str, name: str) -> str:
    """Return the directory of a namespace.

    Raises:
        ConfigError: there is none of that name.
    """
    paths, storage = paths_of(directory), OsStorage()
    if namespaces.exists(storage, paths, arguments.namespace_name(name)):
        return paths.namespace(name).root
    there_are = ", ".join(map(repr, namespaces.names(storage, paths))) or "none"
    raise ConfigError(f"{paths.root} has no namespace {name!r}; there are: {there_are}")


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


@contextlib.contextmanager
def open_or_create(
    directory: str, engine: str | None, namespace: str | None = None
) -> Iterator[Cache]:
    """Open the store in a directory, or create one there, by default a hybrid one.

    With `namespace`, that in it, which is made like the store if it is not there.

    Raises:
        ConfigError: it is of another engine, or only the program that owns the store
            can encode its values.
        HyperCacheError: as `Cache` says.
    """
    paths = paths_of(directory)
    if namespace is None:
        with _open_or_create(directory, engine) as cache:
            yield cache
    elif namespaces.exists(OsStorage(), paths, arguments.namespace_name(namespace)):
        with _open_or_create(paths.namespace(namespace).root, engine) as cache:
            yield cache
    else:
        with _open_or_create(directory, None) as cache:
            yield cache.namespace(namespace, engine=engine)


def _open_or_create(directory: str, engine: str | None) -> Cache:
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


def serializer_to_write(directory: str, namespace: str | None) -> str | None:
    """Return the serializer's name of what `open_or_create` would open."""
    if namespace is not None:
        paths = paths_of(directory)
        inner = paths.namespace(arguments.namespace_name(namespace))
        if namespaces.exists(OsStorage(), paths, namespace):
            return serializer_of(inner.root)
    return serializer_of(directory)


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

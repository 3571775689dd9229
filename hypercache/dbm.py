"""Databases with the shape of the standard library's dbm modules.

    import shelve, hypercache.dbm
    shelf = shelve.Shelf(hypercache.dbm.open("data", "c"))

A database is a directory with a hybrid store in it: safe after `kill -9`, and after a
power cut but for the last second; `sync` and `close` bring everything to the medium.
Keys and values are bytes, a str is its UTF-8. Unlike the standard modules it takes no
empty key. What shelve puts into it is pickled by shelve: open only shelves you trust.
"""

from __future__ import annotations

import builtins
import contextlib
import os
from collections.abc import Iterator, MutableMapping
from typing import Any, Self

from hypercache.arguments import absolute
from hypercache.cache import Cache
from hypercache.entries import MISSING
from hypercache.errors import HyperCacheError, ReadOnlyError
from hypercache.paths import StorePaths
from hypercache.storage import OsStorage

library = "hypercache"
_FLAGS = ("r", "w", "c", "n")


class error(OSError):  # noqa: N801, N818 - the name that all dbm modules have
    """Say what could not be done; the error of HyperCache is its cause."""


def open(  # noqa: A001 - the name that all dbm modules have
    file: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    flag: str = "r",
    mode: int = 0o666,
) -> Database:
    """Open a database in a directory.

    Args:
        file: the directory.
        flag: "r" to read one that exists, "w" to write it, too, "c" to create it if
            absent, "n" to create it anew: what was there is removed.
        mode: ignored, as some of the standard modules do: a directory is its owner's.

    Raises:
        error: it cannot be opened so.
        ValueError: the flag is unknown.
    """
    del mode
    if flag not in _FLAGS:
        raise ValueError(f"flag={flag!r} must be one of {', '.join(_FLAGS)}")
    try:
        return _opened(absolute(os.fsdecode(file)), flag)
    except HyperCacheError as cause:  # all of them: that it is none of ours, too
        raise error(str(cause)) from cause


def _opened(path: str, flag: str) -> Database:
    storage, paths = OsStorage(), StorePaths(path)
    exists = storage.is_directory(path) and storage.info(paths.store) is not None
    if flag in "rw" and not exists:
        raise error(f"there is no database in {path}; open it with flag 'c'")
    cache: Cache[bytes] = Cache(path, serializer="bytes", read_only=flag == "r")
    if flag == "n":
        try:
            cache.clear()
        except BaseException:
            cache.close()
            raise
    return Database(cache)


class Database(MutableMapping[bytes, bytes]):
    """What `open` returns: bytes by bytes, sorted by key."""

    def __init__(self, cache: Cache[bytes]) -> None:
        self._cache = cache

    def __getitem__(self, key: str | bytes) -> bytes:
        with _errors():
            value: bytes = self._cache.get(key, MISSING)
        if value is MISSING:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str | bytes, value: str | bytes) -> None:
        data = value.encode() if isinstance(value, str) else value
        with _errors():
            self._cache.set(key, data)

    def __delitem__(self, key: str | bytes) -> None:
        with _errors():
            was_there = self._cache.delete(key)
        if not was_there:
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        with _errors():
            return isinstance(key, (str, bytes)) and key in self._cache

    def __iter__(self) -> Iterator[bytes]:
        with _errors():
            yield from self._cache

    def __len__(self) -> int:
        with _errors():
            return len(self._cache)

    def keys(self) -> builtins.list[bytes]:  # type: ignore[override]
        """Return a list of the keys, in order."""
        return list(self)

    def firstkey(self) -> bytes | None:
        """Return the lowest key, None without any."""
        return self._first(None)

    def nextkey(self, key: str | bytes) -> bytes | None:
        """Return the lowest key above this one, None without any."""
        name = key.encode() if isinstance(key, str) else key
        return self._first(name + b"\0")

    def _first(self, start: bytes | None) -> bytes | None:
        with _errors():
            return next((key for key, _ in self._cache.scan(start=start)), None)

    def setdefault(self, key: str | bytes, default: str | bytes = b"") -> bytes:
        """Return the value of a key, which is stored first if it is absent."""
        data = default.encode() if isinstance(default, str) else default
        with _errors():
            while True:
                value: bytes = self._cache.get(key, MISSING)
                if value is not MISSING:
                    return value
                if self._cache.add(key, data):
                    return data

    def clear(self) -> None:
        """Remove every key."""
        with _errors():
            self._cache.clear()

    def reorganize(self) -> None:
        """Fold the log into the store, and remove it."""
        with _errors():
            self._cache.compact()

    def sync(self) -> None:
        """Return when everything written is on the medium; nothing if only read."""
        with _errors(), contextlib.suppress(ReadOnlyError):
            self._cache.sync()

    def close(self) -> None:
        """Bring everything to the medium and let go of all files; repeatable."""
        with _errors():
            self._cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: Any) -> None:
        self.close()


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except HyperCacheError as cause:
        # A wrong type or length stays one, too: these are a caller's mistakes.
        if isinstance(cause, (TypeError, ValueError)):
            raise
        raise error(str(cause)) from cause

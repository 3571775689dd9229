"""The namespaces that one cache has open."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypedDict

from hypercache import arguments
from hypercache.engines.reports import CheckReport
from hypercache.entries import Ttl
from hypercache.errors import ClosedError, ConfigError
from hypercache.eviction import EvictionPolicy
from hypercache.makers import Making
from hypercache.serializers import Serializer

Inner = Making[Any]


class _Opened(NamedTuple):
    cache: Inner
    settings: Mapping[str, Any]


class NamespaceSettings(TypedDict, total=False):
    """What may be given to `Cache.namespace`; None is as if it were not given."""

    default_ttl: Ttl
    ttl_jitter: float | None
    max_items: int | None
    max_bytes: int | None
    memory_bytes: int | None
    eviction: str | EvictionPolicy | None
    serializer: str | Serializer | None
    compress_min_bytes: int | None
    engine: str | None
    sync: str | None
    on_evict: Callable[[bytes], object] | None
    on_expire: Callable[[bytes], object] | None
    on_pressure: Callable[[int, float], object] | None


class Namespaces:
    """Open, list and drop the namespaces of a volatile cache.

    Args:
        inherited: the arguments of those that are not given.
        make: opens a cache.
    """

    def __init__(
        self, inherited: Mapping[str, Any], make: Callable[..., Inner]
    ) -> None:
        self.is_inside = False
        self._inherited, self._make = inherited, make
        self._opened: dict[str, _Opened] = {}
        self._closed = False
        self._pid, self._mutex = os.getpid(), threading.RLock()

    def open(self, name: str, given: Mapping[str, Any]) -> Inner:
        """Return a namespace; one that is open already as it is.

        Raises:
            ConfigError: it is open with other settings, or cannot be opened.
        """
        name = arguments.namespace_name(name)
        settings = _known(given)
        with self._alone():
            self._refuse_closed()
            found = self._opened.get(name)
            if found is None or found.cache.is_closed:
                self._refuse_inside()
                merged = {**self._inherited, **settings}
                found = _Opened(self._open_one(name, merged), merged)
                self._opened[name] = found
        for key, value in settings.items():
            if found.settings.get(key) != value:
                raise ConfigError(
                    f"the namespace {name!r} is open with {key}="
                    f"{found.settings.get(key)!r}, not {value!r}; close it first, or "
                    f"leave out {key}"
                )
        return found.cache

    def names(self) -> list[str]:
        """Return the names of all there are, sorted."""
        self._refuse_closed()
        return sorted(self.all_open())

    def drop(self, name: str) -> bool:
        """Close and remove a namespace; tell whether there was one."""
        name = arguments.namespace_name(name)
        with self._alone():
            self._refuse_closed()
            found = self._opened.get(name)
            if found is not None:
                was_closed = found.cache.is_closed
                found.cache.close()
                del self._opened[name]
            return self._remove(name) or (found is not None and not was_closed)

    def all_open(self) -> dict[str, Inner]:
        """Return those that are open, by name; does not wait for one that is opened."""
        found = self._opened.copy().items()
        return {name: each.cache for name, each in found if not each.cache.is_closed}

    def sync(self) -> None:
        """Return when all that was acknowledged in those open is on the medium."""
        for each in self.all_open().values():
            with contextlib.suppress(ClosedError):  # meanwhile: that has synced it
                each.sync()

    def check(self) -> list[CheckReport]:
        """Read all of them back."""
        return [each.check() for each in self.all_open().values()]

    def back_up(self, destination: str, copy_store: Callable[[str], int]) -> int:
        """Copy the cache by `copy_store`, and all of them beside it; return its LSN."""
        return copy_store(destination)

    def close(self) -> None:
        """Close those that are open; all of them, also where one fails."""
        with self._alone(), contextlib.ExitStack() as closing:
            self._closed = True
            for each in self._opened.values():
                closing.callback(each.cache.close)

    def _open_one(self, name: str, settings: Mapping[str, Any]) -> Inner:
        del name
        return self._make(None, **settings)

    def _remove(self, name: str) -> bool:
        """Remove what is kept of one that is not open here."""
        del name
        return False

    def _refuse_inside(self) -> None:
        if self.is_inside:
            raise ConfigError(
                "this is a namespace itself, and there is one level of them: open the "
                "other beside it, by a name such as 'a/b'"
            )

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ClosedError("the cache is closed, and its namespaces with it")

    def _alone(self) -> threading.RLock:
        if self._pid != os.getpid():  # another thread may have held it at the fork
            self._pid, self._mutex = os.getpid(), threading.RLock()
        return self._mutex


def _known(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are given, or say which of them does not exist."""
    known = NamespaceSettings.__annotations__
    for key in given:
        if key not in known:
            raise ConfigError(f"unknown setting {key!r}; there are {', '.join(known)}")
    return {key: value for key, value in given.items() if value is not None}

"""The namespaces of a cache in a directory: those on disk, and which are open."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from hypercache.engines import namespaces as on_disk
from hypercache.engines.reports import CheckReport
from hypercache.errors import ClosedError, ConfigError, ReadOnlyError
from hypercache.namespaces import Inner, Namespaces
from hypercache.paths import StorePaths
from hypercache.storage import OsStorage

T = TypeVar("T")


class StoredNamespaces(Namespaces):
    """Open, list, drop and copy the namespaces below a directory."""

    def __init__(
        self, root: str, inherited: Mapping[str, Any], make: Callable[..., Inner]
    ) -> None:
        super().__init__(inherited, make)
        self._place = OsStorage(), StorePaths(root)
        self._read_only: bool = inherited["read_only"]
        self._engine: str = inherited["engine"] or "hybrid"
        if not self._read_only:
            on_disk.remove_dropped(*self._place)

    def names(self) -> list[str]:
        """Return the names of all there are, sorted."""
        return sorted({*super().names(), *on_disk.names(*self._place)})

    def drop(self, name: str) -> bool:
        """Close and remove a namespace; tell whether there was one.

        Raises:
            StoreLockedError: another process has it open.
            ReadOnlyError: the cache is read-only.
        """
        if self._read_only:
            raise ReadOnlyError(
                f"{self._place[1].root} is open read-only; open it for writing to drop "
                "a namespace"
            )
        return super().drop(name)

    def check(self) -> list[CheckReport]:
        """Read all of them back, those that are not open here, too."""
        opened, engine = self.all_open(), self._engine
        names = {*opened, *on_disk.names(*self._place)}
        return [
            _open_or_not(
                opened.get(name),
                lambda cache: cache.check(),
                partial(on_disk.check, *self._place, name, engine),
            )
            for name in sorted(names)
        ]

    def back_up(self, destination: str, copy_store: Callable[[str], int]) -> int:
        """Copy the cache by `copy_store`, and all of them beside it; return its LSN."""
        opened, engine = self.all_open(), self._engine

        def copy_one(name: str, target: str) -> None:
            _open_or_not(
                opened.get(name),
                lambda cache: cache.backup(target),
                partial(on_disk.back_up, *self._place, name, engine, target),
            )

        return on_disk.back_up_all(*self._place, destination, copy_store, copy_one)

    def _open_one(self, name: str, settings: Mapping[str, Any]) -> Inner:
        storage, paths = self._place
        if not self._read_only:
            on_disk.prepare(storage, paths)
        elif not on_disk.exists(storage, paths, name):
            raise ConfigError(
                f"{paths.root} has no namespace {name!r}, and a read-only cache makes "
                "none; open it for writing"
            )
        return self._make(paths.namespace(name).root, **settings)

    def _refuse_inside(self) -> None:
        # Who opened it by its path did not say what it is.
        self.is_inside = self.is_inside or on_disk.is_inside(*self._place)
        super()._refuse_inside()

    def _remove(self, name: str) -> bool:
        return on_disk.drop(*self._place, name)


def _open_or_not(
    cache: Inner | None, do: Callable[[Inner], T], do_on_disk: Callable[[], T]
) -> T:
    """Work on one that is open; on its files if it is not, or was closed meanwhile."""
    if cache is not None:
        with contextlib.suppress(ClosedError):
            return do(cache)
    return do_on_disk()

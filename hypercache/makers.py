"""Values that are made when they are missing: once, whoever asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from hypercache.arguments import key_bytes
from hypercache.engines.base import Delete, StorageEngine
from hypercache.entries import MISSING, Key, Settings, Tags, Ttl
from hypercache.insight import Insight
from hypercache.making import Steps, run, run_async, steps
from hypercache.memoize import Memoized, Naming
from hypercache.ops import check_key
from hypercache.reading import V
from hypercache.recipe import Recipe, recipe
from hypercache.reserved import lease_key, refuse
from hypercache.shelf import EntryShelf
from hypercache.single_flight import Flights

P = ParamSpec("P")
R = TypeVar("R")
LEASE_S = 60.0
Offload = Callable[[Callable[[], Any]], Awaitable[Any]]


class Making(Insight[V]):
    """Make values that are missing."""

    def __init__(self, engine: StorageEngine, settings: Settings) -> None:
        super().__init__(engine, settings)
        self._flights = Flights()

    def get_or_set(
        self,
        key: Key,
        factory: Callable[[], V],
        ttl: Ttl = None,
        *,
        tags: Tags = (),
        stale_ttl: Ttl = None,
        stale_if_error: Ttl = None,
        early_refresh: float = 0.0,
        lease: float | timedelta = LEASE_S,
    ) -> V:
        """Return the value; if it is absent, store and return what `factory` makes.

        Of all threads and tasks that ask for the key at a time, and on a persistent
        store of all processes, one calls `factory`; the others wait for its value, or
        get its error. What is deleted or invalidated meanwhile is returned, not kept.

        Args:
            tags: for `invalidate`.
            stale_ttl: how long after its ttl a value is returned at once while one
                caller makes a new one.
            stale_if_error: how long after its ttl a value is returned if `factory`
                raises; the error is logged.
            early_refresh: 1.0 lets one caller make a new value shortly before the ttl
                ends, the earlier the slower `factory` is; more is earlier.
            lease: seconds after which another process may take over from one that it
                cannot see end; one that it sees end gives way at once.

        Raises:
            ReentrantCallError: `factory` asks for what waits for it.
        """
        how = recipe(
            ttl,
            tags=tags,
            stale_ttl=stale_ttl,
            stale_if_error=stale_if_error,
            early_refresh=early_refresh,
            lease=lease,
        )
        value: V = self.make(key_bytes(key), factory, how)
        return value

    def memoize(
        self,
        ttl: Ttl = None,
        *,
        name: str | None = None,
        ignore: tuple[str, ...] = (),
        key: Callable[..., Key] | None = None,
        tags: Tags | Callable[..., Tags] = (),
        stale_ttl: Ttl = None,
        stale_if_error: Ttl = None,
        early_refresh: float = 0.0,
        lease: float | timedelta = LEASE_S,
    ) -> Callable[[Callable[P, R]], Memoized[P, R]]:
        """Decorate a function, or method, sync or async, to keep its results.

        Calls are told apart by the arguments as the function sees them, defaults
        included. Missing results are made as in `get_or_set`, with its arguments.

        Args:
            name: stands for the function in keys; by default its module and name, so
                that another process finds the results.
            ignore: parameters that make no difference, such as "self".
            key: called with the arguments, returns what tells calls apart.
            tags: names, or called with the arguments to return them.

        Raises:
            ConfigError: the function is a generator or has no name, or an argument
                cannot work.
        """
        of_call = tags if callable(tags) else None
        how = recipe(
            ttl,
            tags=() if callable(tags) else tags,
            stale_ttl=stale_ttl,
            stale_if_error=stale_if_error,
            early_refresh=early_refresh,
            lease=lease,
        )
        naming = Naming(name, ignore, key, of_call)
        return lambda function: Memoized(self, function, how, naming)

    def make(self, key: bytes, factory: Callable[[], Any], recipe: Recipe) -> Any:
        """Return the value of a key, made by `factory` as the recipe says."""
        value = MISSING if recipe.early else self.get(key, MISSING)
        if value is not MISSING:
            return value
        return run(self._steps(key, recipe), factory)

    async def make_async(
        self,
        key: bytes,
        factory: Callable[[], Any],
        recipe: Recipe,
        offload: Offload | None = None,
    ) -> Any:
        """Return the value of a key, made by awaiting `factory`; see `make`.

        `offload` calls what may wait for the disk; by default threads of asyncio do.
        """
        value = MISSING if recipe.early else self.get(key, MISSING)
        if value is not MISSING:
            return value
        offload = offload or self._offload
        return await run_async(self._steps(key, recipe), factory, offload)

    def forget(self, key: bytes) -> bool:
        """Remove a key, and what is made for it now; tell whether it was present."""
        self._flights.discard(key)
        if not self._whole.has_other_writers:
            return self.delete(key)
        with self._engine.exclusive():
            was_present = key in self
            self._engine.apply([Delete(lease_key(key)), Delete(key)])
        return was_present

    def delete(self, key: Key) -> bool:
        """Remove a key; tell whether it was present."""
        self._flights.discard(key_bytes(key))
        return super().delete(key)

    def clear(self) -> None:
        """Remove every key."""
        self._flights.discard_all()
        super().clear()

    def _steps(self, key: bytes, recipe: Recipe) -> Steps:
        check_key(key)
        refuse(key)
        return steps(EntryShelf(self, self._flights, key, recipe))

    def _offload(self, function: Callable[[], Any]) -> Awaitable[Any]:
        """Call what may wait for the disk, elsewhere."""
        if self._whole.keeps_objects or self._in_transaction():
            return at_once(function)
        return asyncio.to_thread(function)


async def at_once(function: Callable[[], Any]) -> Any:
    """Call what does not wait."""
    return function()

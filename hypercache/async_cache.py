"""The AsyncCache: a Cache for asyncio, whose event loop never waits for the disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent import futures
from datetime import timedelta
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, Unpack

from hypercache.advice import Advice
from hypercache.arguments import absolute, key_bytes
from hypercache.async_key_values import AsyncKeyValues, T
from hypercache.async_transaction import AsyncTransaction, Place, refuse_inside
from hypercache.cache import Cache
from hypercache.cache_stats import CacheStats
from hypercache.engines.base import CheckReport
from hypercache.entries import Key, Tags, Ttl
from hypercache.makers import LEASE_S, P, R, at_once
from hypercache.memoize import AsyncMemoized, Naming
from hypercache.namespaces import NamespaceSettings
from hypercache.reading import V
from hypercache.recipe import Recipe, recipe
from hypercache.write_groups import run_group
from hypercache.write_queue import Call, WriteQueue, closed_error, refuse_forked

_THREAD_COUNT = 4  # of calls that may take long: scans, checkpoints, backups
_GIVE_LSN = frozenset(("set", "set_many", "invalidate"))


class AsyncCache(AsyncKeyValues[V]):
    """Open a cache for asyncio, by `async with`, by `open`, or when it is used first.

    The methods are those of `Cache`, awaited, with `contains`, `count` and `keys` for
    its operators. A read of one key is made at once, in the event loop: it takes no
    lock that a write holds, and waits for the disk only where `Cache.get` reads it.
    Writes go to one thread, which takes all that wait and brings them to the medium by
    one sync; each has its own result. Whatever else may take long runs in threads.

    Tasks of any number of event loops may use one AsyncCache. A write waits in memory
    for its turn: who starts a million tasks has a million writes waiting.

    Args:
        path: a directory, created if absent; None keeps everything in RAM.
        arguments: those of `Cache`, by name.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, **arguments: Any
    ) -> None:
        root = None if path is None else absolute(path)
        self._make: Callable[[], Cache[V]] = partial(Cache, root, **arguments)
        self._mutex = threading.Lock()
        self._close_lock = threading.Lock()
        self._opening: futures.Future[Cache[V]] | None = None
        self._closed, self._closes_cache = False, True
        self._threads = futures.ThreadPoolExecutor(_THREAD_COUNT, "hypercache-async")
        self._cache: Cache[V] | None = None
        self._inner: dict[str, AsyncCache[Any]] = {}

    @classmethod
    async def open(
        cls, path: str | os.PathLike[str] | None = None, **arguments: Any
    ) -> Self:
        """Return a cache that is open, which happens in a thread.

        Raises:
            ConfigError, StoreLockedError, CorruptionError, ...: as `Cache`.
        """
        return await cls(path, **arguments).__aenter__()

    @classmethod
    def over(cls, cache: Cache[V]) -> Self:
        """Return the awaited form of an open cache, which threads may use beside it.

        `close` waits for the writes that were awaited, and leaves `cache` open.
        """
        return cls._around(cache, closes_cache=False)

    @classmethod
    def _around(cls, cache: Cache[Any], *, closes_cache: bool) -> Self:
        self = cls()
        self._closes_cache = closes_cache
        self._begin(cache)
        self._opening = futures.Future()
        self._opening.set_result(cache)
        return self

    # Where a call runs

    async def _look(self, name: str, /, *args: Any) -> Any:
        cache = self._cache
        if cache is None:
            cache = await self._opened()
        return getattr(cache, name)(*args)

    async def _read(self, run: Callable[[Cache[V]], T]) -> T:
        refuse_inside(self)
        cache = self._cache
        if cache is None:
            cache = await self._opened()
        return await asyncio.wrap_future(self._start(partial(run, cache)))

    async def _write(self, name: str, /, *args: Any, **options: Any) -> Any:
        refuse_inside(self)
        cache = self._cache
        if cache is None:
            cache = await self._opened()
        run = partial(getattr(cache, name), *args, **options)
        if self._writes_here:
            made, result = self._queue.run_here(run)
            if made:
                return result
        looks_first = name == "delete_many" or options.get("tags", ()) != ()
        call = Call(run, gives_lsn=name in _GIVE_LSN, looks_first=looks_first)
        return await self._queue.submit(call)

    def transaction(self) -> AsyncTransaction[V]:
        """Make the writes of an `async with` block one batch, or on error none.

        Only the calls on what the block gives are part of it, and only they see its
        writes before it has ended. Until then the writes of others wait, and what
        looks at the whole store, `get_many` too; reads of one key do not. Cancelled, it
        has written nothing. Blocks may be nested, by `transaction` of what this gives.

        Raises:
            TransactionError: a call on the cache itself that would wait for its end.
        """
        return AsyncTransaction(self, self._enter, SimpleQueue())

    async def _enter(self, transaction: AsyncTransaction[V]) -> Place[V]:
        del transaction
        refuse_inside(self)
        return await self._opened(), self._queue.submit

    # Values that are made when they are missing

    async def get_or_set(
        self,
        key: Key,
        factory: Callable[[], V | Awaitable[V]],
        ttl: Ttl = None,
        *,
        tags: Tags = (),
        stale_ttl: Ttl = None,
        stale_if_error: Ttl = None,
        early_refresh: float = 0.0,
        lease: float | timedelta = LEASE_S,
    ) -> V:
        """Return the value; if it is absent, store and return what `factory` makes.

        It is called in the loop; what it returns is awaited if it can be. One task, or
        thread, or process makes a value for all who wait; see `Cache.get_or_set`.
        """
        how = recipe(
            ttl,
            tags=tags,
            stale_ttl=stale_ttl,
            stale_if_error=stale_if_error,
            early_refresh=early_refresh,
            lease=lease,
        )
        value: V = await self.make_async(key_bytes(key), factory, how)
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
    ) -> Callable[[Callable[P, R]], AsyncMemoized[P, R]]:
        """Decorate an async function, or method, to keep its results.

        The arguments are those of `Cache.memoize`. What forgets results is awaited.
        """
        how = recipe(
            ttl,
            tags=() if callable(tags) else tags,
            stale_ttl=stale_ttl,
            stale_if_error=stale_if_error,
            early_refresh=early_refresh,
            lease=lease,
        )
        naming = Naming(name, ignore, key, tags if callable(tags) else None)
        return lambda function: AsyncMemoized(self, function, how, naming)

    async def make_async(
        self, key: bytes, factory: Callable[[], Any], recipe: Recipe
    ) -> Any:
        """Return the value of a key, made by `factory` as the recipe says."""
        refuse_inside(self)
        cache = await self._opened() if self._cache is None else self._cache
        offload = at_once if self._writes_here else self._offload
        return await cache.make_async(key, factory, recipe, offload)

    async def forget(self, key: bytes) -> bool:
        """Remove a key, and what is made for it now; tell whether it was present."""
        return await self._read(lambda cache: cache.forget(key))

    def _offload(self, run: Callable[[], Any]) -> Awaitable[Any]:
        return asyncio.wrap_future(self._start(run))

    # Caches inside

    async def namespace(
        self, name: str, **settings: Unpack[NamespaceSettings]
    ) -> AsyncCache[Any]:
        """Return a cache inside this one, with keys, limits and numbers of its own.

        See `Cache.namespace`.
        """
        inner = await self._read(lambda cache: cache.namespace(name, **settings))
        with self._mutex:
            if self._closed:
                raise closed_error()
            found = self._inner.get(name)
            if found is None or found._cache is not inner:
                found = AsyncCache._around(inner, closes_cache=True)
                self._inner[name] = found
        return found

    async def namespaces(self) -> list[str]:
        """Return the names of all namespaces, open or not, sorted."""
        return await self._read(Cache.namespaces)

    async def drop_namespace(self, name: str) -> bool:
        """Close and remove a namespace; tell whether there was one.

        See `Cache.drop_namespace`. What waits to be written in it is written first.
        """

        def drop(cache: Cache[V]) -> bool:
            with self._mutex:
                inner = self._inner.pop(name, None)
            was_open = inner is not None and not inner._closed
            if inner is not None:
                inner._close()
            return cache.drop_namespace(name) or was_open

        return await self._read(drop)

    # The store as a whole

    async def expire(self) -> int:
        """Remove all entries that have expired by now, and return how many."""
        return await self._read(Cache.expire)

    async def sync(self) -> int:
        """Return when everything acknowledged so far is on the medium, and its LSN."""
        return await self._read(Cache.sync)

    async def wait_durable(
        self,
        lsn: int,
        timeout: float | None = None,  # noqa: ASYNC109 - it ends the wait of a thread
    ) -> None:
        """Return when the write with this LSN is on the medium.

        Raises:
            WaitTimeoutError: `timeout` seconds passed first; the write stands.
            StorageFailedError: the log failed; the write may be lost.
        """
        await self._read(lambda cache: cache.wait_durable(lsn, timeout))

    async def checkpoint(self) -> int:
        """Fold the log into the store below it; see `Cache.checkpoint`."""
        return await self._read(Cache.checkpoint)

    async def compact(self) -> int:
        """Rewrite what is on disk without what is dead; see `Cache.compact`."""
        return await self._read(Cache.compact)

    async def backup(self, destination: str | os.PathLike[str]) -> int:
        """Copy the store into a new directory; see `Cache.backup`."""
        return await self._read(lambda cache: cache.backup(destination))

    async def refresh(self) -> int:
        """Move what a read-only cache shows forward to now; return its LSN."""
        return await self._read(Cache.refresh)

    async def check(self) -> CheckReport:
        """Read everything back; `report.ok` is True when nothing is wrong."""
        return await self._read(Cache.check)

    async def stats(self) -> CacheStats:
        """Return the numbers of this moment."""
        return await self._read(Cache.stats)

    async def advise(self) -> Advice:
        """Tell the hit ratio at other sizes, and under other policies; in a thread."""
        return await self._read(Cache.advise)

    async def close(self) -> None:
        """Wait for the writes that were awaited, then close as `Cache.close` does."""
        refuse_inside(self)
        await asyncio.shield(asyncio.to_thread(self._close))

    async def __aenter__(self) -> Self:
        try:
            await self._opened()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # Open and close

    async def _opened(self) -> Cache[V]:
        """Return the cache, once it is open; the first who asks has it opened."""
        with self._mutex:
            if self._closed:
                raise closed_error()
            opening = self._opening or self._start(self._open)
            self._opening = opening
        return await asyncio.shield(asyncio.wrap_future(opening))

    def _open(self) -> Cache[V]:
        try:
            cache = self._make()
        except BaseException:
            with self._mutex:
                self._opening = None  # the next one may have more luck
            raise
        self._begin(cache)
        return cache

    def _begin(self, cache: Cache[V]) -> None:
        self._pid = os.getpid()
        self._queue = WriteQueue(partial(run_group, cache))
        # Others may hold the lock of a cache that is theirs, too, for long.
        self._writes_here = cache._whole.keeps_objects and self._closes_cache
        self._cache = cache

    def _start(self, run: Callable[[], T]) -> futures.Future[T]:
        if self._cache is not None:
            refuse_forked(self._pid)
        if self._closed:
            raise closed_error()
        try:
            return self._threads.submit(run)
        except RuntimeError as error:  # closed meanwhile, or the interpreter ends
            raise closed_error() from error

    def _close(self) -> None:
        with self._mutex:
            self._closed = True
            opening = self._opening
        with self._close_lock, contextlib.ExitStack() as release:
            release.callback(self._threads.shutdown)
            if opening is not None:
                futures.wait((opening,))
            cache, self._cache = self._cache, None
            # The last one first: what the namespaces have waiting is still written.
            if cache is not None and self._closes_cache:
                release.callback(cache.close)
            if cache is not None:
                release.callback(self._queue.close)
            for inner in self._inner.values():
                release.callback(inner._close)

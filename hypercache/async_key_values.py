"""The operations of a Cache, awaited; where each one runs is left to subclasses."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar, overload

from hypercache.entries import MISSING, Key, Tags, Ttl
from hypercache.key_value import K, KeyValues
from hypercache.reading import D, V

T = TypeVar("T")
STEP_COUNT = 256  # entries that a scan fetches at a time


class AsyncKeyValues(ABC, Generic[V]):
    """Read and write the values of one store; each method is that of `Cache`, awaited.

    A value must not be changed before the call that stores it has returned. When a task
    is cancelled in the middle of a write, the write may take place all the same.
    """

    @abstractmethod
    async def _look(self, name: str, /, *args: Any) -> Any:
        """Make a call that reads one key, by the name of its method."""

    @abstractmethod
    async def _read(self, run: Callable[[KeyValues[V]], T]) -> T:
        """Make a call that may take long or wait for a lock, but writes nothing."""

    @abstractmethod
    async def _write(self, name: str, /, *args: Any, **options: Any) -> Any:
        """Make a call that writes, by the name of its method."""

    # One key

    async def set(self, key: Key, value: V, ttl: Ttl = None, *, tags: Tags = ()) -> int:
        """Store a value and return an LSN for `wait_durable`; see `Cache.set`."""
        lsn: int = await self._write("set", key, value, ttl, tags=tags)
        return lsn

    @overload
    async def get(
        self, key: Key, default: None = None, *, refresh_ttl: Ttl = None
    ) -> V | None: ...

    @overload
    async def get(self, key: Key, default: D, *, refresh_ttl: Ttl = None) -> V | D: ...

    async def get(
        self, key: Key, default: Any = None, *, refresh_ttl: Ttl = None
    ) -> Any:
        """Return the value, or `default` if absent or expired; see `Cache.get`."""
        if refresh_ttl is None:
            return await self._look("get", key, default)
        return await self._write("get", key, default, refresh_ttl=refresh_ttl)

    async def contains(self, key: Key) -> bool:
        """Tell whether a key is present."""
        present: bool = await self._look("__contains__", key)
        return present

    async def ttl(self, key: Key) -> float | None:
        """Return the seconds left, None for a key that is absent or never expires."""
        left: float | None = await self._look("ttl", key)
        return left

    async def add(
        self, key: Key, value: V, ttl: Ttl = None, *, tags: Tags = ()
    ) -> bool:
        """Store a value only if the key is absent; tell whether it was stored."""
        stored: bool = await self._write("add", key, value, ttl, tags=tags)
        return stored

    async def replace(
        self, key: Key, value: V, ttl: Ttl = None, *, tags: Tags = ()
    ) -> bool:
        """Store a value only if the key is present; tell whether it was stored."""
        stored: bool = await self._write("replace", key, value, ttl, tags=tags)
        return stored

    async def cas(
        self, key: Key, expected: Any, value: V, ttl: Ttl = None, *, tags: Tags = ()
    ) -> bool:
        """Store a value only if the present one equals `expected`."""
        stored: bool = await self._write("cas", key, expected, value, ttl, tags=tags)
        return stored

    async def incr(
        self, key: Key, delta: int = 1, initial: int = 0, ttl: Ttl = None
    ) -> int:
        """Add to an int and return the sum; see `Cache.incr`."""
        result: int = await self._write("incr", key, delta, initial, ttl)
        return result

    async def decr(
        self, key: Key, delta: int = 1, initial: int = 0, ttl: Ttl = None
    ) -> int:
        """Subtract from an int and return the difference; see `Cache.incr`."""
        result: int = await self._write("decr", key, delta, initial, ttl)
        return result

    async def delete(self, key: Key) -> bool:
        """Remove a key; tell whether it was present."""
        present: bool = await self._write("delete", key)
        return present

    async def pop(self, key: Key, default: Any = None) -> Any:
        """Remove a key and return its value, or `default` if it was absent."""
        return await self._write("pop", key, default)

    async def touch(self, key: Key, ttl: Ttl = None) -> bool:
        """Give a present key a new ttl; tell whether it was present."""
        present: bool = await self._write("touch", key, ttl)
        return present

    async def get_or_set(
        self,
        key: Key,
        factory: Callable[[], V | Awaitable[V]],
        ttl: Ttl = None,
        *,
        tags: Tags = (),
    ) -> V:
        """Return the value; if absent, store and return what `factory` makes.

        It is called in the loop; what it returns is awaited if it can be.
        """
        found: V = await self.get(key, MISSING)
        if found is not MISSING:
            return found
        made = factory()
        value: V = await made if inspect.isawaitable(made) else made
        await self.set(key, value, ttl, tags=tags)
        return value

    # Many keys

    async def get_many(self, keys: Iterable[K]) -> dict[K, V]:
        """Return the values of the keys that are present; see `Cache.get_many`."""
        wanted = list(keys)
        return await self._read(lambda cache: cache.get_many(wanted))

    async def set_many(
        self, mapping: Mapping[Any, V], ttl: Ttl = None, *, tags: Tags = ()
    ) -> int:
        """Store all values, or none, and return the LSN of the last."""
        lsn: int = await self._write("set_many", dict(mapping), ttl, tags=tags)
        return lsn

    async def delete_many(self, keys: Iterable[Key]) -> int:
        """Remove all keys at once and return how many were present."""
        present_count: int = await self._write("delete_many", list(keys))
        return present_count

    async def invalidate(self, tag: Key) -> int:
        """Make all entries with a tag absent, by one write; return its LSN."""
        lsn: int = await self._write("invalidate", tag)
        return lsn

    async def clear(self) -> None:
        """Remove every key."""
        await self._write("clear")

    async def count(self) -> int:
        """Return the number of keys: `len` of a Cache."""
        return await self._read(len)

    async def keys(self) -> AsyncIterator[bytes]:
        """Yield the keys in order; see `scan`."""
        found = await self._read(iter)
        async for key in self._stepwise(found):
            yield key

    async def scan(
        self,
        prefix: Key | None = None,
        start: Key | None = None,
        stop: Key | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[tuple[bytes, V]]:
        """Yield key and value of start <= key < stop in key order.

        They are fetched some hundreds at a time; each value was current then. Keys
        written meanwhile may or may not be seen. An open iterator costs nothing.
        """
        found = await self._read(
            lambda cache: cache.scan(prefix, start, stop, reverse, limit)
        )
        async for item in self._stepwise(found):
            yield item

    async def _stepwise(self, found: Iterator[T]) -> AsyncIterator[T]:
        count = 1  # a caller that needs few waits for few
        step: Any = True
        while step:
            count = min(count * 4, STEP_COUNT)
            step = await self._read(partial(_step, found, count))
            for item in step:
                yield item


def _step(found: Iterator[T], count: int, cache: object) -> list[T]:
    del cache
    return list(islice(found, count))

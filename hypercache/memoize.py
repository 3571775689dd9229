"""Functions whose results are kept in a cache."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from hypercache.arguments import key_bytes
from hypercache.call_keys import CallKeys
from hypercache.entries import Key
from hypercache.errors import ConfigError
from hypercache.recipe import Recipe
from hypercache.reserved import MAX_TAG_BYTES

P = ParamSpec("P")
Q = ParamSpec("Q")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")
_TAG = b"memoize:"
_DIGEST_BYTES = 16


class Maker(Protocol):
    """What is used of a cache."""

    def make(self, key: bytes, factory: Callable[[], Any], recipe: Recipe) -> Any:
        """Return the value of a key, made by `factory` if need be."""

    async def make_async(
        self, key: bytes, factory: Callable[[], Any], recipe: Recipe
    ) -> Any:
        """Return the value of a key, made by awaiting `factory` if need be."""

    def forget(self, key: bytes) -> bool:
        """Remove a key, and what is made for it now."""

    def invalidate(self, tag: Key) -> int:
        """Make all entries with a tag absent."""


@dataclass(frozen=True, slots=True)
class Naming:
    """How the calls of a function are named.

    Attributes:
        name: stands for the function; its module and name by default.
        ignore: parameters that make no difference.
        key: returns the key of a call instead, behind the name.
        tags: returns the tags of a call.
    """

    name: str | None = None
    ignore: Collection[str] = ()
    key: Callable[..., Key] | None = None
    tags: Callable[..., Iterable[Key]] | None = None


class Memoized(Generic[P, R_co]):
    """A function whose results are kept; called like the function itself.

    Made by `Cache.memoize`. An async function stays one. As an attribute of a class it
    is a method, whose `self` counts as an argument unless it is ignored.
    """

    __wrapped__: Callable[P, R_co]

    def __init__(
        self,
        maker: Maker,
        function: Callable[P, R_co],
        recipe: Recipe,
        naming: Naming,
    ) -> None:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(
            function
        ):
            raise ConfigError(f"{function!r} is a generator: let it return a list")
        functools.update_wrapper(self, function)
        self._maker, self._recipe, self._naming = maker, recipe, naming
        self._keys = CallKeys(function, naming.name, naming.ignore)
        self._tag = _fitting(_TAG + self._keys.name.encode())
        self._is_async = inspect.iscoroutinefunction(function)
        if self._is_async:
            # What asyncio.iscoroutinefunction looks for.
            self._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Return the result, which is kept or made now."""
        name = self._name(args, kwargs)
        make: Any = self._maker.make_async if self._is_async else self._maker.make
        call = functools.partial(self.__wrapped__, *args, **kwargs)
        made: R_co = make(name, call, self._recipe_of(args, kwargs))
        return made

    @overload
    def __get__(self, instance: None, owner: type) -> Memoized[P, R_co]: ...

    @overload
    def __get__(
        self: Memoized[Concatenate[S, Q], R_co], instance: S, owner: type
    ) -> BoundMemoized[Q, R_co]: ...

    def __get__(self, instance: Any, owner: type) -> Any:
        """Return the method of an instance."""
        return self if instance is None else BoundMemoized(self, instance)

    def key(self, *args: P.args, **kwargs: P.kwargs) -> bytes:
        """Return the key that the result of a call is kept under."""
        return self._name(args, kwargs)

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result of one call; tell whether there was one.

        A call that runs now is not kept either.
        """
        return self._maker.forget(self._name(args, kwargs))

    def invalidate_all(self) -> int:
        """Forget the results of all calls, by one write; return its LSN."""
        return self._maker.invalidate(self._tag)

    def _name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        if self._naming.key is None:
            return self._keys.key(args, kwargs).encode()
        own = key_bytes(self._naming.key(*args, **kwargs))
        return self._keys.name.encode() + b":" + own

    def _recipe_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recipe:
        own = self._naming.tags(*args, **kwargs) if self._naming.tags else ()
        return self._recipe.tagged(self._tag, *own)


class AsyncMemoized(Memoized[P, R_co]):
    """A `Memoized` whose calls are awaited, and whose results are forgotten so, too.

    Made by `AsyncCache.memoize`, of a function that need not be async.
    """

    def __init__(
        self,
        maker: Any,
        function: Callable[P, R_co],
        recipe: Recipe,
        naming: Naming,
    ) -> None:
        super().__init__(maker, function, recipe, naming)
        self._is_async = True

    async def invalidate(  # type: ignore[override]
        self, *args: P.args, **kwargs: P.kwargs
    ) -> bool:
        """Forget the result of one call; tell whether there was one."""
        was_there: bool = await self._maker.forget(self._name(args, kwargs))  # type: ignore[misc]
        return was_there

    async def invalidate_all(self) -> int:  # type: ignore[override]
        """Forget the results of all calls, by one write; return its LSN."""
        lsn: int = await self._maker.invalidate(self._tag)  # type: ignore[misc]
        return lsn


class BoundMemoized(Generic[Q, R_co]):
    """The method of one instance; see `Memoized`."""

    def __init__(self, memoized: Memoized[Any, R_co], instance: object) -> None:
        self._memoized, self._instance = memoized, instance

    def __call__(self, *args: Q.args, **kwargs: Q.kwargs) -> R_co:
        """Return the result, which is kept or made now."""
        return self._memoized(self._instance, *args, **kwargs)

    def key(self, *args: Q.args, **kwargs: Q.kwargs) -> bytes:
        """Return the key that the result of a call is kept under."""
        return self._memoized.key(self._instance, *args, **kwargs)

    def invalidate(self, *args: Q.args, **kwargs: Q.kwargs) -> bool:
        """Forget the result of one call; tell whether there was one."""
        return self._memoized.invalidate(self._instance, *args, **kwargs)


def _fitting(tag: bytes) -> bytes:
    if len(tag) <= MAX_TAG_BYTES:
        return tag
    digest = hashlib.blake2b(tag, digest_size=_DIGEST_BYTES).hexdigest().encode()
    return tag[: MAX_TAG_BYTES - len(digest)] + digest

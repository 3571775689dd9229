"""A cache as a MutableMapping."""

from __future__ import annotations

import reprlib
from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from typing import Any, Generic, Self, TypeVar

from hypercache.arguments import key_bytes
from hypercache.entries import MISSING
from hypercache.errors import ArgumentTypeError, HyperCacheError
from hypercache.key_value import KeyValues

K = TypeVar("K", str, bytes)
V = TypeVar("V")
_SHOWN = 5  # entries in a repr


class CacheMapping(MutableMapping[K, V], Generic[K, V]):
    """Show the entries of a cache like a dict that is sorted by key.

    Nothing is copied: each look is one at the cache, and iterating sees what is written
    meanwhile as `Cache.scan` does. What a cache does to entries, it does: they expire
    and are evicted.

    Args:
        cache: where the entries are.
        as_text: give keys as str. One that is not UTF-8 raises ArgumentTypeError when
            its turn comes; it is not left out.
    """

    def __init__(self, cache: KeyValues[V], *, as_text: bool) -> None:
        self._cache, self._as_text = cache, as_text

    def __getitem__(self, key: K) -> V:
        value: V = self._cache.get(key, MISSING)
        if value is MISSING:
            raise KeyError(key)
        return value

    def __setitem__(self, key: K, value: V) -> None:
        self._cache.set(key, value)

    def __delitem__(self, key: K) -> None:
        if not self._cache.delete(key):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, (str, bytes)) and key in self._cache

    def __iter__(self) -> Iterator[K]:
        return map(self._shown, self._cache)

    def __reversed__(self) -> Iterator[K]:
        return (self._shown(key) for key, _ in self._cache.scan(reverse=True))

    def __len__(self) -> int:
        return len(self._cache)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return dict(self.items()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    def __repr__(self) -> str:
        try:
            found = list(self._cache.scan(limit=_SHOWN + 1))
        except HyperCacheError as error:  # such as of a cache that is closed
            return f"<{type(self).__name__}: {type(error).__name__}>"
        shown = [f"{self._label(key)!r}: {reprlib.repr(value)}" for key, value in found]
        if len(found) > _SHOWN:
            shown[-1] = "..."
        return f"{type(self).__name__}({{{', '.join(shown)}}})"

    def keys(self) -> KeysView[K]:
        """Return a view of the keys, in order."""
        return KeysView(self)

    def items(self) -> ItemsView[K, V]:
        """Return a view of keys and values, in the order of the keys."""
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """Return a view of the values, in the order of the keys."""
        return _Values(self)

    def setdefault(self, key: K, default: Any = None) -> Any:
        """Return the value of a key, which is stored first if it is absent."""
        while True:
            value = self._cache.get(key, MISSING)
            if value is not MISSING:
                return value
            if self._cache.add(key, default):
                return default

    def pop(self, key: K, default: Any = MISSING) -> Any:
        """Remove a key and return its value, or `default`; KeyError without one."""
        value = self._cache.pop(key, MISSING)
        if value is not MISSING:
            return value
        if default is MISSING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[K, V]:
        """Remove the entry with the highest key and return it; KeyError without any."""
        for name, _ in self._cache.scan(reverse=True):
            key: K = self._shown(name)  # before it is removed: it may not be UTF-8
            value = self._cache.pop(name, MISSING)
            if value is not MISSING:
                return key, value
        raise KeyError("popitem(): the mapping is empty")

    def update(self, other: Any = (), /, **named: Any) -> None:
        """Store all entries of a mapping, or of pairs, at once or not at all."""
        named_bytes = {name.encode(): value for name, value in named.items()}
        self._cache.set_many({**_as_dict(other), **named_bytes})

    def clear(self) -> None:
        """Remove every key."""
        self._cache.clear()

    def _label(self, key: bytes) -> str | bytes:
        return key.decode(errors="backslashreplace") if self._as_text else key

    def _shown(self, key: bytes) -> Any:
        if not self._as_text:
            return key
        try:
            return key.decode()
        except UnicodeDecodeError as error:
            raise ArgumentTypeError(
                f"the key {key!r} is no UTF-8; use mapping(bytes)"
            ) from error


class _Items(ItemsView[K, V]):
    _mapping: CacheMapping[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        mapping = self._mapping
        return ((mapping._shown(key), value) for key, value in mapping._cache.scan())


class _Values(ValuesView[V]):
    _mapping: CacheMapping[Any, V]

    def __iter__(self) -> Iterator[V]:
        return (value for _, value in self._mapping._cache.scan())

    def __contains__(self, value: object) -> bool:
        return any(found is value or found == value for found in self)


def _as_dict(other: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    pairs = other.items() if isinstance(other, Mapping) else _pairs(other)
    # By bytes: "a" and b"a" are one key, of which the last value counts.
    return {key_bytes(key): value for key, value in pairs}


def _pairs(other: Any) -> Iterable[tuple[Any, Any]]:
    if hasattr(other, "keys"):  # what dict.update takes for a mapping
        return ((key, other[key]) for key in other.keys())  # noqa: SIM118
    pairs: Iterable[tuple[Any, Any]] = other
    return pairs

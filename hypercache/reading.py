"""Read one value: what a hit costs is decided here."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from hypercache.arguments import key_bytes
from hypercache.entries import FRONTS, MISSING, UNASKED, Entries, Key, Ttl
from hypercache.errors import DeserializationError
from hypercache.ops import check_key
from hypercache.storage import ticks_ns

if TYPE_CHECKING:
    # Only type checkers need the default: a bare Cache is a Cache[Any].
    from typing_extensions import TypeVar as TypeVarWithDefault

    V = TypeVarWithDefault("V", default=Any)
else:
    V = TypeVar("V")
D = TypeVar("D")
_HITS_PER_SAMPLE = 256  # one of them is timed
# One in so many, plus one, is timed; a power of two, less one, so that one & tells.
_READS_PER_SAMPLE = 63


class Reading(Entries, Generic[V]):
    """Look values up."""

    @overload
    def get(
        self, key: Key, default: None = None, refresh_ttl: Ttl = None
    ) -> V | None: ...

    @overload
    def get(self, key: Key, default: D, refresh_ttl: Ttl = None) -> V | D: ...

    def get(self, key: Key, default: Any = None, refresh_ttl: Ttl = None) -> Any:
        """Return the value, or `default` for a key that is absent or expired.

        With `refresh_ttl` it lives on for so long from now; a write, made only where
        the expiry moves by a hundredth of that or more.

        Raises:
            CorruptionError: the stored value is damaged.
            DeserializationError: another serializer wrote it.
        """
        # What a hit costs: no call more than these, and none with a keyword. As
        # `self._find(name)` it would be looked for in the class first: a tenth more.
        if refresh_ttl is None:
            name: Any = key
            if type(key) is str:
                try:
                    name = key.encode()
                except UnicodeEncodeError:
                    name = key_bytes(key)
            elif type(key) is not bytes:
                name = key_bytes(key)
            find = self._find
            data = find(name)
            if type(data) not in self._kept:
                if type(data) is not self._form:
                    return self._read(name, data, default)
                try:
                    decode = self._decode_bytes
                    data = decode(data)
                except DeserializationError:
                    return self._read(name, UNASKED, default)
                if type(data) in FRONTS:
                    return self._read(name, UNASKED, default)
            note_access = self._note_access
            note_access(name)
            # No thread gets its turn between load and store, where there is a GIL.
            self._hits = hits = self._hits + 1
            if hits < self._timed_hit:
                return data
            return self._get_again(name, default)
        self._refresh(key_bytes(key), refresh_ttl)
        return self._read(key_bytes(key), UNASKED, default)

    def _get_again(self, key: bytes, default: Any) -> Any:
        """Time a hit that is like the last one, and is not counted."""
        self._timed_hit = self._hits + _HITS_PER_SAMPLE
        began_ns = ticks_ns()
        data = self.get(key, default)
        self._get_times.note(ticks_ns() - began_ns)
        self._hits -= 1
        self._sample.tick(self._hits + self._misses)
        return data

    def _read(self, key: bytes, data: Any, default: Any) -> Any:
        """Return the value where that takes more than `_find`, which found `data`."""
        self._reads += 1
        began_ns = 0 if self._reads & _READS_PER_SAMPLE else ticks_ns()
        if data is not None or not self._finds_all:
            data = self._engine.get(key)
        value = MISSING if data is None else self._decode(key, data)
        if value is MISSING:
            check_key(key)
            self._misses += 1
            value = default
            if self._sample.recording:
                self._sample.missed(key)
        else:
            self._note_access(key)
            self._hits += 1
        if began_ns:
            self._get_times.note(ticks_ns() - began_ns)
            self._sample.tick(self._hits + self._misses, self._misses)
        return value

    @abstractmethod
    def _refresh(self, key: bytes, ttl: Ttl) -> None:
        """Let an entry that is there live on for so long."""

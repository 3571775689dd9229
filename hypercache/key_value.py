"""Typed values under str or bytes keys, over a storage engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Self, TypeVar, overload

from hypercache import arguments, reserved
from hypercache import tags as tagging
from hypercache.arguments import key_bytes
from hypercache.attributes import Attributes
from hypercache.engines.base import Delete, KeyOp, Put, Touch
from hypercache.entries import MISSING, Key, Shown, Tags, Ttl, unasked
from hypercache.ops import check_key
from hypercache.reading import D, Reading, V
from hypercache.storage import ticks_ns
from hypercache.transaction import TransactionView

K = TypeVar("K", bound=Key)
_SLACK = 100  # a ttl is refreshed where the expiry moves by one in so many
_SETS_PER_SAMPLE = 63  # one in so many, plus one, is timed: see `reading`


class KeyValues(Reading[V]):
    """Read and write the values of one store."""

    # One key

    def set(self, key: Key, value: V, ttl: Ttl = None, *, tags: Tags = ()) -> int:
        """Store a value and return its LSN, a receipt for `wait_durable`.

        On return it is acknowledged as the sync policy says. On a volatile cache and
        inside a transaction the LSN is 0. `invalidate` takes one of its tags.

        Raises:
            SerializationError: the serializer cannot encode the value.
            LimitError: key, value, ttl or a tag out of range.
            DiskFullError: no space; it works again when there is some.
            StorageFailedError: the log failed; the write may be lost.
        """
        if tags != ():
            return self._store_tagged({key: value}, ttl, tags)
        began_ns = 0 if self._sets & _SETS_PER_SAMPLE else ticks_ns()
        self._sets += 1
        encode = self._encode
        data = encode(value)
        if type(key) is not bytes:
            key = key_bytes(key)
        if key < reserved.LOWEST_FREE:
            reserved.refuse(key)
        if ttl is None and not self._default_ttl_ms:
            lsn = self._engine.put(key, data)
        else:
            lsn = self._engine.put(key, data, self._expires_at_ms(ttl))
        if self._sample.recording:
            self._note_stored(key, data, ttl)
        if began_ns:
            self._set_times.note(ticks_ns() - began_ns)
        return lsn

    def _note_stored(self, key: bytes, data: bytes, ttl: Ttl) -> None:
        expires_at_ms = self._expires_at_ms(ttl)
        slot: Any = (data, expires_at_ms) if expires_at_ms else data
        self._sample.stored(key, self._charge(key, slot), expires_at_ms)

    def _refresh(self, key: bytes, ttl: Ttl) -> None:
        expires_at_ms = self._expires_at_ms(ttl)
        entry = self._engine.get_entry(key)
        if entry is None or entry.expires_at_ms == expires_at_ms:
            return
        moved_ms = abs(expires_at_ms - entry.expires_at_ms)
        ends = entry.expires_at_ms and expires_at_ms
        if not ends or moved_ms * _SLACK >= arguments.ttl_ms(ttl):
            self.touch(key, ttl)

    def expire(self) -> int:
        """Remove all entries that have expired by now, and return how many.

        It goes on by itself, too, in small steps; nothing that has expired is ever
        shown. What was invalidated, or is stale for good, is removed only here and by
        eviction.
        """
        return self._engine.sweep() + self._remove_dead()

    def add(self, key: Key, value: V, ttl: Ttl = None, *, tags: Tags = ()) -> bool:
        """Store a value only if the key is absent; tell whether it was stored."""
        return self._store_if(lambda shown: shown is None, key, value, ttl, tags)

    def replace(self, key: Key, value: V, ttl: Ttl = None, *, tags: Tags = ()) -> bool:
        """Store a value only if the key is present; tell whether it was stored."""
        return self._store_if(lambda shown: shown is not None, key, value, ttl, tags)

    def cas(
        self, key: Key, expected: Any, value: V, ttl: Ttl = None, *, tags: Tags = ()
    ) -> bool:
        """Store a value only if the present one equals `expected`."""
        name = key_bytes(key)

        def is_wanted(shown: Shown | None) -> bool:
            return shown is not None and self._decode(name, shown.value) == expected

        return self._store_if(is_wanted, name, value, ttl, tags)

    def incr(self, key: Key, delta: int = 1, initial: int = 0, ttl: Ttl = None) -> int:
        """Add to an int and return the sum; an absent key counts as `initial`.

        Without a ttl a present key keeps its expiry.

        Raises:
            ArgumentTypeError: the value, `delta` or `initial` is not an int.
        """
        name = key_bytes(key)
        result = 0

        def change(shown: Shown | None) -> KeyOp:
            nonlocal result
            current = self._decode(name, shown.value) if shown else initial
            result = arguments.integer(current, name) + arguments.integer(delta)
            if shown is None or ttl is not None:
                return self._put(name, result, ttl, shown and shown.attributes)
            data = self._stored(result, shown.attributes)
            return Put(name, data, shown.expires_at_ms)

        self._update(name, change)
        return result

    def decr(self, key: Key, delta: int = 1, initial: int = 0, ttl: Ttl = None) -> int:
        """Subtract from an int and return the difference; see `incr`."""
        return self.incr(key, -arguments.integer(delta), initial, ttl)

    def delete(self, key: Key) -> bool:
        """Remove a key; tell whether it was present."""
        op = Delete(key_bytes(key))
        if self._sample.recording:
            self._sample.deleted(op.key)
        return self._update(op.key, lambda shown: op if shown else None)

    @overload
    def pop(self, key: Key, default: None = None) -> V | None: ...

    @overload
    def pop(self, key: Key, default: D) -> V | D: ...

    def pop(self, key: Key, default: Any = None) -> Any:
        """Remove a key and return its value, or `default` if it was absent."""
        name = key_bytes(key)
        value = default

        def change(shown: Shown | None) -> KeyOp | None:
            nonlocal value
            if shown is None:
                return None
            value = self._decode(name, shown.value)
            return Delete(name)

        self._update(name, change)
        return value

    def touch(self, key: Key, ttl: Ttl = None) -> bool:
        """Give a present key a new ttl; tell whether it was present."""
        op = Touch(key_bytes(key), self._expires_at_ms(ttl))

        def change(shown: Shown | None) -> KeyOp | None:
            if shown is None or not shown.attributes.fresh_until_ms:
                return op if shown else None
            value = self._decode(op.key, shown.value)
            attributes = Attributes(shown.attributes.tags)
            return Put(op.key, self._stored(value, attributes), op.expires_at_ms)

        return self._update(op.key, change)

    def ttl(self, key: Key) -> float | None:
        """Return the seconds left, None for a key that is absent or never expires."""
        name = key_bytes(key)
        check_key(name)
        shown = self._shown(self._engine.get_entry(name))
        if shown is None:
            return None
        ends_at_ms = shown.attributes.fresh_until_ms or shown.expires_at_ms
        if not ends_at_ms:
            return None
        return max(0.0, ends_at_ms - self._engine.now_ms()) / 1000

    # Many keys

    def get_many(self, keys: Iterable[K]) -> dict[K, V]:
        """Return the values of the keys that are present, under the keys as passed.

        They are as of one moment: a batch is seen whole or not at all.
        """
        names = {key: key_bytes(key) for key in keys}
        for name in names.values():
            check_key(name)
        found = self._engine.get_many(names.values())
        values = {
            key: self._decode(name, found[name])
            for key, name in names.items()
            if name in found
        }
        shown = {key: value for key, value in values.items() if value is not MISSING}
        for key in shown:
            self._note_access(names[key])
        self._hits += len(shown)
        self._misses += len(names) - len(shown)
        return shown

    def set_many(
        self, mapping: Mapping[Any, V], ttl: Ttl = None, *, tags: Tags = ()
    ) -> int:
        """Store all values, or none, and return the LSN of the last."""
        if tags != ():
            return self._store_tagged(mapping, ttl, tags)
        puts = [self._put(key, value, ttl) for key, value in mapping.items()]
        return self._engine.apply(puts)

    def delete_many(self, keys: Iterable[Key]) -> int:
        """Remove all keys at once and return how many were present."""
        ops = {name: Delete(name) for name in map(key_bytes, keys)}
        for name in ops:
            check_key(name)
        with self._engine.exclusive():
            found = self._engine.get_entry
            present = [op for op in ops.values() if self._shown(found(op.key))]
            self._engine.apply(present)
        return len(present)

    def invalidate(self, tag: Key) -> int:
        """Make all entries with a tag absent, and return the LSN of that.

        One write, whatever their number; durable as a write is, and all or nothing.
        They take room until they are written over, evicted or swept by `expire`.

        Raises:
            LimitError: the tag is empty or longer than 255 bytes.
        """
        return self._engine.apply([Delete(tagging.record_key(tag))])

    def clear(self) -> None:
        """Remove every key."""
        self._engine.clear()
        self._attributed = False

    def scan(
        self,
        prefix: Key | None = None,
        start: Key | None = None,
        stop: Key | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[bytes, V]]:
        """Yield key and value of start <= key < stop in key order.

        Each value is current when it is yielded; keys written meanwhile may or may
        not be seen. An open iterator costs nothing.
        """
        low, high = arguments.key_range(prefix, start, stop)
        found = self._entries(low, high, reverse)
        wanted = islice(found, arguments.limit(limit))
        return ((key, self._decode(key, shown.value)) for key, shown in wanted)

    def __getitem__(self, key: Key) -> V:
        value: V = self.get(key, MISSING)
        if value is MISSING:
            raise KeyError(key)
        return value

    def __setitem__(self, key: Key, value: V) -> None:
        self.set(key, value)

    def __delitem__(self, key: Key) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def __contains__(self, key: Key) -> bool:
        name = key_bytes(key)
        check_key(name)
        return self._shown(self._engine.get_entry(name)) is not None

    def __len__(self) -> int:
        if not self._attributed and self._engine.get(reserved.ATTRIBUTED) is None:
            return self._engine.count()
        return sum(1 for _ in self._entries(None, None))

    def __iter__(self) -> Iterator[bytes]:
        for key, _ in self._entries(None, None):
            yield key

    # All or nothing

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Self]:
        """Make the writes of the block one batch: all of them, or on error none.

        Inside, this thread sees its own writes; others see them when the block has
        ended, and their writes wait until then. Blocks may be nested: an inner one that
        fails takes back only its own writes. An LSN inside the block is 0.

        Raises:
            TransactionError: sync, checkpoint, check or close inside the block.
        """
        with self._engine.exclusive():
            below, find = self._engine, self._find
            view = TransactionView(below)
            self._engine, self._find = view, unasked
            try:
                yield self
                self._engine, self._find = below, find
                view.commit()
            finally:
                self._engine, self._find = below, find
                view.end()

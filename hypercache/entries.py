"""What a cache stores for a value, and which entries of a store it shows.

An entry may have attributes in front of its value: tags, and until when it is fresh. It
is shown while these hold. Records that the cache keeps for itself never are.
"""

from __future__ import annotations

import random
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from hypercache import arguments, reserved, sweeper
from hypercache import tags as tagging
from hypercache.advice import ReferenceSample, Source, Totals
from hypercache.arguments import key_bytes
from hypercache.attributes import Attributed, Attributes, Record, record
from hypercache.codec import Codec
from hypercache.engines.base import Delete, Entry, KeyOp, Put, StorageEngine
from hypercache.engines.costs import entry_bytes, stored_bytes
from hypercache.errors import DeserializationError
from hypercache.handle import StoreHandle
from hypercache.hooks import Hooks, ToldEngine
from hypercache.latency import Histogram
from hypercache.transaction import TransactionView

Key = str | bytes
Ttl = float | timedelta | None
Tags = Iterable[Key]
MISSING: Any = object()
UNASKED: Any = object()  # stands for what only the engine can tell
_IGNORE: Any = deque(maxlen=0).append
_NOTHING = Attributes()
FRONTS = (Attributed, Record)


def unasked(_key: bytes) -> Any:
    """Stand for a look-up that would not see what a transaction has written."""
    return UNASKED


class Shown(NamedTuple):
    """An entry as callers see it: the stored form of its value, and what is known."""

    value: bytes
    expires_at_ms: int
    attributes: Attributes = Attributes()


class Settings(NamedTuple):
    """What a cache does with values and with a ttl."""

    codec: Codec
    default_ttl_ms: float = 0
    ttl_jitter: float = 0.0
    hooks: Hooks = Hooks()
    max_items: int | None = None
    max_bytes: int | None = None
    eviction: str = "s3fifo"
    sweeps: bool = True


def _sample_of(entries: Entries) -> ReferenceSample:
    """Return what records a part of the references."""
    # `entries` is a weak proxy: in a circle a forgotten cache would stay open.
    capacity = entries._settings.max_items

    def totals() -> Totals:
        return Totals(entries._hits + entries._misses, entries._misses)

    def room_count() -> int:
        return capacity or max(1, entries._whole.count())

    def switch(note: Callable[[bytes], object]) -> None:
        entries._note_access = note

    now_ms = entries._whole.now_ms
    return ReferenceSample(
        Source(totals, room_count, now_ms, entries._note_access, switch)
    )


class _TaggedError(Exception):
    """Say that an entry has tags."""


class Entries(StoreHandle):
    """Store and show the entries of one engine."""

    def __init__(self, engine: StorageEngine, settings: Settings) -> None:
        super().__init__(engine)
        self._settings = settings
        self._default_ttl_ms = settings.default_ttl_ms
        self._is_swept = not settings.sweeps
        self._attributed = False  # whether an entry with attributes was seen
        self._hits = self._misses = self._reads = self._sets = 0
        self._timed_hit = 0  # the hit with this number is the next to be timed
        self._get_times, self._set_times = Histogram(), Histogram()
        self._serve(engine)

    def _put(
        self, key: Key, value: Any, ttl: Ttl, attributes: Attributes | None = None
    ) -> Put:
        name = key if type(key) is bytes else key_bytes(key)
        if name < reserved.LOWEST_FREE:
            reserved.refuse(name)
        data = self._stored(value, attributes)
        if ttl is None and not self._default_ttl_ms:
            return Put(name, data)
        return Put(name, data, self._expires_at_ms(ttl))

    def _stored(self, value: Any, attributes: Attributes | None) -> bytes:
        if not attributes or attributes == _NOTHING:
            return self._encode(value)
        return self._codec.with_attributes(value, attributes)

    def _store_if(
        self,
        is_wanted: Callable[[Shown | None], bool],
        key: Key,
        value: Any,
        ttl: Ttl,
        tags: Tags,
    ) -> bool:
        if tags == ():
            put = self._put(key, value, ttl)
            return self._update(
                put.key, lambda shown: put if is_wanted(shown) else None
            )
        with self._engine.exclusive():
            wanted = is_wanted(self._shown(self._engine.get_entry(key_bytes(key))))
            if wanted:
                self._store_tagged({key: value}, ttl, tags)
            return wanted

    def _store_tagged(self, mapping: Mapping[Any, Any], ttl: Ttl, tags: Tags) -> int:
        names = tagging.names(tags)
        noted, begun = self._generations(names)
        if not begun:
            # Invalidated in this moment, the new entries are: no lock is needed.
            return self._store_all(mapping, ttl, Attributes(noted), [])
        with self._engine.exclusive():
            noted, begun = self._generations(names)
            return self._store_all(mapping, ttl, Attributes(noted), begun)

    def _store_all(
        self,
        mapping: Mapping[Any, Any],
        ttl: Ttl,
        attributes: Attributes,
        begun: list[Put],
    ) -> int:
        puts = [
            self._put(key, value, ttl, attributes) for key, value in mapping.items()
        ]
        if attributes != _NOTHING:
            begun = [*begun, *self._marker()]
        return self._engine.apply([*begun, *puts])

    def _marker(self) -> list[Put]:
        """Return the write that tells `len` that it must look at each entry."""
        self._attributed = True
        if self._engine.get(reserved.ATTRIBUTED) is not None:
            return []
        return [Put(reserved.ATTRIBUTED, self._codec.form(record(b"")))]

    def _generations(
        self, names: Iterable[bytes]
    ) -> tuple[tagging.Generations, list[Put]]:
        return tagging.generations(self._engine, names, self._codec.form)

    def _begun(self, names: tuple[bytes, ...]) -> tagging.Generations:
        """Return the generations of tags, which are begun now if they have none."""
        noted, begun = self._generations(names)
        if begun:
            with self._engine.exclusive():
                noted, begun = self._generations(names)
                self._engine.apply(begun)
        return noted

    def _in_transaction(self) -> bool:
        """Tell whether this thread is inside a transaction of this cache."""
        engine = self._engine
        return isinstance(engine, TransactionView) and engine.is_mine()

    def _update(
        self, key: bytes, change: Callable[[Shown | None], KeyOp | None]
    ) -> bool:
        """Apply to one key what `change` makes of what is shown, atomically."""

        def decide(entry: Entry | None) -> KeyOp | None:
            if entry is not None and self._has_tags(entry):
                raise _TaggedError
            return change(self._shown(entry))

        try:
            return self._engine.update(key, decide) is not None
        except _TaggedError:
            # What an update calls must not ask the engine for generations.
            with self._engine.exclusive():
                op = change(self._shown(self._engine.get_entry(key)))
                self._engine.apply([] if op is None else [op])
            return op is not None

    def _has_tags(self, entry: Entry) -> bool:
        found = self._codec.split(entry.value)
        return isinstance(found, Attributed) and bool(found.attributes.tags)

    def _shown(self, entry: Entry | None) -> Shown | None:
        """Return an entry without its front, None if it is not for callers now."""
        if entry is None:
            return None
        found = self._codec.split(entry.value)
        if found is None:
            return Shown(*entry)
        if isinstance(found, Record) or not self._is_fresh(found.attributes):
            return None
        return Shown(found.stored, entry.expires_at_ms, found.attributes)

    def _is_fresh(self, attributes: Attributes) -> bool:
        self._attributed = True
        ends_at_ms = attributes.fresh_until_ms
        if ends_at_ms and ends_at_ms <= self._engine.now_ms():
            return False
        return self._is_valid(attributes)

    def _is_valid(self, attributes: Attributes) -> bool:
        tags, note_access = attributes.tags, self._note_access
        return not tags or tagging.are_current(self._engine, tags, note_access)

    def _entries(
        self, low: bytes | None, high: bytes | None, reverse: bool = False
    ) -> Iterator[tuple[bytes, Shown]]:
        for bounds in reserved.ranges(low, high, reverse):
            for key, entry in self._engine.scan(*bounds, reverse=reverse):
                shown = self._shown(entry)
                if shown is not None:
                    yield key, shown

    def _remove_dead(self) -> int:
        """Remove what was invalidated, and return how much that was."""
        if not self._attributed and self._engine.get(reserved.ATTRIBUTED) is None:
            return 0
        removed = 0
        found = (
            pair
            for bounds in reserved.ranges(None, None, reverse=False)
            for pair in self._engine.scan(*bounds)
        )
        for key, entry in found:
            if self._is_dead(entry):
                removed += self._remove_if_dead(key)
        return removed

    def _remove_if_dead(self, key: bytes) -> bool:
        with self._engine.exclusive():
            is_dead = self._is_dead(self._engine.get_entry(key))
            self._engine.apply([Delete(key)] if is_dead else [])
        return is_dead

    def _is_dead(self, entry: Entry | None) -> bool:
        found = entry and self._codec.split(entry.value)
        return isinstance(found, Attributed) and not self._is_valid(found.attributes)

    def _decode(self, key: bytes, data: bytes) -> Any:
        """Return the value of a stored form, MISSING for one that is not shown."""
        try:
            value: Any = self._decode_bytes(data)
            if type(value) in FRONTS:
                if type(value) is Record or not self._is_fresh(value.attributes):
                    return MISSING
                value = self._decode_bytes(value.stored)
        except DeserializationError as error:
            error.add_note(f"key: {key!r}")
            raise
        return value

    def _expires_at_ms(self, ttl: Ttl) -> int:
        left_ms = self._default_ttl_ms if ttl is None else arguments.ttl_ms(ttl)
        if not left_ms:
            return 0
        if not self._is_swept:
            self._begin_to_sweep()
        if self._settings.ttl_jitter:
            left_ms -= left_ms * self._settings.ttl_jitter * random.random()  # noqa: S311
        return int(self._engine.now_ms() + left_ms)

    def _serve(self, engine: StorageEngine) -> None:
        """Keep at hand what each call needs of an engine."""
        if any(self._settings.hooks):
            told: Any = ToldEngine(engine, self._settings.hooks)
            engine = told
        self._engine = self._whole = engine  # a transaction takes the place of one
        codec = self._settings.codec
        self._codec = codec = codec.in_ram() if engine.keeps_objects else codec
        self._encode, self._decode_bytes = codec.encode, codec.decode
        self._kept, self._form = codec.kept, codec.form
        in_ram = engine.keeps_objects or engine.stats().engine == "memory"
        self._charge = entry_bytes if in_ram else stored_bytes
        self._note_access = engine.access_hook() or _IGNORE
        self._find = engine.maybe_find() or engine.get
        self._finds_all = engine.maybe_find() is None  # None is then the whole truth
        self._sample = _sample_of(weakref.proxy(self))
        self._attributed = False
        if not self._is_swept and engine.may_expire:
            self._begin_to_sweep()

    def _begin_to_sweep(self) -> None:
        self._is_swept = True
        sweeper.watch(self._whole)

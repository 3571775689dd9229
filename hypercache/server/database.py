"""One database: what clients see of a store, and what of it is not written yet.

The writes of a group wait in `pending`, which all reads see, until `commit` hands them
to the engine as one batch. One thread calls everything here.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from hypercache import reserved, sweeper, tags
from hypercache.attributes import MARKER, Attributed
from hypercache.codec import Codec
from hypercache.engines.base import Delete, Entry, KeyOp, Put, StorageEngine, Touch
from hypercache.engines.slots import ABSENT, Absent, Slot, slot_of
from hypercache.errors import HyperCacheError, LimitError
from hypercache.ops import check_expiry, check_key, check_value
from hypercache.options import MIB
from hypercache.server import values
from hypercache.server.errors import WrongTypeError

# What a batch takes at most; a frame has room for 1 GiB.
_MOST_PENDING_BYTES = 768 * MIB


class _Touched(tuple[bytes, int]):
    """Mark the slot of a key of which only the expiry changes."""

    __slots__ = ()


class Value(NamedTuple):
    """What a client sees under a key."""

    data: bytes
    expires_at_ms: int = 0


class Database:
    """Find and change the values of one store.

    Args:
        opens: makes the store when it is first written to; till then `engine` stands
            for it, and has nothing.

    Attributes:
        pending: the slots of keys that were written and not committed.
        pending_bytes: of the values among them that took a closer look.
        is_shared: whether other processes may write to the store.
        hit_count, miss_count: of reads by clients.
        on_change: told of the keys that a commit has changed; None stands for all
            keys, which are about to go.
    """

    def __init__(
        self,
        engine: StorageEngine,
        codec: Codec,
        opens: Callable[[], StorageEngine] | None = None,
    ) -> None:
        self.pending: dict[bytes, Slot] = {}
        self.pending_bytes = 0
        self.hit_count = self.miss_count = 0
        self.on_change: Callable[[Iterable[bytes] | None], None] | None = None
        self._codec = codec
        self._is_plain = codec.serializer_name == "bytes"
        self._opens = opens
        self._locked = contextlib.ExitStack()
        self._is_locked = self._is_swept = False
        self._serve(engine)

    def _serve(self, engine: StorageEngine) -> None:
        self.engine = engine
        self.is_shared = engine.has_other_writers
        self.now_ms = engine.now_ms
        self._get = engine.get
        self._note_access = engine.access_hook()

    @property
    def is_open(self) -> bool:
        """Tell whether there is a store for it."""
        return self._opens is None

    def find(self, key: bytes) -> bytes | None:
        """Return the value of a key, None without one.

        Raises:
            WrongTypeError: it is nothing that a client could read.
            CorruptionError: it is damaged.
        """
        if self.pending and key in self.pending:
            found = self.find_value(key)
            return None if found is None else found.data
        stored = self._get(key)
        if stored is None:
            return None
        if self._note_access is not None:
            self._note_access(key)
        if self._is_plain and stored[:1] != MARKER:
            return stored
        return self._shown(stored)

    def find_value(self, key: bytes) -> Value | None:
        """Return value and expiry; raises as `find` does."""
        found = self.find_entry(key)
        if found is None:
            return None
        data = self._shown(found.value)
        return None if data is None else Value(data, found.expires_at_ms)

    def find_or_none(self, key: bytes) -> bytes | None:
        """Return the value of a key, None without one that a client could read."""
        try:
            return self.find(key)
        except WrongTypeError:
            return None

    def find_entry(self, key: bytes) -> Entry | None:
        """Return the stored form of a value and its expiry, if it is shown."""
        slot = self.pending.get(key, ABSENT)
        if isinstance(slot, Absent):
            entry = self.engine.get_entry(key)
            if entry is None or not self._is_shown(entry.value):
                return None
            if self._note_access is not None:
                self._note_access(key)
            return entry
        if slot is None:
            return None
        entry = Entry(*slot) if isinstance(slot, tuple) else Entry(slot)
        is_over = 0 < entry.expires_at_ms <= self.now_ms()
        return None if is_over else entry

    def exists(self, key: bytes) -> bool:
        """Tell whether a key has a value, of whatever kind."""
        return self.find_entry(key) is not None

    def copy(self, source: bytes, other: Database, target: bytes) -> None:
        """Write the value of a key to another one, and its expiry.

        Raises:
            LimitError: the other key is out of range.
        """
        found = self.find_entry(source)
        assert found is not None
        other.put_stored(target, *found)

    def put(self, key: bytes, data: bytes, expires_at_ms: int = 0) -> None:
        """Write a value.

        Raises:
            LimitError: key or value is out of range, or too much is pending.
            WrongTypeError: the store keeps text, and this is none.
        """
        check_value(key, data)
        if expires_at_ms:
            check_expiry(key, expires_at_ms)
        self.put_stored(key, values.encoded(self._codec, data), expires_at_ms)

    def put_stored(self, key: bytes, stored: bytes, expires_at_ms: int) -> None:
        """Write the stored form of a value; raises LimitError as `put` does."""
        check_key(key)
        reserved.refuse(key)
        self.pending_bytes += len(stored)
        if self.pending_bytes > _MOST_PENDING_BYTES:
            raise LimitError(
                f"a transaction writes at most {_MOST_PENDING_BYTES} bytes"
            )
        self.pending[key] = slot_of(stored, expires_at_ms)

    def put_all(self, pairs: dict[bytes, bytes]) -> None:
        """Write values that never expire, or none of them; raises as `put` does."""
        before, before_bytes = self.pending.copy(), self.pending_bytes
        try:
            for key, data in pairs.items():
                self.put(key, data)
        except HyperCacheError:
            self.pending, self.pending_bytes = before, before_bytes
            raise

    def expire(self, key: bytes, expires_at_ms: int) -> None:
        """Change when a key expires that has a value; 0: never. May be over already."""
        if expires_at_ms and expires_at_ms <= self.now_ms():
            self.remove(key)
            return
        slot = self.pending.get(key)
        if slot is None:
            entry = self.engine.get_entry(key)
            assert entry is not None
            if entry.expires_at_ms != expires_at_ms:
                self.pending[key] = _Touched((entry.value, expires_at_ms))
            return
        stored = slot[0] if isinstance(slot, tuple) else slot
        kind = type(slot) if isinstance(slot, _Touched) else tuple
        self.pending[key] = kind((stored, expires_at_ms))

    def put_plain(self, key: bytes, data: bytes) -> None:
        """Write a value that never expires; the same as `put`, and fast."""
        if (
            self._is_plain
            and key >= reserved.LOWEST_FREE
            and len(key) <= 0xFFFF
            and data[:1] != MARKER
        ):
            self.pending[key] = data
        else:
            self.put(key, data)

    def remove(self, key: bytes) -> None:
        """Remove a key that has a value."""
        reserved.refuse(key)
        self.pending[key] = None

    def keys(
        self, start: bytes | None = None, stop: bytes | None = None
    ) -> Iterator[bytes]:
        """Yield the keys with start <= key < stop in order, pending ones, too."""
        pending = self.pending.copy()
        if not pending:
            return self._written(start, stop)
        low = start or b""
        new = sorted(
            key
            for key in pending
            if low <= key and (stop is None or key < stop) and self.exists(key)
        )
        old = (key for key in self._written(start, stop) if key not in pending)
        return heapq.merge(old, new)

    def count(self) -> int:
        """Return the number of keys, pending ones among them."""
        if self.engine.get(reserved.ATTRIBUTED) is not None:
            return sum(1 for _ in self.keys())
        found = self.engine.get_entry
        more = sum(self.exists(key) - bool(found(key)) for key in self.pending)
        return self.engine.count() + more

    def clear(self) -> None:
        """Remove every key, pending writes with them, and commit that."""
        self.pending.clear()
        self.pending_bytes = 0
        if self.on_change is not None:
            self.on_change(None)  # while it can be seen what there was
        self.engine.clear()

    def lock(self) -> None:
        """Keep other processes from writing until the next commit."""
        if self.is_shared and not self._is_locked:
            self._locked.enter_context(self.engine.exclusive())
            self._is_locked = True

    def commit(self) -> None:
        """Write all that is pending, as one batch; after an error nothing is pending.

        Raises:
            DiskFullError, CacheFullError: nothing of it was written.
            StorageFailedError: nobody knows; the store takes no more writes.
        """
        pending, self.pending = self.pending, {}
        self.pending_bytes = 0
        if not pending and not self._is_locked:
            return
        changed = list(pending) if self.on_change is not None else ()
        with self._unlocking():
            if pending and self._opens is not None:
                self._serve(self._opens())
                self._opens = None
            if len(pending) == 1:
                self._commit_one(*pending.popitem())
            elif pending:
                self._commit_all(pending)
        if self.on_change is not None:
            self.on_change(changed)

    def discard(self) -> None:
        """Forget what is pending."""
        self.pending.clear()
        self.pending_bytes = 0
        with self._unlocking():
            pass

    def _unlocking(self) -> contextlib.ExitStack:
        self._is_locked = False
        return self._locked.pop_all()

    def _commit_one(self, key: bytes, slot: Slot) -> None:
        if type(slot) is bytes:
            self.engine.put(key, slot)
        else:
            self._commit_all({key: slot})

    def _commit_all(self, pending: dict[bytes, Any]) -> None:
        if set(map(type, pending.values())) == {bytes}:
            self.engine.put_many(pending)
        else:
            self._sweep_from_now_on()
            self.engine.apply([_op(key, slot) for key, slot in pending.items()])

    def _sweep_from_now_on(self) -> None:
        if not self._is_swept:
            self._is_swept = True
            sweeper.watch(self.engine)

    def _written(self, start: bytes | None, stop: bytes | None) -> Iterator[bytes]:
        """Yield the keys that are in the store."""
        for bounds in reserved.ranges(start, stop, reverse=False):
            for key, entry in self.engine.scan(*bounds):
                if self._is_shown(entry.value):
                    yield key

    def _is_shown(self, stored: bytes) -> bool:
        try:
            return self._shown(stored) is not None
        except WrongTypeError:
            return True

    def _shown(self, stored: bytes) -> bytes | None:
        """Return what a client sees of a stored form, None if it is not shown."""
        codec = self._codec
        found = codec.split(stored)
        if found is None:
            return values.as_bytes(codec.decode(stored))
        if not isinstance(found, Attributed):
            return None
        attributes, stored = found
        fresh_until_ms = attributes.fresh_until_ms
        if fresh_until_ms and fresh_until_ms <= self.now_ms():
            return None
        if attributes.tags and not tags.are_current(
            self.engine, attributes.tags, self._note_access or _ignore
        ):
            return None
        return values.as_bytes(codec.decode(stored))


def _op(key: bytes, slot: Slot) -> KeyOp:
    if slot is None:
        return Delete(key)
    if isinstance(slot, _Touched):
        return Touch(key, slot[1])
    return Put(key, *slot) if isinstance(slot, tuple) else Put(key, slot)


def _ignore(_key: bytes) -> None:
    pass

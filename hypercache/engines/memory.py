"""The memory engine: everything in one dict, nothing on disk."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from hypercache.engines.base import (
    Change,
    CheckReport,
    EngineStats,
    Entry,
    StorageEngine,
    changed_entry,
    check_op,
)
from hypercache.engines.capacity import maybe_capacity
from hypercache.engines.departures import Departures
from hypercache.engines.expiry import SWEPT_AT_ONCE, ExpiryIndex
from hypercache.engines.slots import ExpiryClock, Slot, slot_of
from hypercache.errors import ClosedError, HyperCacheError, LimitError
from hypercache.ops import KeyOp, Put, check_expiry, check_key, check_value
from hypercache.options import MAX_KEY_BYTES, Options
from hypercache.storage import Clock, SystemClock


class MemoryEngine(StorageEngine):
    """Keep everything in RAM; it ends with the process, so every LSN is 0."""

    keeps_objects = True

    def __init__(
        self, options: Options | None = None, *, clock: Clock | None = None
    ) -> None:
        expiry = ExpiryClock(clock or SystemClock())
        self._live, self._expiry_ms = expiry.live, expiry.now_ms
        self._table: dict[bytes, Slot] = {}
        self._expiry = ExpiryIndex(expiry.now_ms)
        self._capacity = maybe_capacity(
            options or Options.resolve(),
            expiry.now_ms,
            self._find,
            lambda: self._table,
            self._expiry,
        )
        self._departures = Departures()
        self._lock = threading.RLock()
        self._refusal: Callable[[], HyperCacheError] | None = None

    def get(self, key: bytes) -> bytes | None:
        """Return the value, None for a key that is absent or expired."""
        if self._refusal is not None:
            raise self._refusal()
        slot = self._table.get(key)
        if not isinstance(slot, tuple):
            return slot
        entry = self._live(slot)
        return entry.value if entry else None

    def maybe_find(self) -> Callable[[bytes], object]:
        """Return the table's own look-up; it finds nothing once this is closed."""
        return self._table.get

    def get_entry(self, key: bytes) -> Entry | None:
        """Return value and expiry, None for a key that is absent or expired."""
        self._refuse()
        return self._live(self._table.get(key))

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values of the keys that are present, as of one moment."""
        with self._lock:
            self._refuse()
            found = ((key, self.get(key)) for key in keys)
            return {key: value for key, value in found if value is not None}

    def now_ms(self) -> float:
        """Return the time that expiry is judged by."""
        return self._expiry_ms()

    def put(self, key: bytes, value: bytes, expires_at_ms: int = 0) -> int:
        """Store a value; volatile, so the LSN is 0."""
        if not 0 < len(key) <= MAX_KEY_BYTES:
            check_key(key)
        check_value(key, value)
        if expires_at_ms:
            check_expiry(key, expires_at_ms)
        with self._lock:
            if self._refusal is not None:
                raise self._refusal()
            slot: Slot = (value, expires_at_ms) if expires_at_ms else value
            if self._capacity is None and not expires_at_ms:
                self._table[key] = slot
            else:
                self._publish({key: slot})
        return 0

    def apply(self, ops: Sequence[KeyOp]) -> int:
        """Apply a batch, all or none."""
        for op in ops:
            check_op(op)
        with self._lock:
            self._refuse()
            self._publish(self._net_slots(ops))
        return 0

    def update(self, key: bytes, change: Change) -> int | None:
        """Apply to one key what `change` makes of its present entry, atomically."""
        check_key(key)
        with self._lock:
            self._refuse()
            op = change(self._live(self._table.get(key)))
            return None if op is None else self.apply([op])

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep all other writers out while the block runs; readers go on."""
        with self._lock:
            self._refuse()
            yield

    def scan(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        *,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, Entry]]:
        """Yield the live entries with start <= key < stop in key order."""
        self._refuse()
        for key in sorted(self._table.copy(), reverse=reverse):
            if (start is None or start <= key) and (stop is None or key < stop):
                entry = self.get_entry(key)
                if entry is not None:
                    yield key, entry

    def count(self) -> int:
        """Return the number of live keys."""
        with self._lock:
            self._refuse()
            return sum(self._live(slot) is not None for slot in self._table.values())

    def clear(self) -> int:
        """Remove every key."""
        with self._lock:
            self._refuse()
            self._table.clear()
            self._expiry.clear()
            if self._capacity is not None:
                self._capacity.clear()
        return 0

    def sync(self) -> int:
        """Do nothing: there is nothing durable to reach."""
        self._refuse()
        return 0

    def wait_durable(self, lsn: int, timeout: float | None = None) -> None:
        """Return at once for LSN 0, the only one this engine hands out."""
        self._refuse()
        del timeout
        if lsn:
            raise LimitError(f"LSN {lsn} was never handed out by this store")

    def checkpoint(self) -> int:
        """Do nothing, like `sync`."""
        return self.sync()

    def check(self) -> CheckReport:
        """Report the number of entries; there is nothing that could be damaged."""
        return CheckReport((), self.count())

    def sweep(self, limit: int | None = None) -> int:
        """Remove entries that have expired, and return how many."""
        swept = 0
        while True:
            with self._lock:
                self._refuse()
                keys, done = self._expiry.due(limit or SWEPT_AT_ONCE)
                gone = [key for key in keys if self._is_dead(key)]
                self._publish(dict.fromkeys(gone))
                self._departures.note((), gone)
                self._expiry.fit(len(self._table), self._table.items())
            swept += len(gone)
            if done or limit is not None:
                return swept

    @property
    def may_expire(self) -> bool:
        """Tell whether an entry may have an expiry."""
        return len(self._expiry) > 0

    def access_hook(self) -> Callable[[bytes], None] | None:
        """Return what notes that a key was read, None without limits."""
        return self._capacity.access_hook() if self._capacity is not None else None

    def stats(self) -> EngineStats:
        """Return the numbers of this moment."""
        self._refuse()
        found = EngineStats(
            engine="memory",
            memtable_count=len(self._table),
            expired_count=self._departures.expired_count,
        )
        return found if self._capacity is None else self._capacity.filled_in(found)

    def departures(self) -> Departures:
        """Return where it is noted what leaves by itself."""
        return self._departures

    def fill_share(self) -> float:
        """Return how full the store is, 0.0 without limits."""
        return 0.0 if self._capacity is None else self._capacity.share

    def close(self) -> None:
        """Forget everything; repeatable."""
        with self._lock:
            self._refusal = lambda: ClosedError("the cache is closed; open a new one")
            self._table.clear()

    def _net_slots(self, ops: Sequence[KeyOp]) -> dict[bytes, Slot]:
        """Return what a batch leaves under its keys."""
        slots: dict[bytes, Slot] = {}
        for op in ops:
            if isinstance(op, Put):  # what was there does not matter
                slots[op.key] = slot_of(op.value, op.expires_at_ms)
                continue
            known = slots[op.key] if op.key in slots else self._table.get(op.key)
            after = changed_entry(self._live(known), op)
            slots[op.key] = slot_of(*after) if after else None
        return slots

    def _publish(self, slots: dict[bytes, Slot]) -> None:
        if self._capacity is not None:
            victims = self._capacity.admit(slots)
            for key in victims:
                self._table.pop(key, None)
                slots.pop(key, None)
            if victims:
                self._departures.note(victims, self._capacity.expired)
        for key, slot in slots.items():
            if slot is None:
                self._table.pop(key, None)
            else:
                self._table[key] = slot
                self._expiry.note(key, slot)

    def _is_dead(self, key: bytes) -> bool:
        slot = self._table.get(key)
        return slot is not None and self._live(slot) is None

    def _find(self, key: bytes) -> Slot:
        return self._table.get(key)

    def _refuse(self) -> None:
        if self._refusal is not None:
            raise self._refusal()

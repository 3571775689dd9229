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
from hypercache.engines.slots import ExpiryClock, Slot, slot_of
from hypercache.errors import ClosedError, HyperCacheError, LimitError
from hypercache.ops import KeyOp, check_expiry, check_key, check_value
from hypercache.options import MAX_KEY_BYTES, MAX_VALUE_BYTES
from hypercache.storage import Clock, SystemClock


class MemoryEngine(StorageEngine):
    """Keep everything in RAM; it ends with the process, so every LSN is 0."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        expiry = ExpiryClock(clock or SystemClock())
        self._live, self._expiry_ms = expiry.live, expiry.now_ms
        self._table: dict[bytes, Slot] = {}
        self._lock = threading.RLock()
        self._refusal: Callable[[], HyperCacheError] | None = None

    def get(self, key: bytes) -> bytes | None:
        """Return the value, None for a key that is absent or expired."""
        if self._refusal is not None:
            raise self._refusal()
        slot = self._table.get(key)
        if type(slot) is bytes:
            return slot
        entry = self._live(slot)
        return entry.value if entry else None

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
        if not 0 < len(key) <= MAX_KEY_BYTES or len(value) > MAX_VALUE_BYTES:
            check_key(key)
            check_value(key, value)
        if expires_at_ms:
            check_expiry(key, expires_at_ms)
        with self._lock:
            if self._refusal is not None:
                raise self._refusal()
            self._table[key] = (value, expires_at_ms) if expires_at_ms else value
        return 0

    def apply(self, ops: Sequence[KeyOp]) -> int:
        """Apply a batch, all or none."""
        for op in ops:
            check_op(op)
        with self._lock:
            self._refuse()
            for op in ops:
                self._change(op)
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
            self._table = {}
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

    def stats(self) -> EngineStats:
        """Return the numbers of this moment."""
        self._refuse()
        return EngineStats(engine="memory", memtable_count=len(self._table))

    def close(self) -> None:
        """Forget everything; repeatable."""
        with self._lock:
            self._refusal = lambda: ClosedError("the cache is closed; open a new one")
            self._table = {}

    def _change(self, op: KeyOp) -> None:
        after = changed_entry(self._live(self._table.get(op.key)), op)
        if after is not None:
            self._table[op.key] = slot_of(*after)
        else:
            self._table.pop(op.key, None)

    def _refuse(self) -> None:
        if self._refusal is not None:
            raise self._refusal()

"""Keep a store on disk within its limits, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypercache.engines.capacity import Capacity, Charges, limits_of
from hypercache.engines.cold import Below, TieredPolicy
from hypercache.engines.costs import stored_bytes
from hypercache.engines.envelope import HEAD, Head
from hypercache.engines.lmdb_batch import WriteBatch
from hypercache.engines.lmdb_store import LmdbStore
from hypercache.engines.memtable import Memtable
from hypercache.engines.slots import Slot, slot_of
from hypercache.eviction import find_policy
from hypercache.ops import Clear, Delete, Op, Put
from hypercache.options import KIB, Options

_SHARE = 8  # of the memory budget, for the keys that were used of late
_LEAST_BYTES = 64 * KIB
_SOONEST = "ttl"


def maybe_disk_capacity(
    options: Options,
    now_ms: Callable[[], float],
    find: Callable[[bytes], Slot],
    below: Below,
) -> Capacity | None:
    """Return what keeps the limits of a store on disk, None if it has none.

    Bytes are those of `StoreState.data_bytes`.

    Raises:
        ConfigError: there is no such policy.
    """
    policy, limits = find_policy(options.eviction, now_ms), limits_of(options)
    if limits is None:
        return None
    charges = Charges(stored_bytes, HEAD.size)
    if policy is None:
        return Capacity(limits, None, find, charges)
    budget_bytes = max(_LEAST_BYTES, options.memory_bytes // _SHARE)
    tiered = TieredPolicy(
        policy,
        below,
        lambda: capacity.count,
        budget_bytes,
        soonest=options.eviction == _SOONEST,
    )
    capacity = Capacity(limits, tiered, find, charges)
    return capacity


class BelowMemtable:
    """Look at what lies in LMDB below a memtable."""

    def __init__(self, memtable: Memtable, store: LmdbStore) -> None:
        self._memtable, self._store = memtable, store

    def heads(self, start: bytes, count: int) -> list[Head]:
        """Return the heads of the first entries at or behind a key."""
        return [] if self._memtable.cleared_lsn else self._store.heads(start, count)

    def last_key(self) -> bytes | None:
        """Return the highest key, None without any."""
        return None if self._memtable.cleared_lsn else self._store.last_key()

    def is_gone(self, key: bytes) -> bool:
        """Tell whether the memtable has a key as deleted."""
        return self._memtable.find(key) is None


class InLmdb:
    """Look at what lies in LMDB with nothing above it."""

    def __init__(self, store: LmdbStore) -> None:
        self.heads, self.last_key = store.heads, store.last_key

    def is_gone(self, key: bytes) -> bool:
        """Return False: LMDB knows it all."""
        del key
        return False


class BatchLimits:
    """Let each write of a transaction make the room that it needs.

    What the store holds is asked of the transaction: other processes write to it, too.
    """

    def __init__(
        self, options: Options, now_ms: Callable[[], float], below: Below
    ) -> None:
        self._batch: WriteBatch | None = None
        self.capacity = maybe_disk_capacity(options, now_ms, self._find, below)

    def within(
        self, batch: WriteBatch, ops: Sequence[Op]
    ) -> tuple[Sequence[Op], Sequence[bytes]]:
        """Return ops, puts and deletes or a clear, and the keys to be evicted first.

        Raises:
            LimitError, CacheFullError: as `Capacity.admit` says.
        """
        capacity = self._asked(batch)
        if capacity is None:
            return ops, ()
        if any(isinstance(op, Clear) for op in ops):
            capacity.clear()
            return ops, ()
        slots = {op.key: _slot(op) for op in ops if not isinstance(op, Clear)}
        victims = dict.fromkeys(capacity.admit(slots))
        kept = [op for op in ops if isinstance(op, Clear) or op.key not in victims]
        return [*kept, *map(Delete, victims)], list(victims)

    def surplus(self, batch: WriteBatch, limit: int) -> Sequence[Op]:
        """Return the deletes that bring a store within its limits, at most so many."""
        capacity = self._asked(batch)
        return [] if capacity is None else list(map(Delete, capacity.surplus(limit)))

    def _asked(self, batch: WriteBatch) -> Capacity | None:
        if self.capacity is not None:
            self._batch = batch
            self.capacity.begin_with(batch.entry_count, batch.data_bytes)
        return self.capacity

    def _find(self, key: bytes) -> Slot:
        assert self._batch is not None
        found = self._batch.get(key)
        return slot_of(found.value, found.expires_at_ms) if found else None


def _slot(op: Op) -> Slot:
    return slot_of(op.value, op.expires_at_ms) if isinstance(op, Put) else None

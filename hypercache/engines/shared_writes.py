"""What waits to be committed to a store that several processes share.

A write is decided inside the transaction that commits it, because another process may
have written until then. So a request carries what makes its ops, not the ops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from hypercache.engines.base import Change, Entry, changed_entry, check_op
from hypercache.engines.commit_queue import Request
from hypercache.engines.departures import Departures
from hypercache.engines.disk_limits import BatchLimits
from hypercache.engines.envelope import Stored
from hypercache.engines.lmdb_batch import WriteBatch
from hypercache.engines.slots import slot_bytes, slot_of
from hypercache.ops import Clear, Delete, KeyOp, Op, Put, Touch

Live = Callable[[Stored | Entry | None], Entry | None]


class Place(NamedTuple):
    """What a write needs to know of the store."""

    live: Live
    limits: BatchLimits
    departures: Departures


class Write(Request):
    """A write on its way, and what became of it.

    `stage` puts it into a transaction. It may be called again for another transaction,
    because that one was not committed. `settle` says that it was.
    """

    def __init__(self, place: Place, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self._live, self._limits, self._departures = place
        self._ops: Sequence[Op] = ()
        self._evicted: Sequence[bytes] = ()
        self._made_at_lsn = -1
        self._lsn = 0
        self._error: BaseException | None = None

    def stage(self, batch: WriteBatch) -> None:
        """Apply the ops under LSNs of their own, or note why there are none."""
        # The same LSN means the same entries: what was made of them stands.
        if batch.lsn != self._made_at_lsn:
            self._make_once(batch)
        for lsn, op in enumerate(self._ops, batch.lsn + 1):
            if isinstance(op, Clear):
                batch.clear()
            else:
                batch.apply(lsn, op)
        batch.reach(batch.lsn + len(self._ops))
        self._lsn = batch.lsn

    def settle(self) -> None:
        """Note that the transaction was committed."""
        if self._evicted:
            self._departures.note(self._evicted, ())
        self.done = True

    def fail(self, error: BaseException) -> None:
        """Note that nothing was written, or that nobody knows."""
        self._error = error
        self.done = True

    def result(self) -> int | None:
        """Return the LSN reached, None where there was nothing to write, or raise."""
        if self._error is not None:
            raise self._error
        return self._lsn

    def _make_once(self, batch: WriteBatch) -> None:
        self._ops, self._evicted, self._error = (), (), None
        try:
            made = self._make(batch)
            self._ops, self._evicted = self._limits.within(batch, made)
        except Exception as error:  # noqa: BLE001  (raised by `result`)
            self._error = error
        self._made_at_lsn = batch.lsn

    def _make(self, batch: WriteBatch) -> Sequence[Op]:
        raise NotImplementedError


class BatchWrite(Write):
    """Write a batch; a Touch of what is not there, or expired, has no effect."""

    def __init__(self, place: Place, ops: Sequence[KeyOp]) -> None:
        super().__init__(place, sum(map(_size_bytes, ops)))
        self._batch = ops

    def _make(self, batch: WriteBatch) -> Sequence[Op]:
        return _effective(self._batch, batch.get, self._live)


class UpdateWrite(Write):
    """Write what a function makes of the present entry of a key."""

    def __init__(self, place: Place, key: bytes, change: Change) -> None:
        super().__init__(place, 0)
        self._key, self._change = key, change

    def result(self) -> int | None:
        """Return the LSN, None where the function wanted nothing written."""
        lsn = super().result()
        return lsn if self._ops else None

    def _make(self, batch: WriteBatch) -> Sequence[Op]:
        op = self._change(self._live(batch.get(self._key)))
        if op is None:
            return ()
        check_op(op)
        return _effective([op], batch.get, self._live)


class ClearWrite(Write):
    """Remove every key."""

    def _make(self, batch: WriteBatch) -> Sequence[Op]:
        del batch
        return (Clear(),)


class Expire(Write):
    """Remove those of some keys that have expired; `result` is how many."""

    def __init__(self, place: Place, keys: Sequence[bytes]) -> None:
        super().__init__(place, 0)
        self._keys = keys

    def settle(self) -> None:
        """Note that the transaction was committed."""
        self._departures.note((), _keys(self._ops))
        super().settle()

    def result(self) -> int:
        """Return how many entries were removed."""
        super().result()
        return len(self._ops)

    def _make(self, batch: WriteBatch) -> Sequence[Op]:
        found = ((key, batch.get(key)) for key in self._keys)
        return [Delete(key) for key, entry in found if entry and not self._live(entry)]


class Trim(Write):
    """Evict what is too much; `result` is how many entries that were."""

    def __init__(self, place: Place, limit: int) -> None:
        super().__init__(place, 0)
        self._limit = limit

    def settle(self) -> None:
        """Note that the transaction was committed."""
        self._departures.note(_keys(self._ops), ())
        super().settle()

    def result(self) -> int:
        """Return how many entries were evicted."""
        super().result()
        return len(self._ops)

    def _make(self, batch: WriteBatch) -> Sequence[Op]:
        return self._limits.surplus(batch, self._limit)


def _effective(
    ops: Sequence[KeyOp], find: Callable[[bytes], Stored | None], live: Live
) -> list[KeyOp]:
    """Return the ops with each Touch replaced by what it means, or left out."""
    if not any(isinstance(op, Touch) for op in ops):
        return list(ops)
    changed: dict[bytes, Entry | None] = {}
    kept: list[KeyOp] = []
    for op in ops:
        before = None
        if isinstance(op, Touch):
            known = changed[op.key] if op.key in changed else find(op.key)
            before = live(known)
            if before is None:
                continue
        after = changed_entry(before, op)
        changed[op.key] = after
        kept.append(Put(op.key, *after) if after is not None else op)
    return kept


def _keys(ops: Sequence[Op]) -> list[bytes]:
    return [op.key for op in ops if not isinstance(op, Clear)]


def _size_bytes(op: KeyOp) -> int:
    return slot_bytes(op.key, slot_of(op.value, 0) if isinstance(op, Put) else None)

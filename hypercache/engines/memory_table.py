"""Hold all entries of a memory engine, and how long they would be in its log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from hypercache.aof.base import BlockSlot
from hypercache.engines.base import Entry
from hypercache.engines.expiry import ExpiryIndex
from hypercache.engines.slots import Slot
from hypercache.engines.staging import Slots, StagedTable
from hypercache.ops import Delete, Op, Put, Puts, Touch, Unpacked

# A frame's header and what msgpack adds to key and value, roughly.
FRAME_EXTRA_BYTES = 44
Live = Callable[[Slot], Entry | None]


class MemoryTable(StagedTable):
    """Map keys to the slots of present entries, expired ones too.

    `live_bytes` is what the frames of all entries would take, `expiring_count` how
    many entries have an expiry. Who puts a slot into `active` by hand calls `account`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live_bytes = 0
        self.expiring_count = 0
        self.expiry: ExpiryIndex | None = None

    def index(self, expiry: ExpiryIndex) -> None:
        """Note every expiry there, now and from now on."""
        self.expiry = expiry
        if self.expiring_count:
            for key, slot in self.active.items():
                expiry.note(key, slot)

    def change(self, lsn: int, slots: Slots | None) -> None:
        """Publish a batch at once; None stands for a clear."""
        del lsn
        if slots is None:
            self.active, self.live_bytes, self.expiring_count = {}, 0, 0
            if self.expiry is not None:
                self.expiry.clear()
            return
        self._account_all(slots)
        # Readers take no lock: they see all of it at once, and None as absent.
        self.active.update(slots)
        for key, slot in slots.items():
            if slot is None:
                del self.active[key]

    def _account_all(self, slots: Slots) -> None:
        """Account for a batch; plain values, nearly all, take a third of the time."""
        find, grown_bytes = self.active.get, 0
        for key, slot in slots.items():
            before = find(key)
            if type(slot) is not bytes:
                self.account(key, before, slot)
            elif type(before) is bytes:
                grown_bytes += len(slot) - len(before)
            elif before is None:
                grown_bytes += len(slot) + len(key) + FRAME_EXTRA_BYTES
            else:
                self.account(key, before, slot)
        self.live_bytes += grown_bytes

    def account(self, key: bytes, before: Slot, after: Slot) -> None:
        """Note that the slot of a key has changed, or will."""
        self.live_bytes += _frame_bytes(key, after) - _frame_bytes(key, before)
        self.expiring_count += isinstance(after, tuple) - isinstance(before, tuple)
        if self.expiry is not None:
            self.expiry.note(key, after)

    def recount(self) -> None:
        """Account for everything at once."""
        self.live_bytes = self.expiring_count = 0
        for key, slot in self.active.items():
            self.account(key, None, slot)


class Loader:
    """Fill a new table, which nobody reads before `finish` returns it."""

    def __init__(self) -> None:
        self._table = MemoryTable()
        # Counted while the entries are in the CPU's cache, their lengths take half of
        # the time of a recount. It holds as long as every key is new and plain.
        self._counts = True
        self._entry_count = self._bytes = 0

    def add(self, block: dict[bytes, BlockSlot]) -> None:
        """Add entries of a base."""
        self._table.active.update(block)
        slots: Any = block.values()
        self._counts = self._counts and set(map(type, slots)) <= {bytes}
        self._count(block, slots)

    def replay(self, runs: Iterable[tuple[int, Unpacked]]) -> None:
        """Apply the ops of a log."""
        for _, found in runs:
            active = self._table.active
            if isinstance(found, Puts):
                active.update(zip(found.keys, found.values, strict=True))
                self._count(found.keys, found.values)
            else:
                self._counts = False
                _replay(active, found)

    def finish(self) -> MemoryTable:
        """Return the table, with everything in it accounted for."""
        table = self._table
        if self._counts:
            table.live_bytes = self._bytes + FRAME_EXTRA_BYTES * self._entry_count
        else:
            table.recount()
        return table

    def _count(self, keys: Collection[bytes], values: Iterable[bytes]) -> None:
        if self._counts:
            self._entry_count += len(keys)
            self._bytes += len(b"".join(keys)) + sum(map(len, values))
            self._counts = self._entry_count == len(self._table.active)


def _replay(active: dict[bytes, Slot], found: Sequence[Op]) -> None:
    for op in found:
        if type(op) is Put:
            key, value, expires_at_ms = op
            active[key] = (value, expires_at_ms) if expires_at_ms else value
        elif type(op) is Delete:
            active.pop(op.key, None)
        elif type(op) is Touch:
            _touch(active, op)
        else:
            active.clear()


def scan(
    table: dict[bytes, Slot],
    live: Callable[[bytes], Entry | None],
    bounds: tuple[bytes | None, bytes | None],
    reverse: bool,
) -> Iterator[tuple[bytes, Entry]]:
    """Yield the live entries of start <= key < stop in key order.

    `live` looks a key up when its turn comes.
    """
    start, stop = bounds
    # A copy, because the table may change between two entries.
    for key in sorted(
        key
        for key in table.copy()
        if (start is None or start <= key) and (stop is None or key < stop)
    )[:: -1 if reverse else 1]:
        entry = live(key)
        if entry is not None:
            yield key, entry


def _touch(active: dict[bytes, Slot], op: Touch) -> None:
    slot = active.get(op.key)
    if slot is not None:
        value = slot if isinstance(slot, bytes) else slot[0]
        active[op.key] = (value, op.expires_at_ms) if op.expires_at_ms else value


def _frame_bytes(key: bytes, slot: Slot) -> int:
    if slot is None:
        return 0
    value = slot if isinstance(slot, bytes) else slot[0]
    return FRAME_EXTRA_BYTES + len(key) + len(value)

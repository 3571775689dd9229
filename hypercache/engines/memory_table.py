"""Hold all entries of a memory engine, and how long they would be in its log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, cast

from hypercache.engines.base import Entry
from hypercache.engines.slots import Slot
from hypercache.engines.staging import Slots, StagedTable
from hypercache.ops import (
    Arrays,
    Delete,
    Put,
    Touch,
    are_plain_puts,
    from_arrays,
    key_of,
    value_of,
)

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

    def change(self, lsn: int, slots: Slots | None) -> None:
        """Publish a batch at once; None stands for a clear."""
        del lsn
        if slots is None:
            self.active, self.live_bytes, self.expiring_count = {}, 0, 0
            return
        for key, slot in slots.items():
            self.account(key, self.active.get(key), slot)
        # Readers take no lock: they see all of it at once, and None as absent.
        self.active.update(slots)
        for key, slot in slots.items():
            if slot is None:
                del self.active[key]

    def account(self, key: bytes, before: Slot, after: Slot) -> None:
        """Note that the slot of a key has changed, or will."""
        self.live_bytes += _frame_bytes(key, after) - _frame_bytes(key, before)
        self.expiring_count += isinstance(after, tuple) - isinstance(before, tuple)

    def recount(self) -> None:
        """Account for everything at once, after a load."""
        slots = self.active.values()
        if set(map(type, slots)) <= {bytes}:  # a tenth of the time of one by one
            lengths = chain(map(len, self.active), map(len, cast("Any", slots)))
            extra_bytes = FRAME_EXTRA_BYTES * len(self.active)
            self.live_bytes, self.expiring_count = sum(lengths) + extra_bytes, 0
            return
        self.live_bytes = self.expiring_count = 0
        for key, slot in self.active.items():
            self.account(key, None, slot)


def replay(table: MemoryTable, runs: Iterable[tuple[int, Arrays]]) -> None:
    """Apply the ops of a log to a table that nobody reads yet; `recount` afterwards."""
    active = table.active
    for _, arrays in runs:
        if are_plain_puts(arrays):
            active.update(zip(map(key_of, arrays), map(value_of, arrays), strict=True))
            continue
        for op in from_arrays(arrays):
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

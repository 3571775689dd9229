"""Walk memtable and LMDB as one map in key order.

A scan takes LMDB in steps of one short transaction each. Between them the memtable may
change and a checkpoint may run, so every slot is looked up again when its turn comes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hypercache.engines.envelope import Stored
from hypercache.engines.lmdb_store import LmdbStore
from hypercache.engines.memtable import Memtable
from hypercache.engines.read_cache import ReadCache
from hypercache.engines.slots import Absent, Slot, slot_of


class Source(NamedTuple):
    """The tables that a scan walks; `slot` finds the current slot of any key."""

    memtable: Memtable
    cache: ReadCache
    store: LmdbStore
    slot: Callable[[bytes], Slot]


def scan(
    source: Source, start: bytes | None, stop: bytes | None, reverse: bool
) -> Iterator[tuple[bytes, Slot]]:
    """Yield key and current slot of start <= key < stop, deleted keys included."""
    own = sorted(key for key in source.memtable.all_keys() if _within(key, start, stop))
    more = True
    while more:
        version = source.cache.version
        batch, more = _step(source, start, stop, reverse)
        stored = {entry.key: entry for entry in batch}
        # Up to the end of this step; what lies behind comes with the next one.
        edge = batch[-1].key if more else None
        turn, own = _split(own, edge, reverse)
        for key in sorted(stored.keys() | set(turn), reverse=reverse):
            yield key, _current(source, key, stored.get(key), version)
        if edge is not None:
            start, stop = (start, edge) if reverse else (edge + b"\0", stop)


def maybe_count(memtable: Memtable, store: LmdbStore) -> int | None:
    """Return the number of live keys, None if only a scan can tell.

    Without expiry the bookkeeping knows, but for what the memtable adds and hides.
    """
    slots = memtable.slots()
    if any(isinstance(slot, tuple) for slot in slots.values()):
        return None
    live = sum(slot is not None for slot in slots.values())
    if memtable.cleared_lsn:
        return live
    state, hidden = store.count_and_present(slots)
    return None if state.expiring_count else state.entry_count - hidden + live


def _step(
    source: Source, start: bytes | None, stop: bytes | None, reverse: bool
) -> tuple[list[Stored], bool]:
    if source.memtable.cleared_lsn:
        return [], False
    return source.store.scan_step(start, stop, reverse)


def _split(
    own: list[bytes], edge: bytes | None, reverse: bool
) -> tuple[list[bytes], list[bytes]]:
    if edge is None:
        return own, []
    if reverse:
        at = bisect_left(own, edge)
        return own[at:], own[:at]
    at = bisect_right(own, edge)
    return own[:at], own[at:]


def _current(source: Source, key: bytes, stored: Stored | None, version: int) -> Slot:
    slot = source.memtable.find(key)
    if not isinstance(slot, Absent):
        return slot
    if stored is None or source.cache.version != version:
        return source.slot(key)
    return slot_of(stored.value, stored.expires_at_ms)


def _within(key: bytes, start: bytes | None, stop: bytes | None) -> bool:
    return (start is None or start <= key) and (stop is None or key < stop)

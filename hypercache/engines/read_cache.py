"""Keep clean entries of the hybrid engine in RAM, in two generations.

New entries join the young generation; when it holds half the budget it becomes the
old one, whose entries are forgotten unless a hit has brought them back. That is
second chance with no bookkeeping per entry: a hit in the young generation, the common
case, is one dict look-up and changes nothing.
"""

from __future__ import annotations

import threading

from hypercache.engines.slots import ABSENT, SLOT_BYTES, Absent, Slot, slot_bytes


class ReadCache:
    """Bound the memory of clean entries to about `budget_bytes`.

    `version` changes whenever entries may have become outdated: who reads LMDB notes
    it first and passes it to `add`, so that an old value is never put over a new one.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._half = budget_bytes // 2  # of what is not lent
        self._lock = threading.Lock()
        self.version = 0
        self._young: dict[bytes, Slot] = {}
        self._old: dict[bytes, Slot] = {}
        self._young_bytes = self._old_bytes = 0

    @property
    def used_bytes(self) -> int:
        """Return the estimate of what both generations take."""
        return self._young_bytes + self._old_bytes

    def find(self, key: bytes) -> Slot | Absent:
        """Return the slot of a key, ABSENT when nothing is known."""
        version = self.version
        slot = self._young.get(key, ABSENT)
        if slot is ABSENT:
            slot = self._old.get(key, ABSENT)
            if not isinstance(slot, Absent):
                self.add(key, slot, version)
        return slot

    def add(self, key: bytes, slot: Slot, version: int) -> None:
        """Remember a slot that was current when `version` was."""
        if type(slot) is bytes:  # `slot_bytes`, written out
            size = SLOT_BYTES + len(key) + len(slot)
        else:
            size = slot_bytes(key, slot)
        with self._lock:
            if version != self.version or size > self._half:
                return
            if self._young_bytes + size > self._half:
                self._turn()
            self._young[key] = slot
            self._young_bytes += size

    def lend(self, size_bytes: int) -> None:
        """Do with so much less until `absorb`: a memtable of that size is folded."""
        with self._lock:
            left = max(0, self._budget - size_bytes)
            self._half = left // 2
            if self.used_bytes > left:
                self._turn()
            if self.used_bytes > left:
                self._turn()

    def absorb(self, table: dict[bytes, Slot], size: int) -> None:
        """Take over a folded memtable, whose slots outdate what is here.

        Nobody may change it from now on. Its size is an estimate: to look at each entry
        would take a tenth of a second, with all writers locked out.
        """
        with self._lock:
            self.version += 1
            self._half = self._budget // 2
            if size > self._half:
                # What is here was read before; of the two the table is the newer.
                self._forget()
                if size <= self._budget:
                    self._old, self._old_bytes = table, size
                return
            if self._young_bytes + size > self._half:
                self._turn()
            self._young.update(table)
            self._young_bytes += size

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self.version += 1
            self._forget()

    def _forget(self) -> None:
        self._young, self._old = {}, {}
        self._young_bytes = self._old_bytes = 0

    def _turn(self) -> None:
        # A reader between the lines finds less, never what the young one outdated.
        self._old = {}
        self._old, self._old_bytes = self._young, self._young_bytes
        self._young, self._young_bytes = {}, 0

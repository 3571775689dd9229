"""Hold what the log has and LMDB has not.

`active` takes the writes. `freeze` sets it aside for a checkpoint as `frozen`, which
nothing changes any more. Reads take no lock: every change is ordered so that a reader
between two steps finds a value that was current during its call.

Writers call everything but `find` under the engine's lock.
"""

from __future__ import annotations

from hypercache.engines.slots import ABSENT, Absent, Slot
from hypercache.engines.staging import Slots, StagedTable


class Memtable(StagedTable):
    """Map keys to slots: a value, `(value, expires_at_ms)`, None for deleted.

    `cleared_lsn` is the LSN of a clear that LMDB has not seen yet, 0 if there is
    none: it hides everything below this table.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frozen: dict[bytes, Slot] = {}
        self.cleared_lsn = 0

    def __len__(self) -> int:
        return len(self.active) + len(self.frozen)

    def find(self, key: bytes) -> Slot | Absent:
        """Return the published slot of a key, ABSENT when there is none."""
        slot = self.active.get(key, ABSENT)
        return self.frozen.get(key, ABSENT) if slot is ABSENT else slot

    def all_keys(self) -> set[bytes]:
        """Return all keys that have a slot, deleted ones too."""
        # Active first, as everywhere: `freeze` moves it into frozen.
        active = set(self.active)
        return active | set(self.frozen)

    def slots(self) -> dict[bytes, Slot]:
        """Return a copy of everything published."""
        active = self.active.copy()
        return {**self.frozen, **active}

    def change(self, lsn: int, slots: Slots | None) -> None:
        """Publish a batch at once; None stands for a clear."""
        if slots is not None:
            self.active.update(slots)
            return
        # Hide what is below before the entries above it go.
        self.cleared_lsn = lsn
        self.active = {}
        self.frozen = {}

    def freeze(self) -> dict[bytes, Slot]:
        """Set everything published aside and return it."""
        if self.frozen:  # an earlier checkpoint failed
            self.frozen = self.slots()
        else:
            self.frozen = self.active
        self.active = {}
        return self.frozen

    def thaw(self, folded: dict[bytes, Slot], reached_lsn: int) -> None:
        """Forget what LMDB has now; a clear may have forgotten it before."""
        if self.cleared_lsn <= reached_lsn:
            self.cleared_lsn = 0
        if self.frozen is folded:
            self.frozen = {}

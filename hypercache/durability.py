"""The durability backend: what an engine in RAM needs to survive its process.

The write-ahead log and the append-only log implement it; so may a backend from
another package (docs/extending.md). What an op is, and how it is encoded, is in
docs/wal_format.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from hypercache.ops import Op


class DurabilityBackend(ABC):
    """Keep ops in order, give them back after a crash, forget what is kept elsewhere.

    `replay` is called once and read to its end before the first `append`. The engine
    calls everything but `appended_lsn` and `sync_active` under its own lock; those
    two run beside an `append`.
    """

    @abstractmethod
    def replay(self) -> Iterator[tuple[int, Op]]:
        """Yield every op that is kept, with its LSN, in the order of the LSNs.

        After a crash these are all ops up to some LSN, at least up to the last one
        that `sync_active` has covered: a prefix without holes.

        Raises:
            CorruptionError: ops that should be there are damaged.
        """

    @abstractmethod
    def append(self, payload: bytes, op_count: int) -> int:
        """Append the `op_count` encoded ops of one batch; return the LSN of the last.

        LSNs go up by one per op and are never reused. On return the batch survives
        the death of the process, whole or not at all.

        Raises:
            LimitError: the batch is too large; nothing was appended.
            DiskFullError: nothing was appended; it works again with free space.
            StorageError: the log failed; no later append may succeed.
        """

    @abstractmethod
    def appended_lsn(self) -> int:
        """Return the LSN of the last op appended or replayed, 0 before the first."""

    @abstractmethod
    def sync_active(self) -> None:
        """Bring everything appended before the call to the medium.

        Raises:
            StorageError: what was appended since the last sync may be lost.
        """

    @abstractmethod
    def trim(self, lsn: int) -> None:
        """Forget the ops up to `lsn`, which the caller has durably elsewhere.

        A backend may keep more than it must. After a crash in the middle `replay`
        gives back either all or none of what was to be forgotten together.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of all files; nothing is synced."""

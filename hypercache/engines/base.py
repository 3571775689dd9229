"""The StorageEngine interface; its docstrings are the contract.

Keys are bytes of 1 to 65,535, values bytes of up to 512 MiB, expiry is in absolute
milliseconds since the epoch (0: never). An engine may be used from any number of
threads. What "acknowledged" and "durable" mean is set by its sync policy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple

from hypercache.ops import Delete, KeyOp, Put, Touch, check_key, check_value

__all__ = [
    "Change",
    "CheckReport",
    "Delete",
    "EngineStats",
    "Entry",
    "KeyOp",
    "Problem",
    "Put",
    "StorageEngine",
    "Touch",
]


class Entry(NamedTuple):
    """A live value and its expiry."""

    value: bytes
    expires_at_ms: int = 0


Change = Callable[[Entry | None], KeyOp | None]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where; None where it is not known."""

    path: str
    reason: str
    offset: int | None = None
    lsn: int | None = None
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check` found; `ok` when nothing is wrong."""

    problems: tuple[Problem, ...] = ()
    entry_count: int = 0

    @property
    def ok(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Numbers of one engine at one moment; units end the names."""

    engine: str
    path: str | None = None
    sync: str | None = None
    log_io: str | None = None
    appended_lsn: int = 0
    synced_lsn: int = 0
    checkpoint_lsn: int = 0
    memtable_count: int = 0
    read_cache_bytes: int = 0
    log_bytes: int = 0
    disk_bytes: int = 0
    checkpoint_count: int = 0
    checkpoint_error: str | None = None
    checkpoint_wait_ms: int = 0
    failure: str | None = None
    recovery: tuple[str, ...] = field(default=())


class StorageEngine(ABC):
    """Keep bytes under bytes, in key order, with expiry."""

    @abstractmethod
    def get(self, key: bytes) -> bytes | None:
        """Return the value, None for a key that is absent or expired.

        Raises:
            CorruptionError: the stored value is damaged.
        """

    @abstractmethod
    def get_entry(self, key: bytes) -> Entry | None:
        """Return value and expiry, None for a key that is absent or expired."""

    @abstractmethod
    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values of the keys that are present, as of one moment."""

    @abstractmethod
    def now_ms(self) -> float:
        """Return the time that expiry is judged by, in ms since the epoch.

        The wall clock at open plus the monotonic clock since, so that a jump of the
        wall clock expires nothing early.
        """

    @abstractmethod
    def put(self, key: bytes, value: bytes, expires_at_ms: int = 0) -> int:
        """Store a value and return its LSN once it is acknowledged; 0 if volatile.

        Raises:
            LimitError: key or value out of range; nothing was written.
            DiskFullError: nothing was written; it works again with free space.
            StorageFailedError: the log has failed; the write may be lost.
        """

    @abstractmethod
    def apply(self, ops: Sequence[KeyOp]) -> int:
        """Apply a batch, all or none, and return the LSN of its last op.

        An empty batch changes nothing and returns the last LSN.
        """

    @abstractmethod
    def update(self, key: bytes, change: Change) -> int | None:
        """Apply to one key what `change` makes of its present entry, atomically.

        No other write comes between; `change` must not call the engine. Return the
        LSN, or None when `change` returned None and nothing was written.
        """

    @abstractmethod
    def exclusive(self) -> AbstractContextManager[None]:
        """Keep all other writers out while the block runs; readers go on.

        What the block writes counts as acknowledged when it has ended. Inside, only
        `get*`, `scan`, `count`, `put`, `apply` and `exclusive` may be called.
        """

    @abstractmethod
    def scan(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        *,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, Entry]]:
        """Yield the live entries with start <= key < stop in key order.

        Each entry is current when it is yielded; entries written meanwhile may or may
        not be seen. No lock and no LMDB reader is held between two entries.
        """

    @abstractmethod
    def count(self) -> int:
        """Return the number of live keys."""

    @abstractmethod
    def clear(self) -> int:
        """Remove every key and return the LSN."""

    @abstractmethod
    def sync(self) -> int:
        """Bring everything acknowledged to the medium; return the LSN reached."""

    @abstractmethod
    def wait_durable(self, lsn: int, timeout: float | None = None) -> None:
        """Return once `lsn` is on the medium.

        Raises:
            WaitTimeoutError: `timeout` seconds passed first.
            StorageFailedError: it will never be.
        """

    @abstractmethod
    def checkpoint(self) -> int:
        """Fold the log into the store below it; return the LSN reached.

        On return everything acknowledged before the call is on the medium, and the
        log that held it is gone. Without a log this is `sync`.
        """

    @abstractmethod
    def check(self) -> CheckReport:
        """Read everything back and report what is wrong; changes nothing."""

    @abstractmethod
    def stats(self) -> EngineStats:
        """Return the numbers of this moment."""

    @abstractmethod
    def close(self) -> None:
        """Bring everything to the medium and let go of all files; repeatable.

        Every later call of another method raises ClosedError.
        """


def check_op(op: KeyOp) -> None:
    """Refuse an op whose key or value is out of range.

    Raises:
        LimitError: it is; nothing was written.
    """
    check_key(op.key)
    if isinstance(op, Put):
        check_value(op.key, op.value)


def changed_entry(current: Entry | None, op: KeyOp) -> Entry | None:
    """Return what `op` makes of an entry: the one meaning of an op for all engines."""
    match op:
        case Put(_, value, expires_at_ms):
            return Entry(value, expires_at_ms)
        case Touch(_, expires_at_ms) if current is not None:
            return Entry(current.value, expires_at_ms)
    return None

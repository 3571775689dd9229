"""The StorageEngine interface; its docstrings are the contract.

Keys are bytes of 1 to 65,535, values bytes of up to 512 MiB, expiry is in absolute
milliseconds since the epoch (0: never). An engine may be used from any number of
threads. What "acknowledged" and "durable" mean is set by its sync policy.

Ten methods are abstract; the others are written in terms of them, and an engine
overrides those that it can do better. docs/extending.md builds one step by step.

* An LSN numbers what was written. Every op gets one, they rise in the order in which
  the ops take effect, and none is used twice, also after a reopen. An engine that keeps
  nothing answers 0 everywhere.
* A write is acknowledged when its call returns. From then on every read shows it, and
  it is as safe as the sync policy says. A call that raises has written nothing, unless
  it raises StorageFailedError: then nobody knows.
* What cannot be done is refused with an error of `hypercache.errors`; errors of what
  lies below are mapped to these and chained.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from hypercache.engines.departures import Departures
from hypercache.engines.reports import CheckReport, EngineStats, Problem
from hypercache.errors import ConfigError, LimitError
from hypercache.ops import (
    Delete,
    KeyOp,
    Put,
    Touch,
    check_expiry,
    check_key,
    check_value,
)

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


class StorageEngine(ABC):
    """Keep bytes under bytes, in key order, with expiry."""

    # What an engine must have

    @abstractmethod
    def get_entry(self, key: bytes) -> Entry | None:
        """Return value and expiry, None for a key that is absent or expired.

        Must not wait for `exclusive`, and must not show half a batch.

        Raises:
            CorruptionError: the stored value is damaged; it is never returned.
        """

    @abstractmethod
    def apply(self, ops: Sequence[KeyOp]) -> int:
        """Apply a batch, all or none, and return the LSN of its last op.

        All or none also after a crash, and for the reads of other threads. The ops
        take effect in their order: a Delete of an absent key does nothing, nor does a
        Touch of a key that is absent, expired, or deleted earlier in the batch. An
        empty batch changes nothing and returns the last LSN. Use `check_op` first.

        Raises:
            LimitError: key or value out of range; nothing was written.
            DiskFullError: nothing was written; it works again with free space.
            StorageFailedError: the log has failed; the write may be lost.
        """

    @abstractmethod
    def exclusive(self) -> AbstractContextManager[None]:
        """Keep all other writers out while the block runs; readers go on.

        Every write of another thread waits until the block has ended; for an engine
        that several processes share, also theirs. The blocks of one thread nest. What
        the block writes counts as acknowledged when the outermost has ended; if it
        raises, what it had written stands. Inside, only `get*`, `scan`, `count`,
        `put`, `apply` and `exclusive` may be called, and they show what the block has
        written.
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
        not be seen, but no key comes twice. No lock and no reader of the store is held
        between two entries: an iterator may be abandoned. After `close` the next step
        raises ClosedError.
        """

    @abstractmethod
    def clear(self) -> int:
        """Remove every key at once, like a batch of one op, and return its LSN."""

    @abstractmethod
    def sync(self) -> int:
        """Bring everything acknowledged to the medium; return the LSN reached.

        Raises:
            StorageFailedError: it cannot be; what was not synced may be lost.
        """

    @abstractmethod
    def now_ms(self) -> float:
        """Return the time that expiry is judged by, in ms since the epoch.

        The wall clock at open plus the monotonic clock since, so that a jump of the
        wall clock expires nothing early: `hypercache.engines.slots.ExpiryClock`.
        """

    @abstractmethod
    def check(self) -> CheckReport:
        """Read everything back and report what is wrong; changes nothing.

        Writes may go on meanwhile. `entry_count` is the number of live keys, if no
        problem was found.
        """

    @abstractmethod
    def stats(self) -> EngineStats:
        """Return the numbers of this moment; `engine` and the LSNs at least."""

    @abstractmethod
    def close(self) -> None:
        """Bring everything to the medium and let go of all files; repeatable.

        Calls that are under way in other threads end first, or with ClosedError. Every
        later call of another method but `now_ms` raises ClosedError.
        """

    # What follows from it

    def get(self, key: bytes) -> bytes | None:
        """Return the value, None for a key that is absent or expired.

        Raises:
            CorruptionError: the stored value is damaged.
        """
        entry = self.get_entry(key)
        return entry.value if entry else None

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values of the keys that are present, as of one moment."""
        with self.exclusive():
            found = ((key, self.get(key)) for key in keys)
            return {key: value for key, value in found if value is not None}

    def put(self, key: bytes, value: bytes, expires_at_ms: int = 0) -> int:
        """Store a value and return its LSN once it is acknowledged; 0 if volatile.

        Raises:
            LimitError, DiskFullError, StorageFailedError: as `apply`.
        """
        return self.apply([Put(key, value, expires_at_ms)])

    def put_many(self, values: dict[bytes, bytes]) -> int:
        """Store values that never expire, like a batch of puts, and return its LSN.

        The dict is the engine's from then on.
        """
        return self.apply([Put(key, value) for key, value in values.items()])

    def update(self, key: bytes, change: Change) -> int | None:
        """Apply to one key what `change` makes of its present entry, atomically.

        No other write comes between. `change` is called once, under the engine's lock:
        it must not call the engine, nor wait for a thread that does. It is given None
        for a key that is absent or expired. Return the LSN, or None when `change`
        returned None and nothing was written; what `change` raises is passed on, and
        nothing was written.
        """
        check_key(key)
        with self.exclusive():
            op = change(self.get_entry(key))
            return None if op is None else self.apply([op])

    def count(self) -> int:
        """Return the number of live keys."""
        return sum(1 for _ in self.scan())

    def wait_durable(self, lsn: int, timeout: float | None = None) -> None:
        """Return once `lsn` is on the medium; 0 is always.

        The default syncs at once if it must, and so knows no timeout.

        Raises:
            WaitTimeoutError: `timeout` seconds passed first.
            LimitError: this store never handed out that LSN.
            StorageFailedError: it will never be.
        """
        del timeout
        stats = self.stats()
        if lsn > stats.appended_lsn:
            raise LimitError(f"LSN {lsn} was never handed out by this store")
        if lsn > stats.synced_lsn:
            self.sync()

    has_other_writers = False  # whether other processes may write to the store, too
    keeps_objects = False  # whether a value need not be bytes, because it stays in RAM
    commits_together = False  # whether an `exclusive` block syncs only when it ends

    def maybe_find(self) -> Callable[[bytes], object] | None:
        """Return what finds most keys in one call, None where nothing does.

        Only where `keeps_objects`. What it returns is the value, or anything else, such
        as None, of which `get` knows more. Asked for once; once the store is closed it
        finds nothing.
        """
        return None

    def access_hook(self) -> Callable[[bytes], None] | None:
        """Return what is to be called with each key that was found by a read.

        From any thread, and without waiting. None where reads need not be known.
        """
        return None

    def departures(self) -> Departures | None:
        """Return where it is noted what leaves by itself, None if nothing does."""
        return None

    def fill_share(self) -> float:
        """Return how full the store is, 1.0 at its limit, 0.0 without one."""
        return 0.0

    def sweep(self, limit: int | None = None) -> int:
        """Remove entries that have expired, and return how many.

        Looks at about `limit` entries, the next ones at each call; at all of them
        without. The default knows nothing that would be worth removing.
        """
        del limit
        return 0

    @property
    def may_expire(self) -> bool:
        """Tell whether an entry may have an expiry; asked for once, at open."""
        return False

    def checkpoint(self) -> int:
        """Fold the log into the store below it; return the LSN reached.

        On return everything acknowledged before the call is on the medium, and the
        log that held it is gone. Without a log this is `sync`.
        """
        return self.sync()

    def compact(self) -> int:
        """Rewrite what is on disk without what is dead; return the LSN reached.

        Readers go on meanwhile, and writers as far as the engine can let them. On
        return everything acknowledged before the call is on the medium, and what was
        overwritten, deleted or expired by then takes no more room. A crash at any point
        of it loses nothing. Where nothing dead is kept beyond a checkpoint this is
        `checkpoint`.
        """
        return self.checkpoint()

    def backup(self, destination: str) -> int:
        """Copy the store into a new directory and return the LSN that the copy is of.

        The copy is the store as of one moment, not earlier than the call; reads and
        writes go on meanwhile. On return it is on the medium and was read back; on an
        error nothing is left of it. It opens like any store of this engine.

        Raises:
            ConfigError: this engine has no backup, or the destination is the store
                itself, lies in it, or is not empty; nothing was written.
            DiskFullError, StorageError, CorruptionError: there is no copy.
        """
        name = self.stats().engine
        raise ConfigError(
            f"engine={name!r} has no backup, nothing was written to {destination}: "
            "close the store and copy its files"
        )

    def refresh(self) -> int:
        """Move a read-only engine's snapshot forward to now and return its LSN.

        A writing engine always shows the present: there it returns the last LSN.
        """
        return self.stats().appended_lsn


def check_op(op: KeyOp) -> None:
    """Refuse an op whose key or value is out of range.

    Raises:
        LimitError: it is; nothing was written.
    """
    check_key(op.key)
    if isinstance(op, Put):
        check_value(op.key, op.value)
    if not isinstance(op, Delete) and op.expires_at_ms:
        check_expiry(op.key, op.expires_at_ms)


def changed_entry(current: Entry | None, op: KeyOp) -> Entry | None:
    """Return what `op` makes of an entry: the one meaning of an op for all engines."""
    match op:
        case Put(_, value, expires_at_ms):
            return Entry(value, expires_at_ms)
        case Touch(_, expires_at_ms) if current is not None:
            return Entry(current.value, expires_at_ms)
    return None

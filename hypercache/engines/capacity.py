"""Keep what a table holds within limits: count it, and say what must go.

Called under the engine's lock when a write is decided, before it is made: a write and
the evictions that make room for it are one batch, so that no limit is exceeded at any
moment, and a crash keeps both or neither.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from hypercache.engines import costs
from hypercache.engines.expiry import ExpiryIndex
from hypercache.engines.reports import EngineStats
from hypercache.engines.slots import Slot
from hypercache.errors import CacheFullError, LimitError
from hypercache.eviction import EvictionPolicy, find_policy
from hypercache.options import Options

PRESSURE_LEVELS = (85, 90, 95)  # percent of a limit
_FULL_REFRESH = 64  # changes after which the tables are asked for their sizes again
_MOST_STRANGERS = 1000  # keys in a row that a policy may name and nobody knows


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a store may hold; None for as much as it likes."""

    max_items: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Charges:
    """What is charged for what a store holds.

    Attributes:
        entry_bytes: what a key and its slot take, 0 for one that is absent.
        each_bytes: what else an entry takes, whatever is in it.
        tables_bytes: what the tables of a policy take, and others like them.
        table: the dict that holds the entries, None if that is not charged.
    """

    entry_bytes: Callable[[bytes, Slot], int]
    each_bytes: int = 0
    tables_bytes: Callable[[EvictionPolicy | None], int] = lambda _policy: 0
    table: Callable[[], Mapping[bytes, Slot]] | None = None


def charges_in_ram(
    table: Callable[[], Mapping[bytes, Slot]], expiry: ExpiryIndex
) -> Charges:
    """Return what Python spends; `table` returns the dict itself, for its size."""

    def tables_bytes(policy: EvictionPolicy | None) -> int:
        own = 0 if policy is None else policy.overhead_bytes()
        return own + expiry.overhead_bytes()

    return Charges(costs.entry_bytes, tables_bytes=tables_bytes, table=table)


def limits_of(options: Options) -> Limits | None:
    """Return the limits that were asked for, None without any."""
    limits = Limits(options.max_items, options.max_bytes)
    return limits if limits != Limits() else None


def maybe_capacity(
    options: Options,
    now_ms: Callable[[], float],
    find: Callable[[bytes], Slot],
    table: Callable[[], Mapping[bytes, Slot]],
    expiry: ExpiryIndex,
) -> Capacity | None:
    """Return what keeps the limits of a store in RAM, None if it has none.

    Raises:
        ConfigError: there is no such policy.
    """
    policy = find_policy(options.eviction, now_ms)
    limits = limits_of(options)
    if limits is None:
        return None
    return Capacity(limits, policy, find, charges_in_ram(table, expiry), expiry)


def pressure_percent(share: float) -> int:
    """Return the highest of the levels 85, 90 and 95 that is reached, or 0."""
    return max((level for level in PRESSURE_LEVELS if 100 * share >= level), default=0)


def _ignore(key: bytes) -> None:
    pass


class Capacity:
    """Account for every entry of a table, and choose what is evicted.

    `find` returns the newest slot of a key.
    """

    def __init__(
        self,
        limits: Limits,
        policy: EvictionPolicy | None,
        find: Callable[[bytes], Slot],
        charges: Charges,
        expiry: ExpiryIndex | None = None,
    ) -> None:
        self.limits = limits
        self._max_items = sys.maxsize if limits.max_items is None else limits.max_items
        self._max_bytes = sys.maxsize if limits.max_bytes is None else limits.max_bytes
        self._policy, self._find, self._charges = policy, find, charges
        self._expiry = expiry
        self._entry_bytes = charges.entry_bytes
        self.count = self.payload_bytes = self._tables_bytes = 0
        self.evicted_count = 0
        self._dict_cost, self._dict_bytes = costs.DictCost(), 0
        self._unseen = 0  # changes since the tables were asked for their sizes
        self._empty_bytes = self._now_bytes()
        # What the last call has decided, and what that changes.
        self._decided: dict[bytes, Slot] = {}
        self._journal: list[tuple[bytes, Slot, Slot, int]] = []
        self._evicted = 0
        self.expired: list[bytes] = []  # of those that go, because their time is over

    @property
    def share(self) -> float:
        """Return how full it is, 1.0 at the limit that is nearest."""
        return max(self.count / self._max_items, self.used_bytes / self._max_bytes)

    @property
    def metadata_bytes(self) -> int:
        """Return what the bookkeeping of all entries takes."""
        return self._bookkeeping_bytes(self.count)

    @property
    def used_bytes(self) -> int:
        """Return what all entries and their bookkeeping take."""
        return self.payload_bytes + self.metadata_bytes

    def begin_with(self, count: int, data_bytes: int) -> None:
        """Account for entries that are known by their sum only."""
        self.count = count
        self.payload_bytes = data_bytes - count * self._charges.each_bytes

    def load(self, table: Iterable[tuple[bytes, Slot]]) -> None:
        """Account for what a table holds already, whether it fits or not."""
        for key, slot in table:
            self.note(key, None, slot)
        self._measure()

    def note(self, key: bytes, before: Slot, after: Slot) -> None:
        """Account for a change that is made already, whether it fits or not."""
        after_bytes = self._entry_bytes(key, after)
        before_bytes = self._entry_bytes(key, before)
        self._count(before, after, after_bytes - before_bytes)
        self._tell(key, before, after, after_bytes)

    def admit(self, changes: Mapping[bytes, Slot]) -> list[bytes]:
        """Account for new slots of keys; return the keys to be evicted with them.

        Keys of the batch itself may be among these.

        Raises:
            LimitError: an entry alone is larger than the limit; nothing has changed.
            CacheFullError: there is no room, and nothing to evict; the same.
        """
        self._begin()
        victims: list[bytes] = []
        for key, after in changes.items():
            before = self._newest(key)
            before_bytes = 0 if before is None else self._entry_bytes(key, before)
            after_bytes = 0 if after is None else self._entry_bytes(key, after)
            more_bytes = after_bytes - before_bytes
            if after is not None and self._lacks(before is None, more_bytes):
                self._refuse_giant(key, after_bytes)
                victims += self._make_room(key, after_bytes)
                before = self._newest(key)  # the key itself may have been chosen
                before_bytes = 0 if before is None else before_bytes
            self._decide(key, before, after, after_bytes - before_bytes)
            self._tell(key, before, after, after_bytes)
        return self._counted(victims) if victims else victims

    def surplus(self, limit: int = sys.maxsize) -> list[bytes]:
        """Return the keys to be evicted so that the limits hold; they count as gone.

        At most `limit` of them: call it again.
        """
        self._begin()
        victims: list[bytes] = []
        while len(victims) < limit and self._lacks(0, 0):
            victim = self._evict()
            if victim is None:
                break
            victims.append(victim)
        return self._counted(victims)

    def undo(self) -> None:
        """Take back what the last call decided: it was not written."""
        for key, before, after, more_bytes in reversed(self._journal):
            self._count(after, before, -more_bytes)
            self._tell(key, after, before, self._entry_bytes(key, before))
            if self._expiry is not None:
                self._expiry.note(key, before)
        self.evicted_count -= self._evicted
        self._begin()

    def clear(self) -> None:
        """Note that the table is empty."""
        self._begin()
        self.count = self.payload_bytes = 0
        if self._policy is not None:
            self._policy.clear()
        self._measure()

    def access_hook(self) -> Callable[[bytes], None]:
        """Return what is called, from any thread, with each key that is read."""
        return _ignore if self._policy is None else self._policy.fast_access()

    def filled_in(self, stats: EngineStats) -> EngineStats:
        """Return the numbers of an engine with those of its limits."""
        return replace(
            stats,
            max_items=self.limits.max_items,
            max_bytes=self.limits.max_bytes,
            payload_bytes=self.payload_bytes,
            metadata_bytes=self.metadata_bytes,
            pressure_percent=pressure_percent(self.share),
            evicted_count=self.evicted_count,
        )

    def _begin(self) -> None:
        self._decided, self._journal, self._evicted = {}, [], 0
        self.expired = []

    def _counted(self, victims: list[bytes]) -> list[bytes]:
        """Leave out what was stored again behind its eviction."""
        gone = [key for key in dict.fromkeys(victims) if self._decided[key] is None]
        self._evicted += len(gone)
        self.evicted_count += self._evicted
        return gone

    def _make_room(self, key: bytes, after_bytes: int) -> list[bytes]:
        victims: list[bytes] = []
        while True:
            before = self._newest(key)  # the key itself may have been chosen
            more_bytes = after_bytes - self._entry_bytes(key, before)
            if not self._lacks(before is None, more_bytes):
                return victims
            victim = self._evict()
            if victim is None:
                self._refuse_full(key)
                return victims
            victims.append(victim)

    def _lacks(self, more_count: int, more_bytes: int) -> bool:
        count = self.count + more_count
        if count > self._max_items:
            return True
        used_bytes = self.payload_bytes + self._bookkeeping_bytes(count)
        return used_bytes + more_bytes > self._max_bytes

    def _bookkeeping_bytes(self, count: int) -> int:
        if self._charges.table is None:
            return self._tables_bytes + count * self._charges.each_bytes
        # When it is made anew there are two of them, and of the last one malloc may
        # keep a part. What is asked for is how large it will be then, so that a leap
        # is known before it is made.
        anew = self._dict_cost.of(count)
        return self._tables_bytes + max(anew, self._dict_bytes) + anew + anew // 2

    def _evict(self) -> bytes | None:
        """Return a key that is there, expired or chosen by the policy; it is gone."""
        expired = self._expired()
        if expired is not None:
            return expired
        if self._policy is None:
            return None
        for _ in range(_MOST_STRANGERS):
            key = self._policy.candidate()
            if key is None:
                return None
            slot = self._newest(key)
            if slot is not None:
                self._decide(key, slot, None, -self._entry_bytes(key, slot))
                return key
        return None

    def _expired(self) -> bytes | None:
        while self._expiry:
            keys = self._expiry.due(1).keys
            if not keys:
                return None
            slot = self._newest(keys[0])
            if self._expiry.is_past(slot):
                size = self._entry_bytes(keys[0], slot)
                self._decide(keys[0], slot, None, -size)
                self._tell(keys[0], slot, None, 0)
                self._evicted -= 1
                self.expired.append(keys[0])
                return keys[0]
        return None

    def _newest(self, key: bytes) -> Slot:
        return self._decided[key] if key in self._decided else self._find(key)

    def _decide(self, key: bytes, before: Slot, after: Slot, more_bytes: int) -> None:
        self._journal.append((key, before, after, more_bytes))
        self._decided[key] = after
        self._count(before, after, more_bytes)

    def _count(self, before: Slot, after: Slot, more_bytes: int) -> None:
        if type(before) is tuple and self._expiry is not None:
            self._expiry.outdated_count += 1
        self.count += (after is not None) - (before is not None)
        self.payload_bytes += more_bytes
        self._unseen += 1
        if self._unseen > _FULL_REFRESH or self._unseen > self.count >> 4:
            self._measure()

    def _tell(self, key: bytes, before: Slot, after: Slot, after_bytes: int) -> None:
        if self._policy is None:
            return
        if after is not None:
            expires_at_ms = after[1] if type(after) is tuple else 0
            self._policy.set(
                key,
                new=before is None,
                size_bytes=after_bytes,
                expires_at_ms=expires_at_ms,
            )
        elif before is not None:
            self._policy.delete(key)

    def _measure(self) -> None:
        self._unseen = 0
        if self._expiry is not None and self._charges.table is not None:
            self._expiry.fit(self.count, self._charges.table().items())
        self._tables_bytes = max(0, self._now_bytes() - self._empty_bytes)
        if self._charges.table is not None:
            self._dict_bytes = sys.getsizeof(self._charges.table())

    def _now_bytes(self) -> int:
        return self._charges.tables_bytes(self._policy)

    def _refuse_giant(self, key: bytes, entry_bytes: int) -> None:
        size = entry_bytes + self._charges.each_bytes
        if size > self._max_bytes:
            self.undo()
            raise LimitError(
                f"the entry of key {key!r:.60} takes {size} bytes, more than "
                f"max_bytes={self._max_bytes}; nothing was written"
            )

    def _refuse_full(self, key: bytes) -> None:
        if self._policy is None:
            self.undo()
            raise CacheFullError(
                f"no room for key {key!r:.60} within max_items="
                f"{self.limits.max_items} and max_bytes={self.limits.max_bytes}, and "
                'eviction="none" makes none; delete keys, or raise the limit'
            )

"""Choose what leaves a store that is larger than RAM.

What was written or read of late is warm: a policy knows those keys, as many as a share
of the memory budget takes. All others are cold and go first; of them no index is kept.
Some are looked at, at several places of the store, and of all that were seen the ones
go that were written longest ago. Redis does the same with its samples and its pool.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Protocol

from hypercache.engines.costs import block_bytes
from hypercache.engines.envelope import Head
from hypercache.eviction import EvictionPolicy

UNREAD = 1 << 14  # hits that wait to be counted; with more the oldest are forgotten
HANDS = 8  # places that samples are taken at
RUN = 8  # keys that are looked at in one place
POOL = 256  # of all that was looked at, those that should go first
TAKEN = 8  # of them go before more are looked at
NAMED = 4096
_ATTEMPTS = 16  # samples in which every key is warm, until a warm one goes
_OFTEN = 64  # new keys after which the bookkeeping is asked for its size
_PREFIX_BYTES = 8


class Below(Protocol):
    """Look into LMDB in key order."""

    def heads(self, start: bytes, count: int) -> list[Head]:
        """Return the first entries at or behind a key, at most so many."""

    def last_key(self) -> bytes | None:
        """Return the highest key, None without any."""

    def is_gone(self, key: bytes) -> bool:
        """Tell whether a key was deleted, and LMDB does not know it yet."""


class ColdSample:
    """Name cold keys, those first that should go first."""

    def __init__(
        self, below: Below, is_warm: Callable[[bytes], bool], soonest: bool
    ) -> None:
        self._below, self._is_warm = below, is_warm
        self._rank = _by_expiry if soonest else _by_age
        self._pool: list[Head] = []  # the one to go first is the last
        self._left = 0  # how many of these may go before more are looked at
        self.clear()

    def candidate(self) -> bytes | None:
        """Return a key that is cold, None where none was found."""
        for _ in range(_ATTEMPTS):
            if not self._left:
                self._look()
            while self._left and self._pool:
                self._left -= 1
                key = self._pool.pop().key
                if self._is_cold(key):
                    self._named.add(key)
                    return key
            self._left = 0
        return None

    def clear(self) -> None:
        """Forget what was found."""
        self._hands: list[bytes] = []
        self._pool, self._left = [], 0
        # Named lately: what becomes of these may not be seen in LMDB yet.
        self._named: set[bytes] = set()
        self._named_before: set[bytes] = set()

    def _look(self) -> None:
        if len(self._named) >= NAMED:
            self._named, self._named_before = set(), self._named
        if not self._hands:
            self._spread()
        cold: dict[bytes, Head] = {}
        for number, hand in enumerate(self._hands):
            run = self._below.heads(hand, RUN)
            self._hands[number] = run[-1].key + b"\0" if len(run) == RUN else b""
            cold |= {head.key: head for head in run if self._is_cold(head.key)}
        cold |= {head.key: head for head in self._pool}
        found = sorted(cold.values(), key=self._rank)
        self._pool, self._left = found[:POOL][::-1], TAKEN

    def _is_cold(self, key: bytes) -> bool:
        if self._is_warm(key) or key in self._named or key in self._named_before:
            return False
        return not self._below.is_gone(key)

    def _spread(self) -> None:
        """Put the hands all over the store, as if its keys were spread evenly."""
        first, last = self._below.heads(b"", 1), self._below.last_key()
        self._hands = [b""]
        if first and last is not None and first[0].key < last:
            self._hands = _between(first[0].key, last, HANDS)


class TieredPolicy(EvictionPolicy):
    """Let a policy judge the warm keys of a store, and let the cold ones go first.

    `count` returns how many keys the store holds, `budget_bytes` is what the warm keys
    and the bookkeeping of their policy may take.
    """

    def __init__(
        self,
        warm: EvictionPolicy,
        below: Below,
        count: Callable[[], int],
        budget_bytes: int,
        *,
        soonest: bool = False,
    ) -> None:
        self._warm, self._count, self._budget_bytes = warm, count, budget_bytes
        self._known: dict[bytes, None] = {}
        self._known_bytes = 0
        self._most_known = sys.maxsize
        # What expires next goes first, however warm it is.
        is_warm = _is_never if soonest else self._known.__contains__
        self._cold = ColdSample(below, is_warm, soonest)
        self._unread: deque[bytes] = deque(maxlen=UNREAD)

    def access(self, key: bytes) -> None:
        """Note a hit; counting is left to whoever writes."""
        self._unread.append(key)

    def fast_access(self) -> Callable[[bytes], None]:
        """Return what costs one call in C."""
        return self._unread.append

    def set(
        self, key: bytes, *, new: bool, size_bytes: int, expires_at_ms: int
    ) -> None:
        """Note that a key was stored: it is warm."""
        self._count_hits()
        self._let_in(key, new, size_bytes, expires_at_ms)

    def delete(self, key: bytes) -> None:
        """Forget a key."""
        if key in self._known:
            self._forget(key)
            self._warm.delete(key)

    def candidate(self) -> bytes | None:
        """Return a cold key, or without any the one that the policy names."""
        self._count_hits()
        if self._count() > len(self._known):
            key = self._cold.candidate()
            if key is not None:
                self.delete(key)
                return key
        return self._coolest()

    def clear(self) -> None:
        """Forget every key."""
        self._known.clear()
        self._known_bytes, self._most_known = 0, sys.maxsize
        self._unread.clear()
        self._warm.clear()
        self._cold.clear()

    def __len__(self) -> int:
        return len(self._known)

    def overhead_bytes(self) -> int:
        """Return what the warm keys and their bookkeeping take."""
        own = sys.getsizeof(self._known) + sys.getsizeof(self._unread)
        return own + self._known_bytes + self._warm.overhead_bytes()

    def _count_hits(self) -> None:
        unread, known = self._unread, self._known
        while unread:
            try:
                key = unread.popleft()
            except IndexError:  # `clear` was faster
                return
            if key in known:
                self._warm.access(key)
            else:
                self._let_in(key, True, 0, 0)

    def _let_in(
        self, key: bytes, new: bool, size_bytes: int, expires_at_ms: int
    ) -> None:
        del new  # for the policy each key is new that it does not know
        known = key in self._known
        self._warm.set(
            key, new=not known, size_bytes=size_bytes, expires_at_ms=expires_at_ms
        )
        if not known:
            self._known[key] = None
            self._known_bytes += block_bytes(len(key))
            if not len(self._known) % _OFTEN and self._is_too_large():
                self._most_known = len(self._known) - len(self._known) // 8
        while len(self._known) > self._most_known and self._coolest():
            pass

    def _is_too_large(self) -> bool:
        # Tables grow in leaps and never shrink: the number of keys is what is kept.
        return self.overhead_bytes() > self._budget_bytes

    def _coolest(self) -> bytes | None:
        """Return the key that the policy would evict; it is cold from now on."""
        key = self._warm.candidate()
        if key is not None and key in self._known:
            self._forget(key)
        return key

    def _forget(self, key: bytes) -> None:
        del self._known[key]
        self._known_bytes -= block_bytes(len(key))


def _is_never(_key: bytes) -> bool:
    return False


def _by_age(head: Head) -> int:
    return head.lsn


def _by_expiry(head: Head) -> tuple[bool, int, int]:
    return not head.expires_at_ms, head.expires_at_ms, head.lsn


def _between(first: bytes, last: bytes, count: int) -> list[bytes]:
    """Return so many keys from `first` on, at even distances."""
    common = 0
    while common < len(first) and first[common] == last[common]:
        common += 1
    prefix = first[:common]
    low, high = _number(first[common:]), _number(last[common:])
    step = (high - low) // count
    inner = (low + step * number for number in range(1, count))
    return [first, *(prefix + each.to_bytes(_PREFIX_BYTES, "big") for each in inner)]


def _number(key: bytes) -> int:
    return int.from_bytes(key[:_PREFIX_BYTES].ljust(_PREFIX_BYTES, b"\0"), "big")

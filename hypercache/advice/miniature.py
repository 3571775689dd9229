"""Play sampled references through small caches.

Waldspurger et al., "Cache modeling and optimization using miniature simulations",
USENIX ATC 2017: the policy is the real one, room and keys are scaled down alike.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from hypercache.advice.script import Script, Step
from hypercache.eviction import EvictionPolicy


def play(
    script: Script, policy: EvictionPolicy, max_items: int | None, max_bytes: int | None
) -> int:
    """Return how many of the counted reads miss in a cache with these limits."""
    cache = _Miniature(policy, max_items, max_bytes)
    cache.play(script.opening)
    return cache.play(script.counted)


class _Miniature:
    """A cache of sizes."""

    def __init__(
        self, policy: EvictionPolicy, max_items: int | None, max_bytes: int | None
    ) -> None:
        self._policy = policy
        self._max_items = sys.maxsize if max_items is None else max_items
        self._max_bytes = sys.maxsize if max_bytes is None else max_bytes
        self._sizes: dict[bytes, int] = {}
        self._used_bytes = 0

    def play(self, steps: Iterable[Step]) -> int:
        """Return how many reads missed."""
        sizes, access, misses = self._sizes, self._policy.fast_access(), 0
        for key, size_bytes, is_read in steps:
            if key not in sizes:
                misses += is_read
                if size_bytes >= 0:
                    self._let_in(key, size_bytes)
            elif is_read:
                access(key)
            elif size_bytes >= 0:
                self._write_over(key, size_bytes)
            else:
                self._used_bytes -= sizes.pop(key)
                self._policy.delete(key)
        return misses

    def _let_in(self, key: bytes, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            return
        sizes, policy = self._sizes, self._policy
        most_bytes = self._max_bytes - size_bytes
        while len(sizes) >= self._max_items or self._used_bytes > most_bytes:
            self._evict()
        sizes[key] = size_bytes
        self._used_bytes += size_bytes
        policy.set(key, new=True, size_bytes=size_bytes, expires_at_ms=0)

    def _write_over(self, key: bytes, size_bytes: int) -> None:
        self._used_bytes += size_bytes - self._sizes[key]
        self._sizes[key] = size_bytes
        self._policy.set(key, new=False, size_bytes=size_bytes, expires_at_ms=0)
        while self._used_bytes > self._max_bytes:
            self._evict()

    def _evict(self) -> None:
        key = self._policy.candidate()
        if key is not None:
            self._used_bytes -= self._sizes.pop(key)

"""Eviction policies, and the one table that names them."""

from __future__ import annotations

from collections.abc import Callable

from hypercache.errors import ConfigError
from hypercache.eviction.fifo import Fifo, Sieve
from hypercache.eviction.policy import EvictionPolicy
from hypercache.eviction.recency import Lfu, Lru
from hypercache.eviction.s3fifo import S3Fifo
from hypercache.eviction.soonest import SoonestExpiry

__all__ = ["EvictionPolicy", "find_policy"]

NO_POLICY = "none"
_POLICIES: dict[str, Callable[[], EvictionPolicy]] = {
    "s3fifo": S3Fifo,
    "lru": Lru,
    "lfu": Lfu,
    "fifo": Fifo,
    "sieve": Sieve,
}
NAMES = (*_POLICIES, "ttl", NO_POLICY)


def find_policy(
    eviction: str | EvictionPolicy, now_ms: Callable[[], float]
) -> EvictionPolicy | None:
    """Return the policy of that name, or the one passed; None for "none".

    Raises:
        ConfigError: there is no such policy, or the one passed holds keys already.
    """
    if isinstance(eviction, EvictionPolicy):
        if len(eviction):
            raise ConfigError(
                f"the policy {type(eviction).__name__} holds keys already; give each "
                "cache a policy of its own"
            )
        return eviction
    if eviction == NO_POLICY:
        return None
    if eviction == "ttl":
        return SoonestExpiry(now_ms)
    if eviction not in _POLICIES:
        allowed = ", ".join(repr(name) for name in NAMES)
        raise ConfigError(
            f"eviction={eviction!r} is unknown; use one of {allowed}, or an "
            "EvictionPolicy"
        )
    return _POLICIES[eviction]()

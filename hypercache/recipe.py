"""How a value is to be kept once it is made."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from hypercache import arguments
from hypercache import tags as tagging
from hypercache.entries import Tags, Ttl
from hypercache.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Recipe:
    """What `get_or_set` and `memoize` were asked for; times in milliseconds.

    Attributes:
        ttl: how long it is fresh; None for the default of the cache.
        stale_ms: how long after that it is shown while somebody makes a new one.
        stale_if_error_ms: how long after that it is shown if making one fails.
        early: how eagerly it is made anew before its time, 0 for never; see `is_due`.
        lease_ms: how long other processes wait for a maker whom they cannot see die.
    """

    ttl: Ttl = None
    tags: tuple[bytes, ...] = ()
    stale_ms: float = 0
    stale_if_error_ms: float = 0
    early: float = 0.0
    lease_ms: float = 60_000

    def tagged(self, *tags: Any) -> Recipe:
        """Return the recipe with more tags."""
        return replace(self, tags=tagging.names([*self.tags, *tags]))

    @property
    def kept_ms(self) -> float:
        """Return how long a value is kept beyond its freshness."""
        return max(self.stale_ms, self.stale_if_error_ms)


def recipe(
    ttl: Ttl,
    *,
    tags: Tags,
    stale_ttl: Ttl,
    stale_if_error: Ttl,
    early_refresh: float,
    lease: float | timedelta,
) -> Recipe:
    """Return what a caller asked for.

    Raises:
        LimitError, ArgumentTypeError, ConfigError: an argument cannot work.
    """
    arguments.ttl_ms(ttl)
    if isinstance(early_refresh, bool) or not isinstance(early_refresh, (int, float)):
        raise ConfigError(f"early_refresh={early_refresh!r} must be a number")
    if not 0 <= early_refresh < math.inf:
        raise ConfigError(f"early_refresh={early_refresh!r} must be 0 or more")
    return Recipe(
        ttl,
        tagging.names(tags),
        arguments.ttl_ms(stale_ttl),
        arguments.ttl_ms(stale_if_error),
        float(early_refresh),
        arguments.ttl_ms(lease) or arguments.MAX_TTL_MS,
    )


def is_due(
    now_ms: float, fresh_until_ms: float, made_in_ms: float, early: float
) -> bool:
    """Tell whether to make a value anew before its time, at random.

    The nearer the end and the slower the function, the likelier; each caller draws for
    itself, so that one of many begins just early enough. `early` 1 is the best guess,
    more is earlier. Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache
    Stampede Prevention", VLDB 2015.
    """
    if not early or not fresh_until_ms:
        return False
    draw = -math.log(1.0 - random.random())  # noqa: S311
    return now_ms + made_in_ms * early * draw >= fresh_until_ms

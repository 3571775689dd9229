"""The numbers of a cache: those of its engine, and how it is used."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypercache.engines.reports import EngineStats
from hypercache.latency import Latency


@dataclass(frozen=True, slots=True)
class CacheStats(EngineStats):
    """Numbers of one cache at one moment, those of its engine among them.

    Attributes:
        hits: reads of one key, and keys of a `get_many`, that were found.
        misses: those that were not.
        get_latency: of a part of all reads of one key, timed as a whole.
        set_latency: of a part of all `set`, likewise.
    """

    hits: int = 0
    misses: int = 0
    get_latency: Latency = field(default_factory=Latency)
    set_latency: Latency = field(default_factory=Latency)

    @property
    def hit_ratio(self) -> float:
        """Return the share of hits in all reads, 0.0 without any."""
        return self.hits / (self.hits + self.misses) if self.hits else 0.0

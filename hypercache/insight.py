"""What a cache can tell of itself: its numbers, and what would change them."""

from __future__ import annotations

from dataclasses import fields

from hypercache.advice import Advice, Present, advise
from hypercache.cache_stats import CacheStats
from hypercache.key_value import KeyValues
from hypercache.reading import V


class Insight(KeyValues[V]):
    """Tell how a cache is used."""

    def stats(self) -> CacheStats:
        """Return the numbers of this moment."""
        engine = self._engine.stats()
        return CacheStats(
            **{field.name: getattr(engine, field.name) for field in fields(engine)},
            hits=self._hits,
            misses=self._misses,
            get_latency=self._get_times.latency(),
            set_latency=self._set_times.latency(),
        )

    def advise(self) -> Advice:
        """Tell the hit ratio at other sizes, and under other policies.

        From a sample of what was asked for of late, played through miniature caches;
        takes about a second. Sampling begins with the first few hundred misses, or with
        the first call, and rests in between: `read_count` reads are what it is about.
        """
        stats, settings = self._engine.stats(), self._settings
        present = Present(
            settings.eviction,
            settings.max_items,
            settings.max_bytes,
            len(self),
            stats.payload_bytes,
            stats.metadata_bytes,
        )
        return advise(self._sample, present)

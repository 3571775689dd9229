"""A cache that records what it is asked for, as a Cache does."""

from __future__ import annotations

import itertools
import weakref
import zlib

from hypercache import Cache
from hypercache.advice import Present, ReferenceSample, Source, Totals, advise
from hypercache.engines.costs import entry_bytes
from tests.support.seeds import seeded


def crc(key: bytes) -> int:
    """Return the same hash in each process."""
    return zlib.crc32(key) << 20 | zlib.crc32(b"x" + key)


def zipf(count, key_count=15_000, skew=0.9):
    """Return so many keys, the first ones often, the last ones hardly ever."""
    numbers = seeded(("zipf", count, key_count, skew))
    weights = itertools.accumulate(1 / n**skew for n in range(1, key_count + 1))
    found = numbers.choices(range(key_count), cum_weights=list(weights), k=count)
    return [b"%d" % number for number in found]


class Advised:
    """A volatile cache; `get` stores what it does not find."""

    def __init__(self, eviction="s3fifo", hash_of=crc, **limits):
        self.cache = Cache(serializer="bytes", eviction=eviction, **limits)
        self.eviction, self.limits = eviction, limits
        self.misses = []  # of each read, whether it was one
        self.miss_count = 0
        self.note = self.plain = self.cache._engine.access_hook() or len
        self.sample = ReferenceSample(self.source(), hash_of)
        self.sample.window()  # begins the first one

    def source(self):
        """Return what the sample asks for."""
        me = weakref.proxy(self)
        return Source(
            totals=lambda: Totals(len(me.misses), me.miss_count),
            room_count=lambda: me.limits.get("max_items") or len(me.cache),
            now_ms=self.cache._engine.now_ms,
            access=self.plain,
            switch=lambda note: setattr(me, "note", note),
        )

    def get(self, key, size_bytes=1):
        """Read a key, and store so many bytes if it is absent."""
        found = self.cache._engine.get(key)
        self.misses.append(found is None)
        self.miss_count += found is None
        self.sample.tick(len(self.misses))
        if found is not None:
            self.note(key)
            return
        if self.sample.recording:
            self.sample.missed(key)
        self.set(key, size_bytes)

    def set(self, key, size_bytes=1):
        """Store so many bytes."""
        value = bytes(size_bytes)
        self.cache.set(key, value)
        if self.sample.recording:
            self.sample.stored(key, entry_bytes(key, value))

    def advise(self):
        """Return what the sample says of the cache as it is."""
        stats = self.cache.stats()
        present = Present(
            self.eviction,
            stats.max_items,
            stats.max_bytes,
            len(self.cache),
            stats.payload_bytes,
            stats.metadata_bytes,
        )
        return advise(self.sample, present)

    def counted(self):
        """Return which of all reads the advice is about."""
        window = self.sample.window()
        return slice(window.middle().totals.reads, window.marks[-1].totals.reads)

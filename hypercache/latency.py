"""How long calls took: a histogram of constant size, and its percentiles.

A bucket is a sixteenth of a power of two of nanoseconds, so that a percentile is at
most 6.25 % above the truth, as in Tene's HdrHistogram with one significant digit.
"""

from __future__ import annotations

from dataclasses import dataclass

_BITS = 4  # of each length, behind its first, that are told apart
_BUCKETS = 64 << _BITS


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of the calls that were timed, in microseconds; 0.0 without any."""

    count: int = 0
    p50_us: float = 0.0
    p99_us: float = 0.0
    p999_us: float = 0.0
    max_us: float = 0.0


class Histogram:
    """Count durations; of two threads that note one at a time one may be lost."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._max_ns = 0

    def note(self, duration_ns: int) -> None:
        """Count a duration."""
        self._counts[_bucket(duration_ns)] += 1
        if duration_ns > self._max_ns:
            self._max_ns = duration_ns

    def latency(self) -> Latency:
        """Return the percentiles of what was counted by now."""
        counts = self._counts.copy()
        total = sum(counts)
        if not total:
            return Latency()
        p50, p99, p999 = (self._at(counts, total * each) for each in (0.5, 0.99, 0.999))
        return Latency(total, p50, p99, p999, self._max_ns / 1000)

    def _at(self, counts: list[int], wanted: float) -> float:
        seen = 0
        for bucket, count in enumerate(counts):
            seen += count
            if count and seen >= wanted:
                return min(_highest_ns(bucket), self._max_ns) / 1000
        return self._max_ns / 1000


def _bucket(duration_ns: int) -> int:
    shift = max(0, duration_ns.bit_length() - _BITS - 1)
    return min((shift << _BITS) + (duration_ns >> shift), _BUCKETS - 1)


def _highest_ns(bucket: int) -> int:
    shift = max(0, (bucket >> _BITS) - 1)
    return ((bucket - (shift << _BITS) + 1) << shift) - 1

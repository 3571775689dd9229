"""Percentiles come within a sixteenth of what sorting all durations tells."""

import math

from hypothesis import given
from hypothesis import strategies as st

from hypercache.latency import Histogram, Latency

durations = st.lists(
    st.integers(0, 40) | st.integers(0, 10**6) | st.integers(0, 10**12), min_size=1
)


@given(durations=durations)
def test_percentiles_are_those_of_the_sorted_durations(durations):
    histogram = Histogram()
    for duration_ns in durations:
        histogram.note(duration_ns)
    found, ordered = histogram.latency(), sorted(durations)
    assert found.count == len(durations)
    assert found.max_us == ordered[-1] / 1000
    for name, share in (("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)):
        exact = ordered[math.ceil(len(ordered) * share) - 1] / 1000
        assert exact <= getattr(found, name) <= exact * (1 + 1 / 16)


def test_without_any_everything_is_zero():
    assert Histogram().latency() == Latency(0, 0.0, 0.0, 0.0, 0.0)


def test_a_duration_beyond_all_sense_is_counted_all_the_same():
    histogram = Histogram()
    histogram.note(1 << 200)
    assert histogram.latency().count == 1

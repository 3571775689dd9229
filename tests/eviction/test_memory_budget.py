"""The shares of a hybrid store's memory are all of it, and no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercache.engines import memory_budget
from hypercache.options import KIB, MIB, Options


@given(mib=st.integers(20, 10_000), limited=st.booleans())
def test_all_shares_together_are_what_was_given(mib, limited):
    options = Options(memory_bytes=mib * MIB, max_items=10 if limited else None)
    cache = memory_budget.read_cache_bytes(options)
    memtable = memory_budget.memtable_bytes(options)
    short = memory_budget.in_short_segments(options, options.memory_bytes)
    mapped = 2 * short.segment_bytes + memory_budget.mapped_bytes(options)
    assert cache > 0
    # What is being folded has its place in the read cache.
    assert memtable <= cache
    assert memtable + cache + mapped <= options.memory_bytes


def test_without_memory_there_is_a_memtable_and_nothing_else():
    options = Options(memory_bytes=0)
    assert memory_budget.read_cache_bytes(options) == 0
    assert memory_budget.memtable_bytes(options) == 4 * MIB


def test_a_segment_that_was_asked_for_shorter_stays_so():
    options = Options(segment_bytes=64 * KIB)
    assert memory_budget.in_short_segments(options, 1 << 40) == options


@pytest.mark.parametrize("value_bytes", [0, 100, 10_000])
def test_the_estimate_of_a_memtable_is_not_below_what_its_objects_take(value_bytes):
    key_count, overwrites = 3_000, 3
    frame_bytes = 40 + 10 + value_bytes
    estimate = memory_budget.estimate_memtable_bytes(
        key_count, key_count * overwrites, key_count * overwrites * frame_bytes
    )
    assert estimate > key_count * (33 + 10 + 33 + value_bytes + 100)

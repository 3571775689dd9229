"""A filter is a multiset of fingerprints in pairs of buckets, as the format has it."""

from collections import Counter
from zlib import crc32

from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from hypercache.errors import FilterFullError
from hypercache.filter import CuckooFilter

MIX = 0x9E3779B1
ITEMS = [b"item %d" % number for number in range(40)]
items = st.sampled_from(ITEMS)
steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["add", "add", "add_if_absent", "remove", "remove any", "load"]
        ),
        items,
    ),
    max_size=120,
)


def kind_of(item, width, bucket_count, seed):
    """Return what docs/filter_format.md says a filter knows of an item."""
    fingerprint = crc32(item) % (256**width - 1) + 1
    first = ((crc32c(item, seed) * MIX) >> 16) % bucket_count
    second = (((fingerprint * MIX) | 1) - first) % bucket_count
    assert second != first
    return fingerprint, min(first, second), max(first, second)


def kinds(made, seed):
    """Return the kind of every item in this filter's table."""
    width = int.from_bytes(made.to_bytes()[28:32], "little")
    bucket_count = made.table_bytes // (4 * width)
    return {item: kind_of(item, width, bucket_count, seed) for item in ITEMS}


def added(made, call, item):
    """Call and return whether the item was added; a refusal must change nothing."""
    before = made.to_bytes()
    try:
        return call(item) is not False
    except FilterFullError:
        assert made.to_bytes() == before
        assert len(made) == made.capacity or before.count(0) < made.table_bytes
        return False


@given(
    capacity=st.integers(1, 40),
    fp_rate=st.sampled_from([0.5, 0.03, 0.01, 1e-6]),
    seed=st.integers(0, 2**32 - 1),
    steps=steps,
)
def test_a_filter_is_a_multiset_of_what_it_can_tell_apart(
    capacity, fp_rate, seed, steps
):
    made = CuckooFilter(capacity, fp_rate, seed=seed)
    kind, model, live = kinds(made, seed), Counter(), Counter()
    for step, item in steps:
        if step in ("add", "add_if_absent"):
            known = model[kind[item]] > 0
            call = made.add if step == "add" else made.add_if_absent
            if added(made, call, item):
                model[kind[item]] += 1
                live[item] += 1
                assert step == "add" or not known
        elif step == "remove" and live[item]:
            assert made.remove(item)
            model[kind[item]] -= 1
            live[item] -= 1
        elif step == "remove any" and not model[kind[item]]:
            assert not made.remove(item)
        elif step == "load":
            made = CuckooFilter.from_bytes(made.to_bytes())
        assert len(made) == model.total()
        assert all(made.contains(item) for item, count in live.items() if count)
    assert {item: item in made for item in ITEMS} == {
        item: model[kind[item]] > 0 for item in ITEMS
    }


@given(seed=st.integers(0, 2**32 - 1), capacity=st.integers(20, 60), data=st.data())
def test_nothing_is_lost_while_a_full_filter_is_turned_over(seed, capacity, data):
    made, live = CuckooFilter(capacity, 0.03, seed=seed), []
    for number in range(3 * capacity):
        item = b"%d" % number
        if len(made) == capacity:
            gone = live.pop(data.draw(st.integers(0, len(live) - 1)))
            assert made.remove(gone)
        if added(made, made.add, item):
            live.append(item)
    assert all(item in made for item in live)
    assert len(made) == len(live)

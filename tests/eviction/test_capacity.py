"""What is counted is what is there, and it never exceeds the limits."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypercache.engines.capacity import maybe_capacity
from hypercache.engines.costs import entry_bytes
from hypercache.engines.expiry import ExpiryIndex
from hypercache.errors import CacheFullError, LimitError
from hypercache.options import Options
from tests.eviction.conftest import NAMES, Now

KEYS = [b"%d" % n for n in range(12)]
BATCHES = st.lists(
    st.tuples(
        st.dictionaries(
            st.sampled_from(KEYS),
            st.one_of(st.none(), st.integers(0, 600).map(bytes)),
            max_size=5,
        ),
        st.booleans(),
    ),
    max_size=60,
)


class Table:
    """A dict with a capacity, as an engine has one."""

    def __init__(self, **limits):
        self.slots = {}
        options, now = Options.resolve(**limits), Now()
        self.capacity = maybe_capacity(
            options, now, self.slots.get, lambda: self.slots, ExpiryIndex(now)
        )

    def write(self, changes, fails=False):
        victims = self.capacity.admit(changes)
        if fails:
            self.capacity.undo()
            return
        for key in victims:
            self.slots.pop(key, None)
        for key, slot in changes.items():
            if slot is None:
                self.slots.pop(key, None)
            elif key not in victims:
                self.slots[key] = slot

    def counted(self):
        return self.capacity.count, self.capacity.payload_bytes

    def actual(self):
        size = sum(entry_bytes(key, slot) for key, slot in self.slots.items())
        return len(self.slots), size


@pytest.mark.parametrize("eviction", NAMES)
@settings(max_examples=100, deadline=None)
@given(batches=BATCHES)
def test_items_are_counted_and_limited(eviction, batches):
    table = Table(max_items=4, eviction=eviction)
    for changes, fails in batches:
        before = dict(table.slots)
        table.write(changes, fails)
        assert table.counted() == table.actual()
        assert len(table.slots) <= 4
        if fails:
            assert table.slots == before


@pytest.mark.parametrize("eviction", NAMES)
@settings(max_examples=100, deadline=None)
@given(batches=BATCHES)
def test_bytes_are_counted_and_limited(eviction, batches):
    table = Table(max_bytes=6_000, eviction=eviction)
    for changes, fails in batches:
        table.write(changes, fails)
        assert table.counted() == table.actual()
        assert table.capacity.payload_bytes <= 6_000


def test_no_more_is_evicted_than_needed():
    table = Table(max_items=10)
    for n in range(100):
        table.write({b"%d" % n: b"value"})
        assert len(table.slots) == min(n + 1, 10)
    assert table.capacity.evicted_count == 90


def test_a_large_value_evicts_as_many_small_ones_as_it_takes():
    table = Table(max_bytes=100_000, eviction="lru")
    for n in range(1000):
        table.write({b"%d" % n: bytes(100)})
    assert 80_000 < table.capacity.used_bytes <= 100_000
    table.write({b"large": bytes(20_000)})
    assert 80_000 < table.capacity.used_bytes <= 100_000


def test_what_a_batch_stores_again_is_not_evicted():
    table = Table(max_items=2, eviction="fifo")
    table.write({b"a": b"1", b"b": b"1"})
    table.write({b"c": b"2", b"a": b"2"})  # c pushes a out, which comes back
    assert table.slots == {b"c": b"2", b"a": b"2"}


def test_of_a_batch_larger_than_the_limit_the_last_entries_stay():
    table = Table(max_items=3, eviction="fifo")
    table.write({b"%d" % n: b"value" for n in range(10)})
    assert sorted(table.slots) == [b"7", b"8", b"9"]


def test_a_value_larger_than_the_limit_is_refused_and_evicts_nothing():
    table = Table(max_bytes=10_000)
    table.write({b"a": b"1"})
    with pytest.raises(LimitError, match=r"key b'b'.*max_bytes=10000"):
        table.write({b"c": b"1", b"b": bytes(10_000)})
    assert table.slots == {b"a": b"1"}
    assert table.counted() == table.actual()


def test_without_eviction_a_full_store_refuses_what_is_new():
    table = Table(max_items=2, eviction="none")
    table.write({b"a": b"1", b"b": b"1"})
    with pytest.raises(CacheFullError, match=r"max_items=2"):
        table.write({b"a": b"2", b"c": b"1"})
    assert table.slots == {b"a": b"1", b"b": b"1"}
    table.write({b"a": b"3"})
    table.write({b"b": None})
    table.write({b"c": b"1"})
    assert table.counted() == table.actual()


def test_what_a_table_held_before_is_counted_and_trimmed():
    slots = {b"%d" % n: b"value" for n in range(10)}
    options = Options.resolve(max_items=4, eviction="fifo")
    index = ExpiryIndex(Now())
    capacity = maybe_capacity(options, Now(), slots.get, lambda: slots, index)
    capacity.load(slots.items())
    assert capacity.count == 10
    assert capacity.surplus() == [b"%d" % n for n in range(6)]
    assert capacity.count == 4


def test_a_policy_that_names_strangers_does_not_hang_the_cache():
    table = Table(max_items=1, eviction="lru")
    table.write({b"a": b"1"})
    table.capacity._policy.candidate = lambda: b"stranger"
    table.write({b"b": b"1"})
    assert set(table.slots) == {b"a", b"b"}


def test_without_limits_there_is_no_capacity():
    assert (
        maybe_capacity(Options.resolve(), Now(), {}.get, dict, ExpiryIndex(Now()))
        is None
    )

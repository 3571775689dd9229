"""What every storage engine promises of single calls and batches.

The promises are the docstrings of hypercache/engines/base.py. Other modules of this
folder have order, expiry, limits and care, threads, and what outlives the process.
"""

import pytest

from hypercache.engines.base import Delete, Entry, Put, Touch
from hypercache.errors import LimitError
from tests.support.clock import START_MS
from tests.support.contents import contents, entries, fill
from tests.support.engines import TINY

# One key


def test_what_was_put_is_got(engine):
    engine.put(b"key", b"value")
    assert engine.get(b"key") == b"value"
    assert engine.get_entry(b"key") == Entry(b"value", 0)


def test_an_absent_key_is_none(engine):
    assert engine.get(b"nothing") is None
    assert engine.get_entry(b"nothing") is None


def test_a_later_put_replaces_value_and_expiry(engine):
    engine.put(b"key", b"one", START_MS + 5_000)
    engine.put(b"key", b"two")
    assert engine.get_entry(b"key") == Entry(b"two", 0)


def test_an_empty_value_is_a_value(engine):
    engine.put(b"key", b"")
    engine.checkpoint()
    assert engine.get(b"key") == b""
    assert engine.get_entry(b"key") == Entry(b"", 0)
    assert engine.count() == 1
    assert contents(engine) == {b"key": b""}


def test_any_bytes_come_back(engine):
    values = [b"\0" * 100, bytes(range(256)), b"\xc5\x9e" * 50, b"HCLOG\n" * 9]
    for value in values:
        engine.put(value[:20], value)
    for _ in range(2):
        assert contents(engine) == {value[:20]: value for value in values}
        engine.checkpoint()


def test_a_value_larger_than_a_segment_and_the_map_comes_back(engine):
    large = b"0123456789" * (20 * TINY["map_bytes"] // 10)
    engine.put(b"large", large)
    engine.put(b"small", b"x")
    assert engine.get(b"large") == large
    engine.checkpoint()
    assert engine.get(b"large") == large
    assert engine.get(b"small") == b"x"


def test_get_many_returns_those_that_are_present(engine):
    engine.put(b"a", b"1")
    engine.checkpoint()
    engine.put(b"b", b"2")
    engine.put(b"gone", b"3")
    engine.apply([Delete(b"gone")])
    assert engine.get_many([b"b", b"x", b"a", b"gone", b"a"]) == {
        b"a": b"1",
        b"b": b"2",
    }
    assert engine.get_many(iter([b"a"])) == {b"a": b"1"}
    assert engine.get_many([]) == {}


# Batches


def test_a_batch_is_applied_in_order(engine):
    engine.put(b"d", b"old")
    engine.apply(
        [
            Put(b"a", b"1"),
            Put(b"b", b"1"),
            Delete(b"b"),
            Put(b"c", b"1"),
            Put(b"c", b"2", START_MS + 9_000),
            Delete(b"d"),
            Put(b"d", b"new"),
            Touch(b"a", START_MS + 8_000),
        ]
    )
    expected = {
        b"a": Entry(b"1", START_MS + 8_000),
        b"c": Entry(b"2", START_MS + 9_000),
        b"d": Entry(b"new", 0),
    }
    assert entries(engine) == expected
    engine.checkpoint()
    assert entries(engine) == expected


def test_a_batch_with_one_bad_op_changes_nothing(engine):
    engine.put(b"a", b"old")
    for bad in (Put(b"", b"x"), Delete(b""), Touch(b"k" * 65_536, 0)):
        with pytest.raises(LimitError):
            engine.apply([Put(b"a", b"new"), Put(b"b", b"new"), bad])
    assert contents(engine) == {b"a": b"old"}


def test_an_empty_batch_changes_nothing_and_returns_the_last_lsn(engine):
    last = engine.put(b"a", b"1")
    assert engine.apply([]) == last
    assert contents(engine) == {b"a": b"1"}


def test_a_batch_may_be_larger_than_a_segment(engine):
    batch = [Put(b"%04d" % n, b"v" * 50) for n in range(500)]
    engine.apply(batch)
    assert engine.count() == 500
    engine.checkpoint()
    assert contents(engine) == {op.key: op.value for op in batch}


# Delete and touch


def test_a_deleted_key_is_absent_also_where_a_checkpoint_had_it(engine):
    engine.put(b"a", b"1")
    engine.put(b"b", b"1")
    engine.checkpoint()
    engine.apply([Delete(b"a")])
    for _ in range(2):
        assert engine.get(b"a") is None
        assert engine.get_entry(b"a") is None
        assert engine.count() == 1
        assert contents(engine) == {b"b": b"1"}
        engine.checkpoint()


def test_deleting_an_absent_key_is_no_error(engine):
    engine.apply([Delete(b"nothing")])
    assert engine.count() == 0


def test_touch_changes_the_expiry_and_keeps_the_value(engine, clock):
    engine.put(b"log", b"1", START_MS + 1_000)
    engine.put(b"lmdb", b"2")
    engine.checkpoint()
    engine.put(b"log", b"1", START_MS + 1_000)
    engine.apply([Touch(b"log", 0), Touch(b"lmdb", START_MS + 2_000)])
    expected = {b"log": Entry(b"1", 0), b"lmdb": Entry(b"2", START_MS + 2_000)}
    assert entries(engine) == expected
    engine.checkpoint()
    assert entries(engine) == expected
    clock.advance(3)
    assert entries(engine) == {b"log": Entry(b"1", 0)}


def test_touch_creates_no_key(engine):
    engine.put(b"deleted", b"1")
    engine.checkpoint()
    engine.apply([Delete(b"deleted")])
    engine.apply([Touch(b"absent", START_MS + 1_000), Touch(b"deleted", 0)])
    for _ in range(2):
        assert engine.get(b"absent") is None
        assert engine.get(b"deleted") is None
        assert engine.count() == 0
        engine.checkpoint()


def test_touch_after_a_delete_in_one_batch_touches_nothing(engine):
    engine.put(b"a", b"1")
    engine.apply([Delete(b"a"), Touch(b"a", START_MS + 1_000)])
    assert engine.get(b"a") is None
    engine.checkpoint()
    assert engine.get(b"a") is None


# Update


def test_update_is_told_the_present_entry_and_writes_what_it_is_given(engine):
    engine.put(b"key", b"1", START_MS + 9_000)
    seen = []

    def change(entry):
        seen.append(entry)
        return Put(b"key", b"2")

    engine.update(b"key", change)
    engine.checkpoint()
    engine.update(b"key", change)
    assert seen == [Entry(b"1", START_MS + 9_000), Entry(b"2", 0)]


def test_update_that_returns_none_writes_nothing(engine):
    engine.put(b"key", b"1")
    before = engine.stats().appended_lsn
    assert engine.update(b"key", lambda entry: None) is None
    assert engine.update(b"other", lambda entry: None) is None
    assert engine.stats().appended_lsn == before
    assert contents(engine) == {b"key": b"1"}


def test_update_can_delete_and_touch(engine):
    engine.put(b"a", b"1")
    engine.put(b"b", b"1")
    assert engine.update(b"a", lambda entry: Delete(b"a")) is not None
    assert engine.update(b"b", lambda entry: Touch(b"b", START_MS + 1_000)) is not None
    assert entries(engine) == {b"b": Entry(b"1", START_MS + 1_000)}


def test_an_update_that_raises_writes_nothing_and_blocks_nobody(engine):
    engine.put(b"key", b"1")

    def change(entry):
        raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        engine.update(b"key", change)
    assert contents(engine) == {b"key": b"1"}
    engine.put(b"key", b"2")
    assert engine.get(b"key") == b"2"


def test_an_update_with_a_value_out_of_range_writes_nothing(engine):
    engine.put(b"key", b"1")
    with pytest.raises(LimitError):
        engine.update(b"key", lambda entry: Put(b"", b"2"))
    assert contents(engine) == {b"key": b"1"}


# Exclusive


def test_what_an_exclusive_block_writes_counts_when_it_has_ended(engine):
    engine.put(b"a", b"1")
    with engine.exclusive():
        assert engine.get(b"a") == b"1"
        assert engine.get_entry(b"a") == Entry(b"1", 0)
        assert engine.get_many([b"a"]) == {b"a": b"1"}
        assert engine.count() == 1
        assert contents(engine) == {b"a": b"1"}
        engine.put(b"b", b"2")
        with engine.exclusive():
            engine.apply([Put(b"c", b"3"), Delete(b"a")])
    assert contents(engine) == {b"b": b"2", b"c": b"3"}


def test_what_a_failed_exclusive_block_had_written_stands(engine):
    def fail():
        with engine.exclusive():
            engine.put(b"a", b"2")
            raise RuntimeError("half way")

    engine.put(b"a", b"1")
    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert engine.get(b"a") == b"2"
    engine.put(b"b", b"3")
    assert contents(engine) == {b"a": b"2", b"b": b"3"}


# Count and clear


def test_count_is_the_number_of_live_keys(engine, clock):
    written = fill(engine, 40)
    assert engine.count() == 40
    engine.checkpoint()
    engine.apply([Delete(b"key-0001"), Delete(b"nothing"), Put(b"new", b"1")])
    engine.put(b"key-0002", b"changed")
    assert engine.count() == len(written)
    engine.put(b"short", b"1", START_MS + 1_000)
    assert engine.count() == 41
    clock.advance(2)
    assert engine.count() == 40


def test_clear_removes_every_key_and_what_comes_after_stays(engine):
    fill(engine, 60)
    engine.checkpoint()
    fill(engine, 20)
    engine.clear()
    assert engine.count() == 0
    assert contents(engine) == {}
    assert engine.get(b"key-0001") is None
    assert engine.get_many([b"key-0001", b"key-0059"]) == {}
    engine.put(b"key-0001", b"new")
    for _ in range(2):
        assert contents(engine) == {b"key-0001": b"new"}
        assert engine.count() == 1
        engine.checkpoint()
    engine.clear()
    engine.clear()
    engine.checkpoint()
    assert engine.count() == 0

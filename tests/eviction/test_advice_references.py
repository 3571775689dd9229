"""What is recorded comes out as it was, and is played as the real cache would."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypercache import Cache
from hypercache.advice import ReferenceSample, Source, Totals
from hypercache.advice.miniature import play
from hypercache.advice.script import script
from hypercache.advice.window import DELETE, HASH_BITS, HIT, MISS, SET, Window
from hypercache.eviction import find_policy

NOTHING = Totals(0, 0)
POLICIES = ("s3fifo", "lru", "lfu", "fifo", "sieve")
HASHES = st.integers(-(1 << 63), (1 << 63) - 1)
A, B, C = 8, 16, 24


def noted(*calls):
    """Return the window of calls of Window, by name and arguments."""
    window = Window(0, NOTHING)
    window.mark(NOTHING)
    for name, *arguments in calls:
        if name == "middle":
            window.marks[1:] = [window.marks[0]._replace(word_count=len(window))]
        elif name == "hit":
            window.note_hit(arguments[0] & HASH_BITS)
        else:
            getattr(window, f"note_{name}")(*arguments)
    window.mark(NOTHING)
    return window


def steps(*calls):
    """Return the steps as (key, bytes, read), all of them in their order."""
    found = script(noted(*calls), 0, 100)
    return [
        (int.from_bytes(step.key, "little", signed=True), *step[1:])
        for step in (*found.opening, *found.counted)
    ]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("hit"), HASHES),
            st.tuples(st.just("miss"), HASHES),
            st.tuples(st.just("delete"), HASHES),
            st.tuples(st.just("set"), HASHES, st.integers(0, 1 << 40)),
            st.tuples(
                st.just("expiring"),
                HASHES,
                *[st.integers(0, 1 << 53)] * 3,
            ),
        )
    )
)
def test_what_was_noted_comes_out_in_its_order(calls):
    kinds = {"hit": HIT, "miss": MISS, "delete": DELETE, "set": SET, "expiring": SET}
    found = [reference for _, reference in noted(*calls).references()]
    assert [each.kind for each in found] == [kinds[name] for name, *_ in calls]
    for each, (name, key, *stored) in zip(found, calls, strict=True):
        assert each.key == key & HASH_BITS
        if name == "expiring":
            assert [each.size_bytes, each.expires_at_ms, each.now_ms] == stored
        elif name == "set":
            assert [each.size_bytes, each.expires_at_ms] == [*stored, 0]
        else:
            assert each.size_bytes == -1


def test_what_is_stored_behind_a_miss_is_stored_by_the_read():
    assert steps(("miss", A), ("miss", B), ("set", A, 5)) == [
        (A, 5, True),
        (B, -1, True),
    ]


def test_what_is_found_before_it_was_stored_had_been_there():
    assert steps(("hit", A), ("hit", B), ("miss", C), ("hit", A)) == [
        (B, 100, False),
        (A, 100, False),
        (A, 100, True),
        (B, 100, True),
        (C, -1, True),
        (A, 100, True),
    ]


def test_what_is_deleted_is_deleted():
    assert steps(("set", A, 5), ("delete", A), ("miss", A)) == [
        (A, 5, False),
        (A, -1, False),
        (A, -1, True),
    ]


def test_what_has_expired_is_deleted_once_its_time_is_over():
    assert steps(
        ("expiring", A, 5, 1000, 900),
        ("expiring", B, 5, 5000, 999),
        ("expiring", C, 5, 5000, 1000),
    ) == [(A, 5, False), (B, 5, False), (A, -1, False), (C, 5, False)]


def test_what_is_found_after_its_time_had_been_given_more():
    assert steps(
        ("expiring", A, 5, 1000, 900),
        ("expiring", B, 5, 5000, 1001),
        ("hit", A),
        ("expiring", C, 5, 5000, 1002),
    ) == [(A, 5, False), (B, 5, False), (A, 5, True), (C, 5, False)]


def test_what_is_stored_again_in_time_does_not_expire():
    assert steps(
        ("expiring", A, 5, 1000, 900),
        ("set", A, 6),
        ("expiring", B, 5, 5000, 1001),
    ) == [(A, 5, False), (A, 6, False), (B, 5, False)]


def test_only_reads_of_the_second_half_are_counted():
    opening, counted = [("miss", A), ("set", A, 1)], [("hit", A), ("hit", A)]
    window = noted(*opening, ("middle",), *counted, ("miss", B))
    found = script(window, 0, 0)
    assert (len(found.opening), len(found.counted)) == (1, 3)
    assert (found.missed_count, found.reference_count) == (1, 4)
    assert play(found, find_policy("lru", float), 10, None) == 1


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=60, deadline=None)
@given(
    calls=st.lists(
        st.tuples(st.sampled_from(["get", "get", "set", "delete"]), st.integers(1, 12)),
        max_size=80,
    ),
    max_items=st.integers(1, 8),
)
def test_a_miniature_that_is_no_smaller_is_the_cache(policy, calls, max_items):
    window, misses = Window(0, NOTHING), 0
    with Cache(max_items=max_items, eviction=policy, serializer="bytes") as cache:
        for name, number in calls:
            key = (number * 8).to_bytes(8, "little")
            if name == "delete":
                cache.delete(key)
                window.note_delete(number * 8)
                continue
            if name == "get" and cache.get(key) is not None:
                window.note_hit(number * 8)
                continue
            if name == "get":
                misses += 1
                window.note_miss(number * 8)
            cache.set(key, b"")
            window.note_set(number * 8, 1)
    window.mark(NOTHING)
    window.marks[1:1] = [window.marks[0]]
    found = script(window, 0, 0)
    assert not found.opening or found.counted == []
    both = found._replace(opening=[], counted=[*found.opening, *found.counted])
    assert play(both, find_policy(policy, float), max_items, None) == misses


def test_what_is_larger_than_all_the_room_is_not_stored():
    found = script(noted(("miss", A), ("set", A, 50), ("miss", A)), 1, 0)
    whole = found._replace(opening=[], counted=[*found.opening, *found.counted])
    assert play(whole, find_policy("lru", float), None, 50) == 2
    assert play(whole, find_policy("lru", float), None, 51) == 1


def sampled(room_count):
    """Return a sample for so much room, and what it says is to be told of hits."""
    notes = []
    source = Source(lambda: NOTHING, lambda: room_count, float, len, notes.append)
    sample = ReferenceSample(source, number_of)
    sample.window()
    return sample, notes[0]


def number_of(key):
    return int.from_bytes(key, "little") << 3


def key_of(number):
    return number.to_bytes(8, "little")


@pytest.mark.parametrize(
    ("room_count", "parts"), [(0, 1), (768, 1), (769, 2), (1_537, 4), (100_000, 256)]
)
def test_of_the_keys_a_part_is_recorded_that_fits_the_room(room_count, parts):
    sample, note_hit = sampled(room_count)
    for number in range(4096):
        note_hit(key_of(number))
        sample.missed(key_of(number))
        sample.deleted(key_of(number))
    found = [reference.key for _, reference in sample.window().references()]
    assert len(found) == 3 * len(set(found))
    assert len(set(found)) == 4096 // max(1, parts // 8)


def test_threads_that_record_at_once_lose_nothing():
    (sample, note_hit), gate = sampled(1), threading.Barrier(4)

    def work(first):
        gate.wait()
        for number in range(first, first + 1000):
            note_hit(key_of(number))
            sample.missed(key_of(number))
            sample.stored(key_of(number), 7, 9)

    threads = [threading.Thread(target=work, args=(n * 1000,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [reference for _, reference in sample.window().references()]
    assert len(found) == 3 * 4000
    for kind in (HIT, MISS, SET):
        keys = {each.key for each in found if each.kind == kind}
        assert keys == {number << 3 for number in range(1000, 5000)}

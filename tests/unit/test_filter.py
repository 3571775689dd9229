"""A cuckoo filter finds what is in it, always, and says when it is full."""

import math

import pytest

from hypercache.errors import ArgumentTypeError, ConfigError, FilterFullError
from hypercache.filter import CuckooFilter
from tests.support.processes import Threads
from tests.support.seeds import seeded

SHAPES = {
    "counter": lambda number: f"user:{number}",
    "long prefix": lambda number: "tenant/eu-west-1/" * 8 + f"{number:012}",
    "long suffix": lambda number: f"{number}" + ":profile:v2" * 4,
    "little-endian": lambda number: number.to_bytes(4, "little"),
    "strided": lambda number: (number * 4096).to_bytes(8, "big"),
}
ITEM_COUNT = 3000
STRANGER_COUNT = 12_000


def filled(items, fp_rate=0.01, seed=0):
    made = CuckooFilter(len(items), fp_rate, seed=seed)
    for item in items:
        made.add(item)
    return made


def test_str_and_its_utf8_bytes_are_one_item():
    made = filled(["schl\u00fcssel"])
    assert "schl\u00fcssel".encode() in made
    assert made.remove("schl\u00fcssel".encode())
    assert not made.contains("schl\u00fcssel")


@pytest.mark.parametrize("item", [1, None, bytearray(b"a"), "\ud800", ("a",)])
def test_what_is_neither_text_nor_bytes_is_refused(item):
    made = CuckooFilter(10)
    for call in (made.add, made.remove, made.contains, made.add_if_absent):
        with pytest.raises(ArgumentTypeError, match="key"):
            call(item)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"capacity": 0}, "capacity"),
        ({"capacity": (1 << 30) + 1}, "capacity"),
        ({"fp_rate": 0}, "fp_rate"),
        ({"fp_rate": 1}, "fp_rate"),
        ({"fp_rate": 1e-12}, "fp_rate"),
        ({"fp_rate": math.nan}, "fp_rate"),
        ({"fp_rate": True}, "fp_rate"),
        ({"fp_rate": "0.1"}, "fp_rate"),
        ({"seed": -1}, "seed"),
        ({"seed": 1 << 32}, "seed"),
    ],
)
def test_an_option_that_cannot_work_is_named(options, name):
    with pytest.raises(ConfigError, match=name):
        CuckooFilter(**{"capacity": 10, **options})


@pytest.mark.parametrize("options", [{"capacity": 1.5}, {"capacity": 1, "seed": "a"}])
def test_an_option_of_the_wrong_type_is_refused(options):
    with pytest.raises(ArgumentTypeError):
        CuckooFilter(**options)


def test_the_properties_tell_what_was_asked_for_and_how_full_it_is():
    made = CuckooFilter(3000, 0.03)
    assert (made.capacity, made.fp_rate) == (3000, 0.03)
    assert (made.load_factor, len(made)) == (0, 0)
    for number in range(3000):
        made.add(f"{number}")
    assert len(made) == 3000
    assert 0.94 <= made.load_factor <= 0.95
    assert made.table_bytes * 8 / 3000 < 8.6


@pytest.mark.parametrize("fp_rate", [0.03, 0.01, 0.001, 1e-8])
@pytest.mark.parametrize("capacity", [1, 2, 5, 17, 100, 3000])
def test_as_many_items_as_the_capacity_says_have_room_and_are_found(capacity, fp_rate):
    rng = seeded(f"room {capacity} {fp_rate}")
    items = [rng.randbytes(8) for _ in range(capacity)]
    made = filled(items, fp_rate, seed=rng.getrandbits(32))
    assert all(item in made for item in items)
    with pytest.raises(FilterFullError):
        made.add(b"one more")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fp_rate", [0.03, 0.01, 0.001])
def test_a_full_filter_keeps_to_its_rate_of_false_positives(shape, fp_rate):
    make = SHAPES[shape]
    made = filled([make(number) for number in range(ITEM_COUNT)], fp_rate)
    strangers = range(ITEM_COUNT, ITEM_COUNT + STRANGER_COUNT)
    found_count = sum(made.contains(make(number)) for number in strangers)
    expected = fp_rate * STRANGER_COUNT
    # Five standard deviations: what is at its limit fails once in a million.
    assert found_count <= expected + 5 * math.sqrt(expected)


def test_another_seed_has_other_false_positives():
    items = [f"user:{number}" for number in range(ITEM_COUNT)]
    strangers = [f"stranger:{number}" for number in range(STRANGER_COUNT)]
    one, other = (
        {stranger for stranger in strangers if stranger in filled_one}
        for filled_one in (filled(items, 0.03, seed) for seed in (1, 2))
    )
    assert one
    assert len(one & other) < len(one) / 2


def test_an_item_counts_as_often_as_it_was_added():
    made = filled(["a", "a", "b"])
    assert [made.remove("a"), "a" in made] == [True, True]
    assert [made.remove("a"), "a" in made] == [True, False]
    assert [made.remove("a"), "b" in made, len(made)] == [False, True, 1]


def test_the_ninth_copy_of_an_item_is_refused_and_changes_nothing():
    made = CuckooFilter(100)
    made.add("b")
    for _ in range(8):
        made.add("a")
    before = made.to_bytes()
    with pytest.raises(FilterFullError, match=r"'a'.*9 of 100 items.*8 times.*larger"):
        made.add("a")
    assert made.to_bytes() == before
    assert [made.remove("a") for _ in range(9)] == [True] * 8 + [False]
    assert "b" in made


def test_eight_copies_find_room_among_others_too():
    made = CuckooFilter(60, 0.03)
    for number in range(52):
        made.add(f"{number}")
    for _ in range(8):
        made.add("a")
    assert all(f"{number}" in made for number in range(52))
    assert all(made.remove("a") for _ in range(8))


def test_a_full_filter_is_as_it_was_after_a_refusal():
    items = [f"user:{number}" for number in range(200)]
    made = filled(items)
    before = made.to_bytes()
    for call in (made.add, made.add_if_absent):
        with pytest.raises(FilterFullError, match="200 of 200"):
            call("one more")
    assert made.to_bytes() == before
    assert made.remove(items[0])
    made.add("one more")
    assert all(item in made for item in [*items[1:], "one more"])


def test_what_is_seen_again_is_told_and_not_added_twice():
    made = CuckooFilter(10)
    assert made.add_if_absent("a")
    assert not made.add_if_absent("a")
    assert len(made) == 1
    assert made.remove("a")
    assert made.add_if_absent("a")


def test_of_threads_that_add_one_item_one_is_told_that_it_is_new():
    made, told = CuckooFilter(2000, 1e-8), []
    with Threads() as threads:
        for _ in range(4):
            threads.start(
                lambda: told.extend(
                    number for number in range(500) if made.add_if_absent(f"{number}")
                )
            )
        threads.join()
    assert sorted(told) == list(range(500))
    assert len(made) == 500


def test_threads_that_add_and_remove_leave_what_they_have_not_removed():
    made = CuckooFilter(400)

    def turn_over(name):
        for number in range(1000):
            made.add(f"{name}:{number}")
            if number >= 100:
                assert made.remove(f"{name}:{number - 100}")

    with Threads() as threads:
        for name in range(3):
            threads.start(turn_over, name)
        threads.join()
    kept = [f"{name}:{number}" for name in range(3) for number in range(900, 1000)]
    assert len(made) == len(kept)
    assert all(item in made for item in kept)

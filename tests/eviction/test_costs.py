"""What is charged for a dict is what it takes once keys have come and gone."""

import sys

import pytest

from hypercache.engines.costs import DictCost, dict_bytes

COUNTS = [
    5,
    10,
    85,
    86,
    170,
    1_000,
    1_365,
    1_366,
    5_000,
    21_845,
    21_846,
    43_690,
    60_000,
]


@pytest.mark.parametrize("count", COUNTS)
def test_a_dict_takes_what_is_charged_for_it_or_is_one_size_smaller(count):
    table = {b"%d" % number: None for number in range(count)}
    for number in range(count, 7 * count + 50):
        del table[b"%d" % (number - count)]
        table[b"%d" % number] = None
    # At the lowest count of a size it was made anew with one key less.
    assert sys.getsizeof(table) in (dict_bytes(count), dict_bytes(count - 1))


def test_asking_for_one_count_after_the_other_tells_the_same():
    cost = DictCost()
    for count in [*range(3_000), *range(3_000, 0, -1)]:
        assert cost.of(count) == dict_bytes(count)

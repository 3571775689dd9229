"""A filter loses nothing when something happens between any two bytecodes.

That is a writer in the middle of a look-up, which takes no lock, or an interrupt in the
middle of a change. At which bytecodes CPython lets them in is its own affair.
"""

import dis
import sys
from contextlib import contextmanager, suppress

import pytest
from crc32c import crc32c

from hypercache.cuckoo import Table
from hypercache.errors import FilterFullError
from hypercache.filter import CuckooFilter
from tests.support.seeds import seeded

STEP_COUNT = len(list(dis.get_instructions(Table.holds)))
TABLE_AT = 40  # docs/filter_format.md


def dense(bucket_count):
    """Return a filter of so many buckets that takes as many items as it has places."""
    data = bytearray(CuckooFilter(1, 0.03).to_bytes()[:TABLE_AT])
    data[8:16] = (4 * bucket_count).to_bytes(8, "little")
    data[32:40] = bucket_count.to_bytes(8, "little")
    data += bytes(4 * bucket_count)
    return CuckooFilter.from_bytes(data + crc32c(data).to_bytes(4, "little"))


@contextmanager
def interrupted(wanted, call, *methods):
    """Call once before the bytecode of that number that these methods execute."""
    left, codes = [wanted], {method.__code__ for method in methods}

    def trace(frame, event, _):
        if frame.f_code not in codes:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left[0] -= 1
            if left[0] == 0:
                call()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def test_an_item_is_found_while_others_make_it_move():
    rng = seeded("movers")
    made, goes = dense(8), []
    stays = [rng.randbytes(8) for _ in range(16)]

    def crowd():
        with suppress(FilterFullError):
            while True:
                made.add(item := rng.randbytes(8))
                goes.append(item)

    for item in stays:
        made.add(item)
    for item in stays * 40:
        with interrupted(rng.randrange(STEP_COUNT), crowd, Table.holds):
            assert item in made
        rng.shuffle(goes)
        while len(made) > 24:
            assert made.remove(goes.pop())


def test_an_item_is_found_while_a_copy_comes_and_another_goes():
    rng = seeded("twins")

    def first_place(item):
        """Return the bucket that an item prefers, of two, and its fingerprint."""
        made = dense(2)
        made.add(item)
        table = made.to_bytes()[TABLE_AT:-4]
        [at] = [at for at, mark in enumerate(table) if mark]
        return at % 2, table[at]

    items = [rng.randbytes(8) for _ in range(3000)]
    place = {item: first_place(item) for item in items}
    item = items[0]
    bucket, mark = place[item]
    twin = next(each for each in items if place[each] == (1 - bucket, mark))
    beside = [each for each in items if place[each][0] == bucket][1:5]
    behind = [each for each in items if place[each][0] != bucket and each != twin][:3]
    for step in range(1, STEP_COUNT):
        made = dense(2)
        for each in [*beside, item, *behind]:
            made.add(each)
        for each in beside:
            assert made.remove(each)

        def turn_over(made=made):
            made.add(twin)
            assert made.remove(twin)

        with interrupted(step, turn_over, Table.holds):
            assert item in made


@pytest.mark.parametrize("name", ["add", "remove"])
def test_an_interrupt_loses_nothing_and_leaves_what_can_be_saved(name):
    rng = seeded(f"interrupt {name}")
    methods = getattr(Table, name), Table._shift
    bytecode_count = sum(len(list(dis.get_instructions(each))) for each in methods)

    def interrupt():
        raise KeyboardInterrupt

    for _ in range(6 * bytecode_count):
        made, stays = dense(8), []
        with suppress(FilterFullError):
            while len(made) < 30:
                made.add(item := rng.randbytes(8))
                stays.append(item)
        item = stays.pop() if name == "remove" else rng.randbytes(8)
        call = getattr(made, name)
        at = rng.randint(1, bytecode_count)
        refused = suppress(FilterFullError, KeyboardInterrupt)
        with refused, interrupted(at, interrupt, *methods):
            call(item)
        assert all(item in made for item in stays)
        assert len(CuckooFilter.from_bytes(made.to_bytes())) <= len(made)

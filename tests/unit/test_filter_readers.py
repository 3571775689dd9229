"""A reader, which takes no lock, finds what is in a filter all along.

Writers run in the middle of a look-up, between any two bytecodes: which of those
CPython lets threads change at is its own affair.
"""

import dis
import sys
from contextlib import contextmanager, suppress

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
def interrupted(wanted, call):
    """Call once before the bytecode of that number that `Table.holds` executes."""
    left = [wanted]

    def trace(frame, event, _):
        if frame.f_code is not Table.holds.__code__:
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
        with interrupted(rng.randrange(STEP_COUNT), crowd):
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

        with interrupted(step, turn_over):
            assert item in made

"""No reader sees a write before it is durable, nor a later one with it."""

import pytest

from hypercache.engines.memory_table import MemoryTable
from hypercache.engines.memtable import Memtable
from hypercache.engines.slots import ABSENT


@pytest.fixture(params=[Memtable, MemoryTable])
def table(request):
    return request.param()


def test_what_is_not_durable_yet_stays_staged(table):
    table.stage(3, {b"a": b"early"})
    table.stage(4, {b"a": b"late", b"b": b"late"})
    table.publish(3)
    assert table.active == {b"a": b"early"}
    assert table.has_staged()
    table.publish(4)
    assert table.active == {b"a": b"late", b"b": b"late"}
    assert not table.has_staged()


def test_a_batch_is_published_only_when_its_last_op_is_durable(table):
    table.stage(5, {b"a": b"1", b"b": b"2"})  # LSNs 4 and 5
    table.publish(4)
    assert table.active == {}


def test_writers_find_the_newest_staged_change(table):
    assert table.find_staged(b"a") == (0, ABSENT)
    table.stage(1, {b"a": b"old"})
    table.stage(2, {b"a": b"new"})
    table.stage(3, {b"b": None})
    assert table.find_staged(b"a") == (2, b"new")
    assert table.find_staged(b"b") == (3, None)
    table.stage(4, None)
    assert table.find_staged(b"a") == (4, None)


def test_a_clear_is_told_when_it_is_published(table):
    table.stage(1, {b"a": b"old"})
    table.stage(2, None)
    table.stage(3, {b"b": b"new"})
    assert table.publish(1) is False
    assert table.publish(3) is True
    assert table.active == {b"b": b"new"}

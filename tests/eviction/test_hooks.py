"""Hooks end whatever they do, and are told nothing of a write that was not made."""

import errno

import pytest

from hypercache.errors import DiskFullError
from hypercache.hooks import Hooks, ToldEngine
from hypercache.testing.simulated_disk import Fault, SimDisk
from tests.support import crashstore


def test_a_hook_that_stores_what_was_evicted_comes_to_an_end(open_cache):
    told = []

    def keep(key):
        told.append(key)
        if len(told) < 1000:  # or the test would not end where a write does not
            cache.set(b"%d" % len(told) + key, 1)

    with open_cache(max_items=5, eviction="fifo", on_evict=keep) as cache:
        for number in range(8):
            before = len(told)
            cache.set(f"k{number}", 1)
            # What was waiting, which each of these calls has made one longer.
            assert len(told) - before <= number + 1
        assert len(told) == len(set(told))
        assert len(cache) == 5


@pytest.mark.parametrize("engine", ["memory", "hybrid"])
def test_a_full_disk_evicts_nothing_and_tells_nothing(engine):
    disk, evicted, levels = SimDisk(), [], []
    hooks = Hooks(evicted.append, None, lambda *level: levels.append(level))
    with crashstore.simulated():
        opened = crashstore.open_engine(disk, engine, max_items=3, eviction="fifo")
        told = ToldEngine(opened, hooks)
        for key in (b"a", b"b", b"c"):
            told.put(key, b"1")
        assert levels == [(95, 1.0)]
        disk.choose_fault = full
        with pytest.raises(DiskFullError):
            told.put(b"d", b"1")
        assert evicted == []
        assert told.stats().evicted_count == 0
        disk.repair()
        told.put(b"d", b"1")
        assert [key for key, _ in told.scan() if key in evicted] == []
        assert len(evicted) == told.stats().evicted_count == 1
        assert levels == [(95, 1.0)]
        told.close()


def full(action, _path):
    return Fault(errno.ENOSPC) if action == "write" else None

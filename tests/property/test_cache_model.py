"""Whatever is done to a Cache in whatever order, it is a dict with expiry.

Also after a close and open, and after a kill: what a kill leaves is what is in the
directory at that moment, because the page cache outlives the process. So a copy of the
directory, taken while the store is open, is opened in the place of the killed one.
"""

import shutil
import tempfile
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from hypercache.engines import DurableMemoryEngine, HybridEngine, PersistentEngine
from tests.support import memory_disk
from tests.support.clock import FakeClock
from tests.support.engines import cache_over, tiny_options

LONG = b"p" * 495
KEYS = [b"a", b"ab", b"b", b"\xff", b"\xff\x00", LONG, LONG + b"0", LONG + b"01"]
KEYS += [LONG + b"\xff" * 20, b"c" * 511, b"c" * 512]
keys = st.sampled_from(KEYS)
sizes = st.sampled_from([0, 10, 10, 300, 5_000])
numbers = st.integers(-5, 5)
ttls = st.sampled_from([None, None, 5.0, 60.0])
some_keys = st.lists(keys, max_size=6)
tags = st.sampled_from("tuv")
some_tags = st.sampled_from([(), (), ("t",), ("u",), ("t", "u"), ("v", "u", "t")])


class RollbackError(Exception):
    pass


class CacheModel(RuleBasedStateMachine):
    engine_class = HybridEngine
    maintenance = "inline"

    @initialize(
        sync=st.sampled_from(["always", "everysec", "no"]),
        log_io=st.sampled_from(["mmap", "write"]),
        memory_bytes=st.sampled_from([0, 2_000, 1_000_000]),
        fold_batch=st.sampled_from([1, 3, 1_000]),
    )
    def open_new(self, **settings_of_run):
        self.open_first(settings_of_run)

    def open_first(self, settings_of_run):
        self.settings = settings_of_run
        self.root = Path(
            tempfile.mkdtemp(prefix="hypercache-model-", dir=memory_disk.place())
        )
        self.stores = count()
        self.stamps = count(1)
        self.clock = FakeClock()
        self.path = self.root / str(next(self.stores))
        # Key to value and the second at which it expires, None for never.
        self.model = {}
        self.tags = {}  # those of the last write of each key
        self.blocks = []  # of the transactions that are open, innermost last
        self.saved = []  # the models that they would roll back to
        self.open()

    def open(self):
        options = tiny_options(maintenance=self.maintenance, **self.settings)
        engine = self.engine_class(str(self.path), options, clock=self.clock)
        self.cache = cache_over(engine)

    def now(self):
        return self.clock.monotonic()

    def live(self):
        return {
            key: value
            for key, (value, until) in self.model.items()
            if until is None or until > self.now()
        }

    def until(self, ttl):
        return None if ttl is None else self.now() + ttl

    def stamp(self, size):
        return [next(self.stamps), "x" * size]

    def drop_expired(self):
        live = self.live()
        self.model = {key: self.model[key] for key in self.model if key in live}

    def put(self, key, value, ttl, tags=()):
        self.model[key] = value, self.until(ttl)
        self.tags[key] = tags

    # Operations

    @rule(key=keys, size=sizes, ttl=ttls, tags=some_tags)
    def set(self, key, size, ttl, tags):
        value = self.stamp(size)
        self.cache.set(key, value, ttl, tags=tags)
        self.put(key, value, ttl, tags)

    @rule(chosen=some_keys, size=sizes, ttl=ttls, tags=some_tags)
    def set_many(self, chosen, size, ttl, tags):
        batch = {key: self.stamp(size) for key in chosen}
        self.cache.set_many(batch, ttl, tags=tags)
        for key, value in batch.items():
            self.put(key, value, ttl, tags)

    @rule(key=keys, size=sizes, ttl=ttls, tags=some_tags)
    def add(self, key, size, ttl, tags):
        value = self.stamp(size)
        absent = key not in self.live()
        assert self.cache.add(key, value, ttl, tags=tags) == absent
        if absent:
            self.put(key, value, ttl, tags)

    @rule(tag=tags)
    def invalidate(self, tag):
        self.cache.invalidate(tag)
        for key in list(self.model):
            if tag in self.tags[key]:
                del self.model[key]

    @rule(key=keys, size=sizes, ttl=ttls)
    def replace(self, key, size, ttl):
        value = self.stamp(size)
        present = key in self.live()
        assert self.cache.replace(key, value, ttl) == present
        if present:
            self.put(key, value, ttl)

    @rule(key=keys, size=sizes, ttl=ttls, right=st.booleans())
    def cas(self, key, size, ttl, right):
        value = self.stamp(size)
        found = self.live().get(key)
        expected = found if right else ["nothing", "like it"]
        swapped = right and found is not None
        assert self.cache.cas(key, expected, value, ttl) == swapped
        if swapped:
            self.put(key, value, ttl)

    @rule(key=keys, delta=numbers, ttl=ttls)
    def incr(self, key, delta, ttl):
        found = self.live().get(key)
        if isinstance(found, list):
            self.cache.set(key, 0)
            self.put(key, 0, None)
            found = 0
        total = (found or 0) + delta
        assert self.cache.incr(key, delta, ttl=ttl) == total
        keeps = found is not None and ttl is None
        until = self.model[key][1] if keeps else self.until(ttl)
        self.model[key] = total, until
        if found is None:
            self.tags[key] = ()

    @rule(key=keys)
    def delete(self, key):
        assert self.cache.delete(key) == (key in self.live())
        self.model.pop(key, None)

    @rule(chosen=some_keys)
    def delete_many(self, chosen):
        assert self.cache.delete_many(chosen) == len(self.live().keys() & set(chosen))
        for key in chosen:
            self.model.pop(key, None)

    @rule(key=keys)
    def pop(self, key):
        assert self.cache.pop(key, "absent") == self.live().get(key, "absent")
        self.model.pop(key, None)

    @rule(key=keys, ttl=ttls)
    def touch(self, key, ttl):
        present = key in self.live()
        assert self.cache.touch(key, ttl) == present
        if present:
            self.model[key] = self.model[key][0], self.until(ttl)

    @rule(key=keys, size=sizes, ttl=ttls)
    def get_or_set(self, key, size, ttl):
        value = self.stamp(size)
        found = self.live().get(key)
        expected = value if found is None else found
        assert self.cache.get_or_set(key, lambda: value, ttl) == expected
        if found is None:
            self.put(key, value, ttl)

    @rule()
    def clear(self):
        self.cache.clear()
        self.model.clear()

    @rule(seconds=st.sampled_from([0.5, 4.0, 30.0]))
    def time_passes(self, seconds):
        self.clock.advance(seconds)
        if not self.saved:
            self.drop_expired()

    # Reads

    @rule(key=keys)
    def read(self, key):
        live = self.live()
        assert self.cache.get(key, "absent") == live.get(key, "absent")
        assert (key in self.cache) == (key in live)
        left = self.cache.ttl(key)
        until = self.model[key][1] if key in live else None
        if until is None:
            assert left is None
        else:
            assert left is not None
            assert abs(left - (until - self.now())) < 0.01

    @rule(chosen=some_keys)
    def get_many(self, chosen):
        live = self.live()
        expected = {key: live[key] for key in chosen if key in live}
        assert self.cache.get_many(chosen) == expected

    @rule(start=st.none() | keys, stop=st.none() | keys, reverse=st.booleans())
    def scan(self, start, stop, reverse):
        found = list(self.cache.scan(start=start, stop=stop, reverse=reverse))
        assert found == [
            item
            for item in sorted(self.live().items(), reverse=reverse)
            if (start is None or start <= item[0]) and (stop is None or item[0] < stop)
        ]

    # Transactions

    @precondition(lambda self: len(self.saved) < 3)
    @rule()
    def begin(self):
        self.saved.append((dict(self.model), dict(self.tags)))
        block = self.cache.transaction()
        block.__enter__()
        self.blocks.append(block)

    @precondition(lambda self: self.saved)
    @rule(outcome=st.sampled_from(["commit", "commit", "roll back"]))
    def end(self, outcome):
        error = RollbackError() if outcome == "roll back" else None
        self.blocks.pop().__exit__(error and RollbackError, error, None)
        before = self.saved.pop()
        if error is not None:
            self.model, self.tags = before

    # Durability

    @precondition(lambda self: not self.saved)
    @rule()
    def checkpoint(self):
        self.cache.checkpoint()

    @precondition(lambda self: not self.saved)
    @rule()
    def compact(self):
        self.cache._engine.compact()

    @precondition(lambda self: not self.saved)
    @rule()
    def sync(self):
        self.cache.sync()

    @precondition(lambda self: not self.saved)
    @rule()
    def reopen(self):
        self.cache.close()
        self.open()

    @precondition(lambda self: not self.saved)
    @rule()
    def crash_and_reopen(self):
        copy = self.root / str(next(self.stores))
        shutil.copytree(self.path, copy)
        self.cache.close()
        shutil.rmtree(self.path)
        self.path = copy
        self.open()

    # Always

    @invariant()
    def it_is_the_same_map(self):
        if not hasattr(self, "cache"):
            return
        live = self.live()
        assert list(self.cache.scan()) == sorted(live.items())
        assert len(self.cache) == len(live)

    def teardown(self):
        if not hasattr(self, "cache"):
            return
        try:
            while self.blocks:
                self.blocks.pop().__exit__(None, None, None)
            report = self.cache.check()
            assert report.ok, report.problems
        finally:
            self.cache.close()
            shutil.rmtree(self.root)


CacheModel.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,  # the same on every run; fuzz/ is where new cases are looked for
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
# Longer than the search: a failure is made small before it is shown.
TestCacheModel = pytest.mark.timeout(600)(CacheModel.TestCase)


class MemoryModel(CacheModel):
    engine_class = DurableMemoryEngine


class WithHelpers(CacheModel):
    maintenance = "process"


class MemoryWithHelpers(MemoryModel):
    maintenance = "process"


MemoryModel.TestCase.settings = CacheModel.TestCase.settings
for model in (WithHelpers, MemoryWithHelpers):
    # Few: each maintenance that comes by itself starts a process.
    model.TestCase.settings = settings(CacheModel.TestCase.settings, max_examples=5)
TestMemoryModel = pytest.mark.timeout(600)(MemoryModel.TestCase)
TestWithHelpers = pytest.mark.timeout(600)(WithHelpers.TestCase)
TestMemoryWithHelpers = pytest.mark.timeout(600)(MemoryWithHelpers.TestCase)


class PersistentModel(CacheModel):
    engine_class = PersistentEngine

    @initialize(sync=st.sampled_from(["always", "no"]))
    def open_new(self, **settings_of_run):
        self.open_first({**settings_of_run, "allow_unsafe_sync": True})


PersistentModel.TestCase.settings = settings(
    CacheModel.TestCase.settings,
    max_examples=7,  # each opens after a crash, and with a helper process
)
TestPersistentModel = pytest.mark.timeout(600)(PersistentModel.TestCase)

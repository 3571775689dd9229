"""What has expired goes, by itself and when asked, and never before its time."""

import random
import threading
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypercache import Cache, sweeper
from hypercache.engines.durable_memory import DurableMemoryEngine
from hypercache.engines.expiry import ExpiryIndex
from hypercache.engines.hybrid import HybridEngine
from hypercache.engines.memory import MemoryEngine
from hypercache.engines.persistent import PersistentEngine
from hypercache.errors import ConfigError
from hypercache.ops import Put, Touch
from hypercache.options import Options
from hypercache.testing.clock import FakeClock
from tests.eviction.conftest import Now

ENGINES = ("volatile", "memory", "hybrid", "persistent")
DURABLE = {
    "memory": DurableMemoryEngine,
    "hybrid": HybridEngine,
    "persistent": PersistentEngine,
}
every_engine = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture
def clock():
    return FakeClock()


def opened(path, engine, clock, **how):
    name = "memory" if engine == "volatile" else engine
    if engine != "persistent":
        how["maintenance"] = "inline"
    options = Options.resolve(engine=name, **how)
    if engine == "volatile":
        return MemoryEngine(options, clock=clock)
    return DURABLE[engine](str(path), options, clock=clock)


@pytest.fixture
def running(engine, tmp_path, clock):
    running = opened(tmp_path / "store", engine, clock)
    yield running
    running.close()


def left(running):
    """Return how many entries there are, expired or not."""
    stats = running.stats()
    if stats.engine == "memory":
        return stats.memtable_count
    running.checkpoint()
    return running._store.state().entry_count


@every_engine
def test_a_sweep_removes_what_has_expired_and_nothing_else(running, clock):
    now = int(running.now_ms())
    for number in range(600):
        running.put(b"%d" % number, b"value", now + 1 + 10 * number)
    running.put(b"lasting", b"value")
    clock.advance(3.0)
    running.checkpoint()
    assert running.sweep() == 300
    assert left(running) == 301
    assert running.sweep() == 0
    assert sum(1 for _ in running.scan()) == 301


@every_engine
def test_steps_get_to_all_of_it(running, clock):
    now = int(running.now_ms())
    running.apply([Put(b"%d" % n, b"value", now + 5) for n in range(500)])
    running.checkpoint()
    clock.advance(1.0)
    steps = [running.sweep(64) for _ in range(9)]
    assert sum(steps) == 500
    assert max(steps) <= 64
    assert left(running) == 0


@every_engine
def test_what_was_stored_again_or_touched_is_not_swept(running, clock):
    now = int(running.now_ms())
    running.apply([Put(b"%d" % n, b"value", now + 5) for n in range(4)])
    running.put(b"1", b"new")
    running.put(b"2", b"new", now + 10_000)
    running.apply([Touch(b"3", 0)])
    clock.advance(1.0)
    running.checkpoint()
    assert running.sweep() == 1
    assert sorted(key for key, _ in running.scan()) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_an_expiry_and_its_sweep_outlive_a_restart(engine, tmp_path, clock):
    running = opened(tmp_path / "store", engine, clock)
    now = int(running.now_ms())
    running.put(b"a", b"value", now + 1000)
    running.put(b"b", b"value", now + 9000)
    running.close()
    running = opened(tmp_path / "store", engine, clock)
    assert running.may_expire
    clock.advance(0.999)
    assert running.get(b"a") == b"value"
    clock.advance(0.001)
    assert running.get(b"a") is None
    assert running.sweep() == 1
    running.close()
    running = opened(tmp_path / "store", engine, clock)
    assert left(running) == 1
    running.close()


@every_engine
def test_a_store_without_expiries_has_nothing_to_sweep(running):
    running.put(b"a", b"value")
    assert not running.may_expire
    assert running.sweep() == 0


@pytest.mark.parametrize("engine", ENGINES[:2])
def test_expired_entries_make_room_before_others_do(engine, tmp_path, clock):
    running = opened(tmp_path / "store", engine, clock, max_items=3, eviction="lru")
    now = int(running.now_ms())
    running.put(b"lasting", b"value")
    running.put(b"expired", b"value", now + 5)
    running.put(b"lasting too", b"value")
    clock.advance(1.0)
    running.put(b"new", b"value")
    found = sorted(key for key, _ in running.scan())
    assert found == [b"lasting", b"lasting too", b"new"]
    assert running.stats().evicted_count == 0
    running.close()


TIMES = st.integers(0, 50)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 9), TIMES, TIMES), max_size=60))
def test_an_index_names_all_that_is_due_and_nothing_early(steps):
    now = Now()
    index, table = ExpiryIndex(now), {}
    for key, left_ms, passed_ms in steps:
        table[key] = slot = (b"", int(now.ms) + left_ms) if left_ms else b""
        index.note(key, slot)
        index.fit(
            sum(isinstance(each, tuple) for each in table.values()), table.items()
        )
        now.ms += passed_ms
        due, done = index.due(100)
        assert done
        expired = {
            key
            for key, slot in table.items()
            if isinstance(slot, tuple) and slot[1] <= now.ms
        }
        assert expired <= set(due)
        for gone in expired:
            del table[gone]


def test_a_cache_is_swept_by_itself():
    with Cache() as cache:
        cache.set_many({str(n): n for n in range(1000)}, ttl=0.01)
        event = threading.Event()
        while cache.stats().memtable_count:
            assert not event.wait(0.01) or False
        assert len(cache) == 0


def sweepers():
    return [each for each in threading.enumerate() if each.name == "hypercache-sweeper"]


def test_one_thread_sweeps_all_caches_and_ends_with_the_last():
    caches = [Cache(default_ttl=10) for _ in range(3)]
    for cache in caches:
        cache.set("key", "value")
    assert len(sweepers()) == 1
    for cache in caches:
        cache.close()
    assert not sweepers()


def test_a_cache_without_ttl_needs_no_thread():
    with Cache() as cache:
        cache.set("key", "value")
        assert not sweepers()


def test_a_forgotten_cache_is_not_kept_alive_by_its_sweeper():
    cache = Cache(default_ttl=10)
    cache.set("key", "value")
    [thread] = sweepers()
    del cache
    thread.join(5)
    assert not thread.is_alive()


class Broken:
    def __init__(self):
        self.asked = threading.Event()

    def sweep(self, _limit=None):
        self.asked.set()
        raise ConfigError("broken")


def test_an_engine_that_cannot_be_swept_is_left_alone():
    broken = Broken()
    sweeper.watch(broken)
    assert broken.asked.wait(5)
    for thread in sweepers():
        thread.join(5)
        assert not thread.is_alive()


def test_expire_removes_all_at_once():
    with Cache(maintenance="inline") as cache:
        cache.set("short", 1, ttl=timedelta(milliseconds=1))
        cache.set("long", 1, ttl=100)
        while "short" in cache:
            pass
        assert cache.expire() == 1
        assert cache.stats().memtable_count == 1


def test_a_read_may_give_a_key_more_time(clock):
    cache = Cache(maintenance="inline")
    cache._serve(MemoryEngine(clock=clock))
    cache.set("key", "value", ttl=10)
    clock.advance(9)
    assert cache.get("key", refresh_ttl=10) == "value"
    assert cache.ttl("key") == 10
    clock.advance(0.099)
    cache.get("key", refresh_ttl=10)  # less than a hundredth: no write
    assert cache.ttl("key") == pytest.approx(9.901)
    clock.advance(0.001)
    cache.get("key", refresh_ttl=10)
    assert cache.ttl("key") == 10
    assert cache.get("absent", refresh_ttl=10) is None
    cache.get("key", refresh_ttl=float("inf"))
    assert cache.ttl("key") is None
    cache.close()


def test_jitter_shortens_a_ttl_and_never_to_nothing(monkeypatch):
    random.seed(1)
    with Cache(ttl_jitter=0.5) as cache:
        for number in range(300):
            cache.set(number.to_bytes(2, "big"), 1, ttl=100)
        found = [cache.ttl(key) for key in cache]
    assert 49 < min(found) < 55
    assert 95 < max(found) <= 100


@pytest.mark.parametrize("jitter", [-0.1, 1.1, "much", True, None])
def test_a_jitter_that_makes_no_sense_is_refused(jitter):
    with pytest.raises(ConfigError, match="ttl_jitter"):
        Cache(ttl_jitter=jitter)

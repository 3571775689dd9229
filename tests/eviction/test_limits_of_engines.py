"""Every engine keeps its limits, at every moment and across reopens."""

import multiprocessing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypercache import Cache
from hypercache.engines.costs import stored_bytes
from hypercache.engines.envelope import HEAD
from hypercache.errors import CacheFullError, LimitError
from tests.eviction.conftest import NAMES

ENGINES = ("volatile", "memory", "hybrid", "persistent")
every_engine = pytest.mark.parametrize("engine", ENGINES)
durable = pytest.mark.parametrize("engine", ENGINES[1:])
on_disk = pytest.mark.parametrize("engine", ENGINES[2:])


def opened(path, engine, **limits):
    if engine == "volatile":
        return Cache(serializer="bytes", **limits)
    how = {"allow_unsafe_sync": True} if engine == "persistent" else {}
    how |= {"maintenance": "inline"} if engine != "persistent" else {}
    return Cache(path, engine=engine, serializer="bytes", sync="no", **how, **limits)


def keys(cache):
    return sorted(cache)


def stored(cache):
    return sum(stored_bytes(key, value) + HEAD.size for key, value in cache.scan())


SETS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 30), min_size=1, max_size=4, unique=True),
        st.one_of(st.none(), st.integers(0, 300)),
        st.sampled_from(["go on", "go on", "go on", "checkpoint", "clear", "reopen"]),
    ),
    max_size=40,
)


@every_engine
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=SETS, eviction=st.sampled_from(NAMES))
def test_there_are_never_more_entries_than_allowed(
    engine, steps, eviction, tmp_path_factory
):
    path = tmp_path_factory.mktemp("store") / "store"
    limits = {"max_items": 7, "eviction": eviction, "memory_bytes": 0}
    cache, model = opened(path, engine, **limits), {}
    for numbers, length, then in steps:
        batch = {b"%d" % number: bytes(length or 0) for number in numbers}
        if length is None:
            cache.delete_many(batch)
            model = {key: model[key] for key in model.keys() - batch.keys()}
        else:
            cache.set_many(batch)
            model |= batch
        if then == "clear":
            cache.clear()
            model = {}
        elif then == "checkpoint":
            cache.checkpoint()
        elif then == "reopen" and engine != "volatile":
            cache.close()
            cache = opened(path, engine, **limits)
        found = dict(cache.scan())
        assert found.items() <= model.items()
        assert len(found) == len(cache) <= 7
        model = found
    assert cache.check().ok
    cache.close()


@on_disk
@settings(max_examples=15, deadline=None)
@given(steps=SETS)
def test_there_are_never_more_bytes_on_disk_than_allowed(
    engine, steps, tmp_path_factory
):
    path = tmp_path_factory.mktemp("store") / "store"
    cache = opened(path, engine, max_bytes=1500, memory_bytes=0)
    for numbers, length, then in steps:
        for number in numbers:
            cache.set(b"%d" % number, bytes(length or 0))
            stats = cache.stats()
            assert stats.payload_bytes + stats.metadata_bytes == stored(cache) <= 1500
        if then == "checkpoint":
            cache.checkpoint()
        elif then == "reopen":
            cache.close()
            cache = opened(path, engine, max_bytes=1500, memory_bytes=0)
    cache.close()


@every_engine
def test_no_more_is_evicted_than_needed(engine, tmp_path):
    with opened(tmp_path / "store", engine, max_items=50) as cache:
        for number in range(300):
            cache.set(b"%d" % number, b"value")
            assert len(cache) == min(number + 1, 50)
        assert cache.stats().evicted_count == 250


@every_engine
def test_what_is_asked_for_stays(engine, tmp_path):
    with opened(tmp_path / "store", engine, max_items=50, eviction="lru") as cache:
        cache.set(b"favourite", b"value")
        for number in range(300):
            assert cache.get(b"favourite") == b"value"
            cache.set(b"%d" % number, b"value")


@durable
def test_a_store_that_is_opened_with_a_lower_limit_is_trimmed(engine, tmp_path):
    with opened(tmp_path / "store", engine) as cache:
        cache.set_many({b"%d" % number: b"value" for number in range(3000)})
    with opened(tmp_path / "store", engine, max_items=100) as cache:
        assert len(cache) == 100
        assert cache.check().ok
    with opened(tmp_path / "store", engine) as cache:
        assert len(cache) == 100


@every_engine
def test_a_full_store_without_eviction_refuses_and_goes_on(engine, tmp_path):
    with opened(tmp_path / "store", engine, max_items=2, eviction="none") as cache:
        cache.set_many({b"a": b"1", b"b": b"1"})
        with pytest.raises(CacheFullError, match="max_items=2"):
            cache.set(b"c", b"1")
        assert keys(cache) == [b"a", b"b"]
        cache.set(b"a", b"2")
        cache.delete(b"b")
        cache.set(b"c", b"1")
        assert keys(cache) == [b"a", b"c"]


@every_engine
def test_a_value_that_can_never_fit_is_refused_and_evicts_nothing(engine, tmp_path):
    with opened(tmp_path / "store", engine, max_bytes=10_000) as cache:
        cache.set(b"a", b"1")
        with pytest.raises(LimitError, match="max_bytes=10000"):
            cache.set(b"b", bytes(10_000))
        assert keys(cache) == [b"a"]


@every_engine
def test_a_transaction_makes_its_room_at_its_end(engine, tmp_path):
    with opened(tmp_path / "store", engine, max_items=3, eviction="fifo") as cache:
        with cache.transaction():
            for number in range(10):
                cache.set(b"%d" % number, b"value")
        assert keys(cache) == [b"7", b"8", b"9"]


@on_disk
def test_what_was_not_used_for_long_goes_before_what_was(engine, tmp_path):
    # With room to know a few hundred keys only, of which the first 100 are asked for.
    limits = {"max_items": 4000, "memory_bytes": 1 << 20, "eviction": "lru"}
    with opened(tmp_path / "store", engine, **limits) as cache:
        favourites = [b"%05d" % number for number in range(100)]
        for number in range(0, 12_000, 100):
            cache.set_many({b"%05d" % n: b"value" for n in range(number, number + 100)})
            for key in favourites:
                cache.get(key)
            if not number % 1000:
                cache.checkpoint()
        assert len(cache) == 4000
        assert len(cache.get_many(favourites)) == 100
        left = [int(key) for key in keys(cache)][100:]
        # A sample is no queue: of what is left most is of the younger half.
        assert sum(number >= 6000 for number in left) > 0.9 * len(left)


@on_disk
def test_what_expires_next_goes_first(engine, tmp_path):
    limits = {"max_items": 1000, "memory_bytes": 0, "eviction": "ttl"}
    with opened(tmp_path / "store", engine, **limits) as cache:
        for number in range(0, 2000, 50):
            batch = {b"%05d" % n: b"value" for n in range(number, number + 50)}
            cache.set_many(batch, ttl=10_000 - number)
            cache.checkpoint()
        assert len(cache) == 1000
        assert sum(int(key) < 1000 for key in cache) > 700


@on_disk
def test_the_memory_for_choosing_does_not_grow_with_the_store(engine, tmp_path):
    sizes = []
    for max_items in (2000, 6000):
        path = tmp_path / str(max_items)
        with opened(path, engine, max_items=max_items, memory_bytes=1 << 19) as cache:
            for number in range(0, 9_000, 500):
                cache.set_many({b"%d" % n: b"" for n in range(number, number + 500)})
            sizes.append(cache._engine._capacity._policy.overhead_bytes())
    assert max(sizes) < 2 * (1 << 19) // 8


def fill(path, name, started):
    with opened(path, "persistent", max_items=60) as cache:
        started.wait()
        for number in range(200):
            cache.set(b"%s%d" % (name, number), b"value")


def test_processes_that_share_a_store_share_its_limit(tmp_path):
    path, fork = tmp_path / "store", multiprocessing.get_context("fork")
    started = fork.Barrier(3)
    writers = [
        fork.Process(target=fill, args=(path, name, started)) for name in (b"a", b"b")
    ]
    for writer in writers:
        writer.start()
    with opened(path, "persistent", max_items=60) as cache:
        started.wait()
        while any(writer.is_alive() for writer in writers):
            assert len(cache) <= 60
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    with opened(path, "persistent") as cache:
        assert len(cache) == 60
        assert cache.check().ok

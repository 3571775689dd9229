"""One owner per store: second openers, closed caches, forked children."""

import os
import subprocess
import sys
import textwrap
import time

import pytest

from hypercache import Cache
from hypercache.errors import (
    ClosedError,
    ConfigError,
    ForkedStoreError,
    StoreLockedError,
)
from tests.support.engines import MMAP, TINY
from tests.support.files import snapshot, unchanged
from tests.support.processes import (
    Threads,
    environment,
    in_fork,
    run_python,
    start_python,
)
from tests.support.refusals import refused
from tests.support.stores import CONTENTS, assert_whole

# A second opener


def test_a_second_opener_in_this_process(store, store_path):
    with unchanged(store_path):
        began = time.perf_counter()
        with refused(StoreLockedError, store_path, os.getpid()) as caught:
            Cache(store_path)
        assert time.perf_counter() - began < 0.1
    assert caught.value.pid == os.getpid()
    assert_whole(store)


def test_a_second_opener_in_another_process(store, store_path):
    code = """
        import sys, time
        import hypercache.engines.hybrid  # imported once, not per open
        from hypercache import Cache
        from hypercache.errors import StoreLockedError
        began = time.perf_counter()
        try:
            Cache(sys.argv[1])
        except StoreLockedError as error:
            print(time.perf_counter() - began, error.pid, error)
    """
    with unchanged(store_path):
        seconds, pid, message = run_python(code, store_path).split(maxsplit=2)
    assert float(seconds) < 0.1
    assert int(pid) == os.getpid()
    assert str(os.getpid()) in message
    assert str(store_path) in message
    assert_whole(store)


def test_an_owner_in_another_process_is_named_and_its_death_frees_the_store(
    closed_store, open_store
):
    code = """
        import sys
        from hypercache import Cache
        cache = Cache(sys.argv[1])
        print("open", flush=True)
        sys.stdin.read()
    """
    with start_python(code, closed_store) as owner:
        try:
            assert owner.stdout.readline() == "open\n"
            before = snapshot(closed_store)
            began = time.perf_counter()
            with refused(StoreLockedError, closed_store, owner.pid) as caught:
                Cache(closed_store)
            assert time.perf_counter() - began < 0.1
            assert caught.value.pid == owner.pid
            assert snapshot(closed_store) == before
        finally:
            owner.kill()
            owner.wait()
    assert_whole(open_store(closed_store))


def test_a_failed_open_leaves_the_store_free(closed_store, open_store):
    with pytest.raises(ConfigError):
        Cache(closed_store, serializer="json")
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(ConfigError):
            Cache(closed_store, serializer="json")
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert_whole(open_store(closed_store))


# The closed and the forked


def operations(cache):
    return {
        "set": lambda: cache.set("a", 1),
        "set_many": lambda: cache.set_many({"a": 1}),
        "get": lambda: cache.get("k01"),
        "get of a checkpointed key": lambda: cache.get("k39"),
        "get_many": lambda: cache.get_many(["k01", "k39"]),
        "add": lambda: cache.add("a", 1),
        "replace": lambda: cache.replace("k01", 1),
        "cas": lambda: cache.cas("k01", 1, 2),
        "incr": lambda: cache.incr("n"),
        "decr": lambda: cache.decr("n"),
        "delete": lambda: cache.delete("k01"),
        "delete_many": lambda: cache.delete_many(["k01"]),
        "pop": lambda: cache.pop("k01"),
        "touch": lambda: cache.touch("k01", 5),
        "ttl": lambda: cache.ttl("k01"),
        "get_or_set": lambda: cache.get_or_set("a", lambda: 1),
        "in": lambda: "k01" in cache,
        "get item": lambda: cache["k01"],
        "set item": lambda: cache.__setitem__("a", 1),
        "delete item": lambda: cache.__delitem__("k01"),
        "len": lambda: len(cache),
        "iter": lambda: list(cache),
        "scan": lambda: list(cache.scan()),
        "scan a part": lambda: list(cache.scan("zzz")),
        "transaction": lambda: cache.transaction().__enter__(),
        "clear": cache.clear,
        "sync": cache.sync,
        "wait_durable": lambda: cache.wait_durable(1),
        "checkpoint": cache.checkpoint,
        "check": cache.check,
        "stats": cache.stats,
    }


def answers(cache, error):
    """Return what every operation answers that does not raise the error."""
    found = {}
    for name, operation in operations(cache).items():
        try:
            found[name] = repr(operation())
        except error:
            continue
        except Exception as other:  # noqa: BLE001  (the caller shows them)
            found[name] = repr(other)
    return found


def test_a_closed_cache_refuses_everything_and_touches_nothing(store, store_path):
    store.close()
    with unchanged(store_path):
        assert answers(store, ClosedError) == {}
        store.close()
    with refused(ClosedError, store_path, "open"):
        store.get("k01")


@pytest.mark.parametrize("sync", ["always", "everysec", "no"])
def test_a_forked_child_is_refused_and_touches_nothing(open_store, store_path, sync):
    cache = open_store(sync=sync)
    cache.set_many(CONTENTS)
    cache.checkpoint()
    cache.set("k01", CONTENTS[b"k01"])
    cache.sync()
    scan = cache.scan()
    first = next(scan)

    def in_child():
        found = answers(cache, ForkedStoreError)
        with refused(ForkedStoreError, store_path, os.getppid()):
            next(scan)
        cache.close()
        return found

    with unchanged(store_path):
        assert in_fork(in_child) == {}
    assert [first, *scan] == sorted(CONTENTS.items())
    cache.set("after", 1)
    assert cache.delete("after")
    assert_whole(cache)
    # The child has not given the parent's lock away.
    code = "import sys, hypercache; hypercache.Cache(sys.argv[1])"
    with start_python(code, store_path) as other:
        _, err = other.communicate(timeout=60)
    assert "StoreLockedError" in err
    assert str(os.getpid()) in err


def test_a_fork_while_threads_write_stops_neither(open_store, store_path):
    cache = open_store(sync="always")

    def write():
        while not threads.stopping.is_set():
            cache.incr("n")

    with Threads() as threads:
        threads.start(write)
        threads.start(write)
        for _ in range(8):
            assert in_fork(lambda: answers(cache, ForkedStoreError)) == {}
            cache.incr("m")
    assert cache["m"] == 8
    assert cache.check().ok


def test_a_forked_child_may_open_another_store(store, tmp_path):
    def in_child():
        with Cache(tmp_path / "other", **TINY, **MMAP) as cache:
            cache.set("a", 1)
            return cache["a"]

    assert in_fork(in_child) == 1
    assert_whole(store)


def test_a_forked_child_may_open_the_store_when_the_parent_has_closed_it(
    store, store_path, open_store
):
    store.close()

    def in_child():
        with Cache(store_path, **TINY, **MMAP) as cache:
            cache.set("from the child", 1)
            return len(cache)

    assert in_fork(in_child) == len(CONTENTS) + 1
    assert open_store()["from the child"] == 1


# Where the program runs


def test_files_in_the_working_directory_do_not_get_in_the_way(closed_store, tmp_path):
    # Helper processes must not import what happens to lie about.
    for name in ("lmdb", "msgpack", "crc32c", "json", "random", "logging"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')")
    code = """
        import sys
        from hypercache import Cache
        with Cache(sys.argv[1], verify="full", checkpoint_bytes=4096) as cache:
            for n in range(300):
                cache.set("n", "v" * 100)
            print(cache.check(), cache.stats().maintenance_error)
    """
    # -P: the program itself does not look there either.
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(code), str(closed_store)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "problems=()" in done.stdout, done.stdout
    assert "helper" not in done.stderr, done.stderr

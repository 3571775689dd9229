"""A full disk refuses a write, loses nothing, and heals without a reopen.

Everything runs in a process of its own: a limit on file sizes holds for a whole
process, and a store into a map that has no blocks would kill it.
"""

import json

import pytest

from hypercache import Cache
from tests.support.engines import MMAP, TINY, WRITE
from tests.support.mounts import mounted
from tests.support.processes import run_python

# What every script below begins with. `fill` writes until the disk is full and notes
# what was acknowledged.
PRELUDE = """
    import json, os, resource, signal, sys
    from hypercache import Cache
    from hypercache.errors import DiskFullError

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path, settings = sys.argv[1], json.loads(sys.argv[2])
    contents = {}

    def put(cache, number, size):
        name = f"k{number % 50:02d}-{'x' * (number % 3)}"
        value = [number, "v" * size]
        cache.set(name, value)
        contents[name.encode()] = value

    def fill(cache, first, size, count=20_000):
        for number in range(first, first + count):
            try:
                put(cache, number, size)
            except DiskFullError as error:
                assert path in str(error), error
                assert "space" in str(error), error
                return number
        raise AssertionError("the disk never was full")

    def assert_whole(cache):
        found = dict(cache.scan())
        assert found == contents, sorted(found.keys() ^ contents.keys())
        for name, value in contents.items():
            assert cache.get(name) == value
        assert len(cache) == len(contents)
        assert cache.stats().failure is None, cache.stats().failure
"""
LIMITED = (
    PRELUDE
    + """
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))

    cache = Cache(path, **settings)
    number = 0
    # 1: not even a footer fits; the last: a segment does not.
    for size in (1, 100, 3_000, 20_000):
        for number in range(number, number + 30):
            put(cache, number, 100)
        limit(size)
        number = fill(cache, number + 1, 100)
        assert_whole(cache)
        for _ in range(3):
            assert fill(cache, number, 100, count=1) == number
            try:
                cache.set_many({"k00-": "v" * 200, "new": 0})
            except DiskFullError:
                pass
            else:
                raise AssertionError("a batch went where a write did not")
        assert_whole(cache)
        limit(most)
        put(cache, number, 100)
        assert_whole(cache)
        cache.checkpoint()
        assert cache.check().ok, cache.check()
        assert_whole(cache)
    cache.close()
    with Cache(path, verify="full", **settings) as cache:
        assert_whole(cache)
        assert cache.check().ok
    print("whole")
"""
)
SMALL = (
    PRELUDE
    + """
    ballast = path + "-ballast"
    with open(ballast, "wb") as file:
        file.write(b"b" * 400_000)
    cache = Cache(path, **settings)
    number = 0
    for turn in range(3):
        with open(f"{path}-rest", "wb", buffering=0) as file:
            try:
                while file.write(b"r" * 4096):
                    pass
            except OSError:
                pass
        number = fill(cache, number, 300)
        assert_whole(cache)
        assert fill(cache, number, 300, count=1) == number
        assert_whole(cache)
        if turn == 2:
            break
        os.unlink(f"{path}-rest")
        for number in range(number, number + 100):
            put(cache, number, 300)
        assert_whole(cache)
        cache.checkpoint()
        assert cache.check().ok, cache.check()
    cache.close()  # still full
    os.unlink(f"{path}-rest")
    os.unlink(ballast)
    with Cache(path, verify="full", **settings) as cache:
        assert_whole(cache)
        put(cache, number, 300)
        assert cache.check().ok
    print("whole", json.dumps({k.decode(): v for k, v in contents.items()}))
"""
)
SEGMENTS = {"segment_bytes": 32 * 1024, "checkpoint_bytes": 64 * 1024}
CASES = {"mmap": {**TINY, **MMAP, **SEGMENTS}, "write": {**TINY, **WRITE, **SEGMENTS}}


@pytest.mark.parametrize("case", CASES)
def test_a_limit_on_file_sizes_is_a_full_disk_that_heals(tmp_path, case):
    out = run_python(LIMITED, tmp_path / "store", json.dumps(CASES[case]))
    assert out.startswith("whole")


@pytest.mark.privileged
@pytest.mark.parametrize("case", CASES)
def test_a_full_file_system_heals_without_a_reopen(tmp_path, case):
    with mounted(tmp_path / "small", "size=2m,mode=700") as small:
        out = run_python(SMALL, small / "store", json.dumps(CASES[case]))
        word, _, told = out.partition(" ")
        assert word == "whole"
        contents = {name.encode(): value for name, value in json.loads(told).items()}
        with Cache(small / "store", **CASES[case]) as cache:
            assert dict(cache.scan()) == contents
            assert cache.check().ok


@pytest.mark.privileged
def test_a_disk_too_small_for_a_new_store_is_named_and_left_empty_enough(tmp_path):
    code = """
        import sys
        from hypercache import Cache
        from hypercache.errors import DiskFullError
        try:
            with Cache(sys.argv[1]) as cache:
                cache.set("a", 1)
        except DiskFullError as error:
            print(error)
    """
    with mounted(tmp_path / "small", "size=64k,mode=700") as small:
        with (small / "ballast").open("wb", buffering=0) as file:
            file.write(b"b" * 32_768)
        out = run_python(code, small / "store")
        assert str(small / "store") in out
        (small / "ballast").unlink()
    with mounted(tmp_path / "small", "size=8m,mode=700") as small:
        assert run_python(code, small / "store") == ""


@pytest.mark.privileged
def test_many_reading_threads_survive_a_full_disk(tmp_path):
    # LMDB gives each reading thread a slot in a file that may have no block there yet.
    code = """
        import os, sys, threading
        from hypercache import Cache
        cache = Cache(sys.argv[1], memory_bytes=0)
        cache.set("a", 1)
        cache.checkpoint()
        with open(sys.argv[1] + "-rest", "wb", buffering=0) as file:
            try:
                while file.write(b"r" * 512):
                    pass
            except OSError:
                pass
        barrier = threading.Barrier(300)
        found = []
        def read():
            found.append(cache.get("a"))
            barrier.wait()
        threads = [threading.Thread(target=read) for _ in range(300)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [1] * 300
        os.unlink(sys.argv[1] + "-rest")
        cache.close()
        print("read")
    """
    with mounted(tmp_path / "small", "size=4m,mode=700") as small:
        assert run_python(code, small / "store") == "read\n"

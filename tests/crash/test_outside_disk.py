"""A disk that is full refuses a write, loses nothing, and heals: the other engines.

tests/crash/test_disk_full.py has the hybrid one. Everything runs in a process of its
own, because a limit on file sizes holds for a whole process.
"""

import json

import pytest

from hypercache import Cache
from tests.support.engines import LMDB, MMAP, TINY, WRITE
from tests.support.mounts import mounted
from tests.support.processes import run_python

SEGMENTS = {"segment_bytes": 32 * 1024, "compact_min_bytes": 128 * 1024}
CASES = {
    "memory-mmap": {"engine": "memory", **TINY, **MMAP, **SEGMENTS},
    "memory-write": {"engine": "memory", **TINY, **WRITE, **SEGMENTS},
    "persistent": {"engine": "persistent", **TINY, **LMDB},
}
SMALL = """
    import json, os, sys
    from hypercache import Cache
    from hypercache.errors import DiskFullError

    path, settings = sys.argv[1], json.loads(sys.argv[2])
    contents = {}

    def put(number):
        name, value = f"k{number:05d}", [number, "v" * 300]
        cache.set(name, value)
        contents[name] = value

    def assert_whole():
        assert {key.decode(): value for key, value in cache.scan()} == contents
        assert all(cache[name] == value for name, value in contents.items())
        assert cache.stats().failure is None, cache.stats().failure

    def fill_the_rest():
        with open(f"{path}-rest", "wb", buffering=0) as file:
            try:
                while file.write(b"r" * 4096):
                    pass
            except OSError:
                pass

    cache = Cache(path, **settings)
    number = 0
    for turn in range(3):
        for number in range(number, number + 60):
            put(number)
        fill_the_rest()
        for number in range(number + 1, number + 20_000):
            try:
                put(number)
            except DiskFullError as error:
                assert path in str(error) and "space" in str(error), error
                break
        else:
            raise AssertionError("the disk never was full")
        for _ in range(2):
            assert_whole()
            try:
                cache.set_many({f"k{n:02d}": "w" * 4000 for n in range(30)})
            except DiskFullError:
                pass
            else:
                raise AssertionError("a batch went where a write did not")
        assert_whole()
        os.unlink(f"{path}-rest")
        put(number)
        assert_whole()
        assert cache.check().ok, cache.check()
    os._exit(print("whole", json.dumps(contents), flush=True) or 0)
"""


@pytest.mark.privileged
@pytest.mark.parametrize("case", CASES)
def test_a_full_file_system_heals_without_a_reopen(tmp_path, case):
    with mounted(tmp_path / "small", "size=3m,mode=700") as small:
        out = run_python(SMALL, small / "store", json.dumps(CASES[case]))
        word, _, told = out.partition(" ")
        assert word == "whole"
        contents = {name.encode(): value for name, value in json.loads(told).items()}
        # It ended without a close: what was acknowledged is in the files all the same.
        with Cache(small / "store", verify="full", **CASES[case]) as cache:
            assert dict(cache.scan()) == contents
            assert cache.check().ok


EVERY_BYTE = """
    import json, resource, signal, sys
    from hypercache import Cache
    from hypercache.errors import DiskFullError

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path, settings = sys.argv[1], json.loads(sys.argv[2])
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    cache = Cache(path, **settings)
    cache.set("first", 0)
    contents = {b"first": 0}
    log = cache._engine._log
    frame_bytes = None
    for room in range(200):
        end = log._segment.offset if log._segment else 0
        limit = end + room
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
        value = [room, "v" * 20]
        try:
            cache.set("key", value)
        except DiskFullError:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            assert dict(cache.scan()) == contents, room
            cache.set("key", value)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            frame_bytes = log._segment.offset - end
        contents[b"key"] = value
        assert dict(cache.scan()) == contents, room
        if frame_bytes and room > frame_bytes + 2:
            break
    assert frame_bytes and room >= frame_bytes, "no write ever fitted"
    assert cache.check().ok, cache.check()
    cache._engine._log.close()
    with open(path + "-told", "w") as file:
        json.dump([room, frame_bytes, value], file)
    import os
    os._exit(0)
"""


@pytest.mark.parametrize("engine", ["memory", "hybrid"])
@pytest.mark.parametrize("sync", ["always", "everysec"])
def test_a_frame_cut_off_at_any_byte_is_taken_back(tmp_path, engine, sync):
    settings = {
        "engine": engine,
        "log_io": "write",
        "sync": sync,
        "maintenance": "inline",
    }
    run_python(EVERY_BYTE, tmp_path / "store", json.dumps(settings))
    room, frame_bytes, value = json.loads((tmp_path / "store-told").read_text())
    assert room >= frame_bytes > 50
    with Cache(tmp_path / "store", engine=engine, verify="full") as cache:
        assert dict(cache.scan()) == {b"first": 0, b"key": value}
        assert cache.stats().recovery == ()
        assert cache.check().ok

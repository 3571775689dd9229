"""Two openers, for the engines that one process has to itself."""

import os
import time

import pytest

from hypercache import Cache
from hypercache.errors import CorruptionError, StoreLockedError
from tests.support.files import unchanged
from tests.support.processes import run_python, start_python
from tests.support.refusals import refused

SECOND = """
    import sys, time
    from hypercache import Cache
    import hypercache.engines.hybrid, hypercache.engines.durable_memory
    from hypercache.errors import StoreLockedError
    for _ in range(10):
        began = time.perf_counter()
        try:
            Cache(sys.argv[1], engine=sys.argv[2])
        except StoreLockedError as error:
            print(time.perf_counter() - began, error.pid)
"""
OWNER = """
    import sys
    from hypercache import Cache
    cache = Cache(sys.argv[1], engine=sys.argv[2])
    cache.set("a", 1)
    cache.sync()
    print("open", flush=True)
    sys.stdin.read()
"""
each_engine = pytest.mark.parametrize("engine", ["memory", "hybrid"])


@each_engine
def test_ten_second_openers_are_told_at_once_who_has_it(store_path, engine):
    with Cache(store_path, engine=engine) as cache:
        cache.set("a", 1)
        cache.sync()
        with unchanged(store_path):
            lines = run_python(SECOND, store_path, engine).splitlines()
        assert len(lines) == 10
        seconds = sorted(float(line.split()[0]) for line in lines)
        assert {line.split()[1] for line in lines} == {str(os.getpid())}
        # The slowest of ten may have had to wait for a processor.
        assert seconds[4] < 0.1, seconds
        assert cache["a"] == 1
        assert cache.check().ok


@each_engine
def test_the_death_of_an_owner_frees_the_store_at_once(store_path, engine):
    for turn in range(2):
        with start_python(OWNER, store_path, engine) as owner:
            assert owner.stdout.readline() == "open\n"
            with refused(StoreLockedError, store_path, owner.pid):
                Cache(store_path, engine=engine)
            owner.kill()
            owner.wait()
        began = time.perf_counter()
        with Cache(store_path, engine=engine, maintenance="inline") as cache:
            took_s = time.perf_counter() - began
            assert cache["a"] == 1, turn
            assert cache.check().ok
        assert took_s < 10


@each_engine
def test_a_store_whose_files_lost_their_lock_file_opens(store_path, engine):
    with Cache(store_path, engine=engine) as cache:
        cache.set("a", 1)
    (store_path / "LOCK").unlink()
    with Cache(store_path, engine=engine) as cache:
        assert cache["a"] == 1
    (store_path / "LOCK").write_bytes(os.urandom(9000))
    with Cache(store_path, engine=engine) as cache:
        assert cache["a"] == 1
    (store_path / "STORE").unlink()
    with pytest.raises(CorruptionError):
        Cache(store_path, engine=engine)

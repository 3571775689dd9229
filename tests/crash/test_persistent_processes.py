"""Several processes on one persistent store, and some of them are killed."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from hypercache import Cache
from hypercache.engines import HybridEngine, PersistentEngine
from hypercache.engines.base import Put
from hypercache.errors import ConfigError, StoreLockedError
from hypercache.options import Options
from tests.support.files import find_bytes, flipped
from tests.support.processes import (
    TIMEOUT_S,
    Threads,
    environment,
    run_python,
    start_python,
)
from tests.support.refusals import refused
from tests.support.seeds import seeded, tell
from tests.support.shared_worker import LEFT, RIGHT, SUM, read_records

SEED = os.environ.get("HYPERCACHE_SEED", "11")
SOAK_S = float(os.environ.get("HYPERCACHE_SOAK_S", "2"))
PROCESSES = 8
KILLED = 2

OPTIONS = {"map_bytes": 65536, "engine": "persistent"}


def open_persistent(path, **changes):
    return PersistentEngine(str(path), Options.resolve(**{**OPTIONS, **changes}))


@pytest.fixture
def open_shared(opened, store_path):
    return lambda **changes: opened.add(Cache(store_path, **{**OPTIONS, **changes}))


@pytest.fixture
def engine(opened, store_path):
    return opened.add(open_persistent(store_path))


@contextlib.contextmanager
def workers(store_path, records, count=PROCESSES):
    command = [sys.executable, "-m", "tests.support.shared_worker"]
    processes = [
        subprocess.Popen(
            [*command, str(store_path), str(records), f"p{n}", SEED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for n in range(count)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def told(process):
    """Return the next line a process prints; fail with its error if it prints none."""
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return line.strip()


def test_processes_and_threads_share_a_store_while_some_are_killed(
    store_path, tmp_path, open_shared
):
    rng = seeded(SEED)
    records = tmp_path / "records"
    records.mkdir()
    with workers(store_path, records) as processes:
        for process in processes:
            assert told(process) == "open"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        end = time.monotonic() + SOAK_S
        for process in rng.sample(processes, KILLED):
            time.sleep(rng.uniform(0.1, 0.8) * SOAK_S / KILLED)
            process.kill()
        time.sleep(max(0.0, end - time.monotonic()))
        turns = []
        for process in processes:
            out, err = process.communicate(timeout=TIMEOUT_S)
            if process.returncode != -signal.SIGKILL:
                assert process.returncode == 0, err
                turns.append(int(out))
    tell(f"steps of the survivors: {turns}")
    assert len(turns) == PROCESSES - KILLED
    cache = open_shared()
    check_sums(cache, dict(read_records(records)))
    assert cache.get(LEFT, 0) + cache.get(RIGHT, 0) == 0
    report = cache.check()
    assert report.ok, report.problems
    # All had their turns: none was kept from writing by the others.
    assert min(turns) * 10 > max(turns), turns


def check_sums(cache, records):
    """Every acknowledged increment is there once, and one under way at most once."""
    sums = [number for record in records.values() for number in record.sums]
    assert len(sums) == len(set(sums)), "two increments were told the same sum"
    total = cache.get(SUM, 0)
    in_flight_count = sum(record.in_flight_count for record in records.values())
    tell(f"{len(sums)} acknowledged, {in_flight_count} in flight, sum {total}")
    untold = set(range(1, total + 1)) - set(sums)
    assert set(sums) <= set(range(1, total + 1)), "an acknowledged increment is lost"
    assert len(untold) <= in_flight_count, f"nobody made the increments {untold}"
    owns = {name: cache.get(name, 0) for name in records}
    for name, record in records.items():
        assert record.own_count <= owns[name] <= record.own_begun_count, name
    assert cache.get("owns", 0) == sum(owns.values()), "half a transaction"


# Opening


RACE = """
    import sys
    from hypercache import Cache
    print("up", flush=True)
    sys.stdin.readline()
    with Cache(sys.argv[1], engine="persistent") as cache:
        cache.incr("opened")
        with cache.transaction():
            cache.incr("opened")
"""


def test_four_processes_that_create_the_store_at_once_share_it(store_path, open_shared):
    with contextlib.ExitStack() as stack:
        racers = [stack.enter_context(start_python(RACE, store_path)) for _ in range(4)]
        for racer in racers:
            assert told(racer) == "up"
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        for racer in racers:
            _, err = racer.communicate(timeout=TIMEOUT_S)
            assert racer.returncode == 0, err
    cache = open_shared()
    assert cache["opened"] == 8
    assert cache.check().ok


def test_a_second_open_in_one_process_is_refused(engine, store_path):
    engine.put(b"a", b"1")
    with refused(StoreLockedError, store_path, os.getpid()) as caught:
        open_persistent(store_path)
    assert caught.value.pid == os.getpid()
    assert engine.get(b"a") == b"1"


HOLD = """
    import sys
    from hypercache import Cache
    cache = Cache(sys.argv[1], engine="persistent", map_bytes=65536)
    print("open", flush=True)
    for line in sys.stdin:
        exec(line)
        print("done", flush=True)
    cache.close()
"""


@pytest.fixture
def other(store_path):
    """Another process that has the store open and does as it is told."""
    with start_python(HOLD, store_path) as process:
        try:
            assert told(process) == "open"
            yield process
        finally:
            process.kill()
            process.communicate()


def order(process, code, *, wait=True):
    process.stdin.write(code + "\n")
    process.stdin.flush()
    if wait:
        assert told(process) == "done"


def test_an_exclusive_owner_is_refused_while_anybody_shares_the_store(
    engine, other, store_path
):
    from hypercache.storage import OsStorage

    engine.close()
    with refused(StoreLockedError, store_path, other.pid) as caught:
        OsStorage().lock(str(store_path), f"{store_path}/LOCK")
    assert caught.value.pid == other.pid


def test_a_store_of_another_engine_is_refused_at_once(store_path, opened):
    hybrid = opened.add(HybridEngine(str(store_path), Options.resolve()))
    began = time.perf_counter()
    with refused(ConfigError, store_path, "hybrid"):
        open_persistent(store_path)
    assert time.perf_counter() - began < 0.1
    hybrid.put(b"a", b"1")


def test_a_creator_that_was_killed_leaves_nothing_in_the_way(store_path, open_shared):
    code = """
        import os, sys
        from hypercache.engines import shared_store
        from hypercache.options import Options
        from hypercache.paths import StorePaths
        from hypercache.storage import OsStorage
        shared_store.checkpoint.store = lambda *_: os.kill(os.getpid(), 9)
        paths = StorePaths(sys.argv[1])
        shared_store.open_store(OsStorage(), paths, Options.resolve())
    """
    with start_python(code, store_path) as creator:
        creator.communicate(timeout=TIMEOUT_S)
    assert creator.returncode == -signal.SIGKILL
    cache = open_shared()
    cache.set("a", 1)
    assert cache.check().ok


def test_only_the_last_to_close_says_that_the_store_is_clean(engine, other, store_path):
    from hypercache.paths import StorePaths
    from hypercache.storage import OsStorage
    from hypercache.wal import checkpoint

    def is_clean():
        return checkpoint.load(OsStorage(), StorePaths(str(store_path))).clean

    assert not is_clean()
    engine.put(b"a", b"1")
    engine.close()
    assert not is_clean()
    order(other, "cache.set('b', 1)")
    other.communicate(timeout=TIMEOUT_S)
    assert other.returncode == 0
    assert is_clean()


# What one process does, the others see


def test_a_write_is_seen_by_the_other_process_at_once(engine, other):
    for n in range(5):
        order(other, f"cache.set('n', {n})")
        assert engine.get(b"n") == bytes([n])
        engine.put(b"m", bytes([n]))
        order(other, f"assert cache['m'] == {n}")


def test_lsns_of_two_processes_are_one_sequence(engine, other):
    first = engine.put(b"a", b"1")
    order(other, f"assert cache.set('b', 1) == {first + 1}")
    assert engine.apply([Put(b"c", b"1"), Put(b"d", b"1")]) == first + 3
    order(other, f"assert cache.sync() == {first + 3}")
    assert engine.stats().appended_lsn == engine.stats().synced_lsn == first + 3


def test_the_map_grows_under_readers_and_writers_of_other_processes(engine, other):
    engine.put(b"kept", b"1")
    scan = engine.scan()
    order(other, "[cache.set(f'k{n:04d}', 'v' * 1000) for n in range(1000)]")
    assert engine.get(b"kept") == b"1"
    assert next(scan)[0] in (b"k0000", b"kept")
    assert engine.count() == 1001
    engine.apply([Put(b"m%04d" % n, bytes(1000)) for n in range(3000)])
    order(other, "assert len(cache) == 4001")
    order(other, "assert len(list(cache._engine.scan(b'm'))) == 3000")
    assert engine.check().ok


def test_a_reader_process_goes_on_while_another_grows_the_map(engine, other):
    order(other, "cache.set('kept', 1)")
    read = "[cache['kept'] for n in range(20000)]"
    order(other, read, wait=False)
    for n in range(60):
        engine.put(b"large-%d" % n, bytes(100_000))
    assert told(other) == "done"


def test_a_transaction_keeps_the_writers_of_other_processes_out(engine, other):
    engine.put(b"n", bytes([0]))
    order(other, "tx = cache.transaction(); tx.__enter__()")
    with Threads() as threads:
        threads.start(engine.put, b"n", bytes([5]))
        order(other, "assert cache.incr('n') == 1")
        order(other, "assert cache.incr('n') == 2")
        assert engine.get(b"n") == bytes([0])
        order(other, "tx.__exit__(None, None, None)")
        threads.join()
    assert engine.get(b"n") == bytes([5])
    order(other, "assert cache['n'] == 5")


@pytest.mark.parametrize(
    "where",
    [
        "block = cache._engine.exclusive(); block.__enter__()",
        "cache._engine._commits._writer.acquire()",
        "txn = cache._engine._store._env.begin(write=True)",
    ],
)
def test_a_process_that_dies_inside_a_write_blocks_nobody(engine, other, where):
    engine.put(b"a", b"1")
    order(other, "cache.set('b', 1)")
    order(other, where)
    other.kill()
    other.wait()
    with Threads() as threads:
        threads.start(engine.put, b"a", b"2")
        threads.join()
    assert engine.get(b"a") == b"2"
    assert engine.get(b"b") == bytes([1])
    assert engine.check().ok


def test_a_fork_does_not_keep_the_write_lock_of_a_dead_parent(store_path, engine):
    code = """
        import os, sys
        from hypercache import Cache
        cache = Cache(sys.argv[1], engine="persistent")
        with cache.transaction():
            if os.fork() == 0:
                print("forked", flush=True)
                sys.stdin.read()
                os._exit(0)
            sys.stdin.readline()
            os.kill(os.getpid(), 9)
    """
    with start_python(code, store_path) as parent:
        assert told(parent) == "forked"
        parent.kill()
        parent.wait()
        with Threads() as threads:
            threads.start(engine.put, b"a", b"1")
            threads.join()
        parent.communicate()
    assert engine.get(b"a") == b"1"


def test_check_reads_one_moment_while_others_write(engine, other):
    busy = "[cache.set(f'k{n % 50}', 'v' * (n % 900)) for n in range(1500)]"
    order(other, busy, wait=False)
    for _ in range(3):
        report = engine.check()
        assert report.ok, report.problems
    assert told(other) == "done"


def test_verify_full_reads_the_store_beside_another_process(store_path, other):
    order(other, "cache.set('key', 'needle-in-a-file' * 3)")
    code = """
        import sys
        from hypercache import Cache
        Cache(sys.argv[1], engine="persistent", verify="full").close()
    """
    run_python(code, store_path)
    with flipped(find_bytes(store_path, b"needle-in-a-file")):
        with start_python(code, store_path) as opener:
            _, err = opener.communicate(timeout=TIMEOUT_S)
        assert "CorruptionError" in err
    order(other, "assert cache.check().ok")

"""Readers of a persistent store that die, or fill the table of readers."""

import os
import time

import pytest

from hypercache.engines import PersistentEngine
from hypercache.engines.base import Put
from hypercache.errors import StorageError
from hypercache.options import Options
from tests.support.processes import Threads, run_python, start_python
from tests.support.seeds import seeded, tell

SEED = os.environ.get("HYPERCACHE_SEED", "5")
SOAK_S = float(os.environ.get("HYPERCACHE_SOAK_S", "2"))
KEYS, VALUE_BYTES = 10_000, 500

ROUND_COUNT = 50

# Holds readers, as a process does that is killed in the middle of a read.
READ = """
    import sys
    from hypercache.engines import PersistentEngine
    from hypercache.options import Options
    engine = PersistentEngine(sys.argv[1], Options.resolve(engine="persistent"))
    readers = []
    try:
        for _ in range(int(sys.argv[2])):
            readers.append(engine._store._env.begin())
    except Exception as error:
        print(type(error).__name__, end=" ")
    print("reading", flush=True)
    sys.stdin.read()
"""


# Is killed in the middle of a read, and not a moment later: a reader that lives on
# keeps its pages, and for how long it does here would be a matter of chance.
DIE_READING = """
    import os, sys
    from hypercache.engines import PersistentEngine
    from hypercache.options import Options
    engine = PersistentEngine(sys.argv[1], Options.resolve(engine="persistent"))
    engine.count()
    reader = engine._store._env.begin()
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def open_engine(opened, store_path):
    options = Options.resolve(engine="persistent", map_bytes=65536)
    return lambda: opened.add(PersistentEngine(str(store_path), options))


@pytest.fixture
def engine(open_engine):
    return open_engine()


class Reading:
    """A process that holds readers, until it is killed."""

    def __init__(self, path, count=1):
        self.process = start_python(READ, path, count)
        line = self.process.stdout.readline()
        assert line.endswith("reading\n"), self.process.communicate()

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def reader_count(engine):
    """Return how many lines LMDB's own table of readers has, without its heading."""
    lines = engine._store._env.readers().splitlines()
    return sum(line.strip()[:1].isdigit() for line in lines)


def test_the_file_stays_small_while_processes_are_killed_that_hold_readers(
    engine, store_path
):
    rng = seeded(SEED)
    data = store_path / "lmdb" / "data.mdb"
    engine.apply([Put(b"%06d" % n, bytes(VALUE_BYTES)) for n in range(KEYS)])
    live_bytes = KEYS * (6 + VALUE_BYTES)
    killed = []

    def kill_readers():
        while not threads.stopping.is_set():
            with start_python(DIE_READING, store_path) as process:
                process.communicate()
            killed.append(process.returncode)

    sizes: list[int] = []
    round_count = 0
    end = time.monotonic() + SOAK_S
    with Threads() as threads:
        threads.start(kill_readers)
        while time.monotonic() < end or len(killed) < 3:
            round_count += 1
            keys = rng.sample(range(KEYS), ROUND_COUNT)
            value = rng.randbytes(VALUE_BYTES)
            engine.apply([Put(b"%06d" % n, value) for n in keys])
            sizes.append(data.stat().st_size)
    shown = [f"{size / live_bytes:.2f}" for size in sizes[:: len(sizes) // 10 + 1]]
    written = round_count * ROUND_COUNT / KEYS
    tell(f"{len(killed)} killed, {written:.1f} times overwritten; file / live: {shown}")
    assert set(killed) == {-9}
    assert max(sizes) < 3 * live_bytes, shown
    assert engine.count() == KEYS


def test_a_reader_that_was_killed_is_cleared_by_the_next_writes(engine, store_path):
    before = reader_count(engine)
    with Reading(store_path, 3) as reading:
        assert reader_count(engine) == before + 3
    assert reading.process.returncode == -9
    end = time.monotonic() + 10
    while reader_count(engine) > before and time.monotonic() < end:
        engine.put(b"a", b"1")
    assert reader_count(engine) == before


def test_a_reader_that_was_killed_is_cleared_by_the_next_open(store_path):
    code = """
        import sys
        from hypercache.engines import PersistentEngine
        from hypercache.options import Options
        engine = PersistentEngine(sys.argv[1], Options.resolve(engine="persistent"))
        print(str(engine._store._env.readers()).count("\\n"))
    """
    # Somebody has the store open all the time: else LMDB starts a new table by itself.
    with Reading(store_path, 1):
        before = int(run_python(code, store_path))
        with Reading(store_path, 50):
            assert int(run_python(code, store_path)) == before + 50
        assert int(run_python(code, store_path)) == before


def test_a_table_full_of_killed_readers_stops_nobody(engine, store_path):
    engine.put(b"a", b"1")
    with Reading(store_path, 600):
        pass
    assert engine.get(b"a") == b"1"
    assert list(engine.scan())
    engine.put(b"a", b"2")
    assert engine.get_many([b"a"]) == {b"a": b"2"}


def test_a_table_full_of_living_readers_is_told_and_heals(engine, store_path):
    engine.put(b"a", b"1")
    with Reading(store_path, 600), pytest.raises(StorageError, match="READERS"):
        engine.get(b"a")
    assert engine.get(b"a") == b"1"
    engine.put(b"a", b"2")


def test_no_reader_outlives_a_call(engine):
    engine.apply([Put(b"%06d" % n, bytes(900)) for n in range(2_000)])
    scan = engine.scan()
    next(scan)
    size = engine.stats().disk_bytes
    for n in range(400):
        engine.put(b"%06d" % (n % 20), bytes(900))
    assert engine.stats().disk_bytes < size * 1.2
    assert len(list(scan)) == 1_999

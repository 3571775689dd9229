"""What may happen to LMDB's files, and to the processes that look into them."""

import os

import pytest

from hypercache import Cache
from hypercache.engines import lmdb_trust
from hypercache.errors import CorruptionError
from tests.support.files import find_bytes, flip, unchanged
from tests.support.processes import run_python
from tests.support.seeds import seeded, tell

pytestmark = pytest.mark.helpers  # a damaged page kills who looks at it

KILLS = int(os.environ.get("HYPERCACHE_KILLS", "30"))

each_engine = pytest.mark.parametrize("engine", ["hybrid", "persistent"])


@pytest.fixture
def open_cache(store_path, engine):
    return lambda **options: Cache(store_path, engine=engine, **options)


@pytest.fixture
def closed(store_path, open_cache):
    """A closed store, and what is in it."""
    contents = {f"key-{n:03d}".encode(): [n, "v" * 40] for n in range(200)}
    with open_cache() as cache:
        cache.set_many(contents)
        cache.checkpoint()
    return contents


def rot(path, offset):
    """Flip a bit and keep the time of the file, as a medium does."""
    stat = path.stat()
    flip(path, offset, 1)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


# A bit flipped in a key while the store was closed. The file had its size and its
# time, so nothing was read back: the key was gone, and nobody said so.


@each_engine
def test_a_key_that_rots_in_a_closed_store_is_reported_at_the_open(
    store_path, open_cache, closed
):
    data = store_path / "lmdb" / "data.mdb"
    places = [at for path, at in find_bytes(store_path, b"key-123") if path == data]
    assert places
    for at in places:
        rot(data, at + 6)
    with unchanged(store_path / "lmdb"), pytest.raises(CorruptionError) as caught:
        open_cache()
    assert caught.value.path == str(data)
    for at in places:
        rot(data, at + 6)
    with open_cache() as cache:
        assert dict(cache.scan()) == closed


@each_engine
def test_rot_where_no_read_looks_is_reported_at_the_open(
    store_path, open_cache, closed
):
    data = store_path / "lmdb" / "data.mdb"
    zeros = data.read_bytes().rindex(bytes(64)) + 30
    rot(data, zeros)
    with pytest.raises(CorruptionError, match="not what the last close left"):
        open_cache()
    rot(data, zeros)
    with open_cache(verify="full") as cache:
        assert dict(cache.scan()) == closed


@each_engine
def test_a_file_too_long_for_a_checksum_is_known_by_size_and_time(
    store_path, open_cache, monkeypatch
):
    monkeypatch.setattr(lmdb_trust, "LONGEST_BYTES", 8192)
    with open_cache() as cache:
        cache.set_many({f"key-{n}": "v" * 100 for n in range(300)})
    assert b'"lmdb_crc": -1' in (store_path / "CHECKPOINT").read_bytes()
    with open_cache() as cache:
        assert len(cache) == 300
    data = store_path / "lmdb" / "data.mdb"
    [*_, (_, at)] = find_bytes(data.parent, b"key-123")
    rot(data, at + 6)
    with pytest.raises(CorruptionError):
        open_cache(verify="full")


# A bit flipped in the list of free pages, or in the number that a page has of itself.
# Every read was right, also with verify="full", and the next commit ended the process
# with an assertion of LMDB, or wrote over pages in use.


@each_engine
def test_a_page_with_another_number_is_reported_before_a_write_trusts_it(
    store_path, open_cache, monkeypatch
):
    monkeypatch.setattr(lmdb_trust, "LONGEST_BYTES", 0)
    contents = {f"key-{n:03d}".encode(): [n, "v" * 40] for n in range(200)}
    with open_cache() as cache:
        cache.set_many(contents)
    data = store_path / "lmdb" / "data.mdb"
    reported = 0
    pages = range(2, data.stat().st_size // 4096)
    for number in seeded("pages").sample(pages, 7):
        flip(data, number * 4096, 1)
        try:
            # Of a free page the number means nothing.
            with open_cache(verify="full") as cache:
                assert dict(cache.scan()) == contents
        except CorruptionError as error:
            reported += "says that it is another" in error.reason
        flip(data, number * 4096, 1)
    assert reported >= 2


# Readers that die

DIE_READING = """
    import os, sys
    from hypercache.engines import PersistentEngine
    from hypercache.options import Options
    path, count = sys.argv[1], int(sys.argv[2])
    options = Options.resolve(engine="persistent", map_bytes=65536)
    for _ in range(count):
        child = os.fork()
        if not child:
            engine = PersistentEngine(path, options)
            reader = engine._store._env.begin()
            os.kill(os.getpid(), 9)
        assert os.waitpid(child, 0)[1] == 9
"""


def test_killed_readers_neither_fill_the_table_nor_the_file(store_path):
    with Cache(store_path, engine="persistent", map_bytes=65536) as cache:
        cache.set_many({f"key-{n}": "v" * 400 for n in range(300)})
        before = cache.stats().disk_bytes
        for _ in range(3):
            run_python(DIE_READING, store_path, KILLS // 3)
            for n in range(0, 300, 7):
                cache.set(f"key-{n}", "w" * 400)
        tell(f"{before} bytes before {KILLS} kills, {cache.stats().disk_bytes} after")
        assert cache.stats().disk_bytes < 3 * before
        readers = cache._engine._store._env.readers().splitlines()
        assert len(readers) < 10, readers
        assert cache.check().ok


# LMDB's own table of readers


@each_engine
@pytest.mark.parametrize(
    "harm", ["missing", "empty", "garbage", "zeros", "a directory"]
)
def test_a_store_opens_whatever_has_become_of_the_table_of_readers(
    store_path, open_cache, closed, harm
):
    table = store_path / "lmdb" / "lock.mdb"
    size = table.stat().st_size
    table.unlink()
    match harm:
        case "empty":
            table.touch()
        case "garbage":
            table.write_bytes(os.urandom(size))
        case "zeros":
            table.write_bytes(bytes(size))
        case "a directory":
            table.mkdir()
            with pytest.raises(Exception, match=r"lock|directory"):
                open_cache()
            table.rmdir()
    with open_cache() as cache:
        assert dict(cache.scan()) == closed
        cache.set("more", 1)
        assert cache.check().ok

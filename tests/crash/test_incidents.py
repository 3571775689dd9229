"""Defects that a cache server with a text log and snapshots really had.

Each is one promise here, over every engine that keeps its data.
"""

import threading

import pytest

from hypercache.engines.base import Put
from hypercache.errors import CorruptionError
from tests.support.engines import cache_over, durable_engines
from tests.support.files import find_bytes, flipped, snapshot
from tests.support.processes import Threads, run_python

pytestmark = durable_engines
NASTY = [b"|", b"\n", b"\r\n", b"\0", b"a|b|c", b"SET|k|v\n", b"\xff\xfe|\n", b"$3\r\n"]


@pytest.fixture
def timed(open_engine, clock, opened):
    """Open a cache whose time is the test's."""

    def build(**arguments):
        return opened.add(cache_over(open_engine(clock=clock), **arguments))

    return build


def reopened(cache, open_cache, **changes):
    cache.close()
    return open_cache(**changes)


def rewrite(cache):
    """Compact, or fold, whatever rewrites the files of this engine."""
    cache._engine.compact()


# A compaction took a lock that its caller held: it hung, and the queue behind it filled
# up, dropped entries without a word and made the shutdown hang.


def test_a_rewrite_of_the_log_under_load_neither_hangs_nor_drops_a_write(open_cache):
    cache = open_cache()

    def write(name):
        for number in range(60):
            cache.set(f"{name}-{number % 5}", [number, "v" * 300])
            if number % 30 == 15:
                rewrite(cache)

    with Threads() as threads:
        for name in "abcd":
            threads.start(write, name)
    cache = reopened(cache, open_cache)
    assert len(cache) == 20
    for name in "abcd":
        assert [cache[f"{name}-{n}"][0] for n in range(5)] == [55, 56, 57, 58, 59]


# A write was answered before it was queued, a full queue dropped it, and the sync of
# `always` came after the answer.


def test_every_write_that_returned_is_in_the_files_of_a_killed_process(
    engine_case, store_path, open_cache
):
    code = """
        import os, signal, sys
        from tests.support.engines import DURABLE
        case = next(case for case in DURABLE if case.name == sys.argv[1])
        cache = case.open_cache(sys.argv[2], sync=sys.argv[3])
        for number in range(200):
            cache.set(f"key{number}", number)
        os.write(1, b"all returned")
        os.fork() or os.kill(os.getppid(), signal.SIGKILL)
    """
    if not engine_case.helpers:
        pytest.skip("the same log as with helpers")
    with pytest.raises(AssertionError, match="exit -9"):
        run_python(code, engine_case.name, store_path, "no")
    cache = open_cache()
    assert [cache.get(f"key{n}") for n in range(200)] == list(range(200))


def test_under_always_what_returned_is_synced_before(open_cache):
    cache = open_cache(sync="always")
    for number in range(5):
        lsn = cache.set("key", number)
        assert cache.stats().synced_lsn >= lsn


# The policy that syncs every second handed everything to the operating system, and
# never synced.


def test_everysec_syncs_without_another_write(open_cache, engine_case):
    if engine_case.name == "persistent":
        pytest.skip("each of its batches is synced")
    cache = open_cache(sync="everysec", segment_bytes=1 << 20)
    lsn = cache.set("key", 1)
    pause = threading.Event()
    for _ in range(300):
        if cache.stats().synced_lsn >= lsn:
            return
        pause.wait(0.01)
    pytest.fail("not synced within three seconds")


# Separators of the text log, in keys or values, made lines that replay skipped.


def test_separators_and_newlines_in_keys_and_values_survive_every_way(open_cache):
    cache = open_cache()
    contents = {
        key * times: [key, number]
        for number, key in enumerate(NASTY)
        for times in (1, 3)
    }
    for key, value in contents.items():
        cache.set(key, value)
        cache.set(b"as value " + key, key)
    for _ in range(2):
        cache = reopened(cache, open_cache)
        assert {k: v for k, v in cache.scan() if not k.startswith(b"as ")} == contents
        assert all(cache[b"as value " + key] == key for key in contents)
        rewrite(cache)


# A line longer than the buffer of the reader ended the replay; the store came up empty.


def test_a_record_of_any_length_is_replayed_and_all_behind_it(open_cache):
    cache = open_cache(map_bytes=1 << 24)
    sizes = [65_535, 65_536, 65_537, 300_000, 3_000_000]
    for size in sizes:
        cache.set(f"of {size}", "x" * size)
        cache.set(f"behind {size}", size)
    cache.set(b"k" * 65_535, "under a long key")
    for _ in range(2):
        cache = reopened(cache, open_cache, map_bytes=1 << 24)
        assert [len(cache[f"of {size}"]) for size in sizes] == sizes
        assert [cache[f"behind {size}"] for size in sizes] == sizes
        assert cache[b"k" * 65_535] == "under a long key"
        rewrite(cache)


# "Checksums on all persisted data", and there was none.


@pytest.mark.parametrize("rewritten", [False, True], ids=["log", "rewritten"])
def test_a_flipped_bit_in_a_stored_value_is_never_read_as_that_value(
    open_cache, store_path, rewritten
):
    cache = open_cache(memory_bytes=0)
    needle = bytes(range(200, 250)) * 2
    cache.set("key", needle)
    for number in range(20):
        cache.set(f"more {number}", b"%d" % number * 300)
    if rewritten:
        rewrite(cache)
    else:
        cache.sync()
    cache.close()
    places = find_bytes(store_path, needle[:20])
    assert places
    with (
        flipped([(path, offset + 5) for path, offset in places]),
        pytest.raises(CorruptionError),
        open_cache(memory_bytes=0, verify="full") as damaged,
    ):
        damaged.get("key")
    assert open_cache(memory_bytes=0)["key"] == needle


# A flush was not written to the log: what it removed came back with the next start.


@pytest.mark.parametrize("then", ["nothing", "rewrite", "more"])
def test_what_was_cleared_stays_away_after_a_restart(open_cache, then):
    cache = open_cache()
    cache.set_many({f"key{n}": n for n in range(30)})
    rewrite(cache)
    cache.set_many({f"late{n}": n for n in range(30)})
    cache.clear()
    expected = {}
    if then == "rewrite":
        rewrite(cache)
    if then == "more":
        cache.set("key1", "new")
        expected = {b"key1": "new"}
    for _ in range(3):
        cache = reopened(cache, open_cache)
        assert dict(cache.scan()) == expected
        rewrite(cache)


# A changed expiry was written to the log and ignored at replay; the time was kept in
# whole seconds, so less than one became none; a default became none, too.


def test_a_changed_expiry_holds_after_a_restart(timed, open_engine, clock):
    cache = timed()
    cache.set("shorter", 1)
    cache.set("longer", 1, ttl=1)
    cache.set("for ever", 1, ttl=1)
    cache.touch("shorter", 5)
    cache.touch("longer", 500)
    cache.touch("for ever", None)
    for _ in range(2):
        cache._engine.compact()
        cache.close()
        cache = timed()
        assert cache.ttl("shorter") == pytest.approx(5)
        assert cache.ttl("longer") == pytest.approx(500)
        assert cache.ttl("for ever") is None
    clock.advance(6)
    assert [key for key, _ in cache.scan()] == [b"for ever", b"longer"]
    cache.close()


def test_a_ttl_below_a_second_is_still_one_after_a_restart(timed, clock):
    cache = timed()
    cache.set("half", 1, ttl=0.5)
    cache.set("hair", 1, ttl=0.003)
    cache.close()
    cache = timed()
    assert cache.ttl("half") == pytest.approx(0.5)
    assert cache.ttl("hair") == pytest.approx(0.003)
    clock.advance(0.4)
    assert cache.get("half") == 1
    assert cache.get("hair") is None
    clock.advance(0.11)
    assert cache.get("half") is None
    assert len(cache) == 0


def test_a_default_ttl_is_still_one_after_a_restart(timed, clock):
    cache = timed(default_ttl=0.7)
    cache.set("key", 1)
    cache.incr("count")
    cache.close()
    cache = timed()  # without the default: what was stored has its expiry
    assert cache.ttl("key") == pytest.approx(0.7)
    assert cache.ttl("count") == pytest.approx(0.7)
    clock.advance(0.8)
    assert len(cache) == 0


# A rewrite of the log, and a snapshot, kept neither expiry nor type.


def test_a_rewrite_keeps_expiry_and_type_of_every_value(timed, clock):
    values = [None, True, 7, -1.5, "text", b"bytes", [1, [2]], {"a": {1: b"x"}}, {3}]
    cache = timed()
    for number, value in enumerate(values):
        cache.set(f"plain{number}", value)
        cache.set(f"timed{number}", value, ttl=100 + number)
    for _ in range(3):
        rewrite(cache)
        cache.close()
        cache = timed()
        for number, value in enumerate(values):
            for name in (f"plain{number}", f"timed{number}"):
                assert cache[name] == value
                assert type(cache[name]) is type(value)
            assert cache.ttl(f"plain{number}") is None
            assert cache.ttl(f"timed{number}") == pytest.approx(100 + number)


# Recovery stored the text form of an internal structure as the value, and what had
# expired came back for ever.


def test_what_has_expired_never_comes_back(timed, clock):
    cache = timed()
    for number in range(20):
        cache.set(f"short{number}", number, ttl=1 + number % 3)
        cache.set(f"long{number}", number, ttl=1000)
    rewrite(cache)
    clock.advance(5)
    for _ in range(3):
        assert not cache.touch("short1", 100)
        assert {key[:4] for key, _ in cache.scan()} == {b"long"}
        assert len(cache) == 20
        assert cache.get("short2", "absent") == "absent"
        cache.close()
        cache = timed()
        rewrite(cache)


# Snapshots never shortened the log, and replay took no notice of their time.


def test_a_rewrite_shortens_the_log_and_is_not_replayed_over(open_cache, store_path):
    cache = open_cache(compact_min_bytes=1 << 30, checkpoint_bytes=1 << 30)
    for number in range(100):
        cache.set("key", [number, "v" * 500])
    cache.delete("gone")
    cache.set("gone", 1)
    rewrite(cache)
    cache.delete("gone")
    size = sum(
        len(data)
        for name, data in snapshot(store_path).items()
        if name.endswith((".aof", ".wal", ".base"))
    )
    assert size < 5_000
    cache = reopened(cache, open_cache)
    assert dict(cache.scan()) == {b"key": [99, "v" * 500]}


# The directory was not synced after a rename, and errors of a sync were dropped.


def test_every_rename_is_followed_by_a_sync_of_its_directory(
    engine_case, store_path, monkeypatch
):
    from hypercache.storage import OsStorage

    calls = []
    rename, sync = OsStorage.rename, OsStorage.sync_directory

    def renaming(self, source, path):
        calls.append(("rename", path))
        rename(self, source, path)

    def syncing(self, path):
        calls.append(("sync", path))
        sync(self, path)

    monkeypatch.setattr(OsStorage, "rename", renaming)
    monkeypatch.setattr(OsStorage, "sync_directory", syncing)
    with engine_case.open_cache(store_path) as cache:
        cache.set("key", 1)
        rewrite(cache)
    renames = [at for at, (what, _) in enumerate(calls) if what == "rename"]
    assert renames
    for at in renames:
        path = calls[at][1]
        assert calls[at + 1] == ("sync", path.rpartition("/")[0])


# An allocator that refused a size of nought: empty values could not be stored.


def test_empty_values_are_values(open_cache):
    empties = {"text": "", "bytes": b"", "list": [], "map": {}, "none": None}
    cache = open_cache()
    cache.set_many(empties)
    cache._engine.apply([Put(b"raw", b"")])
    for _ in range(3):
        for name, value in empties.items():
            assert name in cache
            assert cache.get(name, "absent") == value
        assert cache._engine.get(b"raw") == b""
        assert cache._engine.count() == len(empties) + 1
        rewrite(cache)
        cache = reopened(cache, open_cache)


# The marks of deleted keys were kept for ever: memory grew with every deletion.


def test_deleted_keys_take_no_room_once_the_files_are_rewritten(open_cache):
    cache = open_cache()
    sizes = []
    for turn in range(6):
        names = [f"a rather long key, number {turn}-{n:06d}" for n in range(150)]
        cache.set_many(dict.fromkeys(names, turn))
        assert cache.delete_many(names) == 150
        rewrite(cache)
        stats = cache.stats()
        assert (len(cache), stats.memtable_count) == (0, 0)
        sizes.append(stats.disk_bytes)
    # LMDB uses pages again, but a few turns later.
    assert max(sizes[2:]) < max(sizes[:2]) + 100
    cache = reopened(cache, open_cache)
    assert (len(cache), cache.stats().memtable_count) == (0, 0)


# A filter beside the store forgot keys: they were stored, and not found.


def test_every_stored_key_is_found_whatever_came_between(open_cache):
    cache = open_cache()
    for number in range(100):
        cache.set(f"key{number}", number)
        cache.set(f"key{number}", -number)
        cache.delete(f"key{number // 2}")
        cache.set(f"key{number // 2}", 0)
    rewrite(cache)
    assert all(f"key{number}" in cache for number in range(100))
    cache = reopened(cache, open_cache)
    assert sorted(cache.scan()) == sorted((k, cache[k]) for k in cache)
    assert len(cache) == 100

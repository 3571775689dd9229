"""A read-only cache shows one moment of a store, and nobody notices that it is open."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest

from hypercache import Cache
from hypercache.engines.lmdb_reader import LmdbReader, PersistentReader
from hypercache.engines.memory_reader import MemoryReader
from hypercache.errors import (
    ClosedError,
    ConfigError,
    CorruptionError,
    ForkedStoreError,
    ReadOnlyError,
    StoreLockedError,
)
from hypercache.options import Options
from tests.support.engines import durable_engines
from tests.support.files import find_bytes, flip
from tests.support.mounts import read_only_directory
from tests.support.processes import in_fork
from tests.support.remote import Remote
from tests.support.stores import CONTENTS, fill

pytestmark = durable_engines
READERS = {
    "memory": MemoryReader,
    "hybrid": LmdbReader,
    "persistent": PersistentReader,
}
ROOMY = {"map_bytes": 1 << 30}  # a larger map would end the snapshots of this process
WRITES = {
    "set": lambda cache: cache.set("k00", 1),
    "set_many": lambda cache: cache.set_many({"k00": 1, "k01": 2}),
    "add": lambda cache: cache.add("new", 1),
    "replace": lambda cache: cache.replace("k00", 1),
    "cas": lambda cache: cache.cas("k00", [0, "v" * 50], 1),
    "incr": lambda cache: cache.incr("new"),
    "delete": lambda cache: cache.delete("k00"),
    "pop": lambda cache: cache.pop("k00"),
    "touch": lambda cache: cache.touch("k00", 5),
    "get_or_set": lambda cache: cache.get_or_set("new", int),
    "delete_many": lambda cache: cache.delete_many(["k00"]),
    "clear": lambda cache: cache.clear(),
    "transaction": lambda cache: cache.transaction().__enter__(),
    "sync": lambda cache: cache.sync(),
    "wait_durable": lambda cache: cache.wait_durable(1),
    "checkpoint": lambda cache: cache.checkpoint(),
    "compact": lambda cache: cache.compact(),
}


def exactly(path):
    """Return names, bytes and times of all there is, LMDB's table of readers too."""
    return {
        str(item.relative_to(path)): (
            item.read_bytes() if item.is_file() else None,
            item.stat().st_mtime_ns,
        )
        for item in [path, *sorted(path.rglob("*"))]
    }


def use(cache):
    """Read in all ways there are."""
    assert dict(cache.scan()) == CONTENTS
    assert [key for key, _ in cache.scan(reverse=True)] == sorted(CONTENTS)[::-1]
    assert len(cache) == len(CONTENTS)
    assert cache.get("k07") == [7, "v" * 50]
    assert cache.get("absent") is None
    assert cache.get_many(["k00", "absent"]) == {"k00": [0, "v" * 50]}


@pytest.fixture
def open_cache(engine_case, opened, store_path):
    """Open a cache; one that writes is checked in the end."""
    with contextlib.ExitStack() as readers:

        def open_one(path=store_path, *, read_only=False, **changes):
            cache = engine_case.open_cache(path, read_only=read_only, **changes)
            return readers.enter_context(cache) if read_only else opened.add(cache)

        yield open_one


@pytest.fixture
def filled(open_cache, store_path):
    with open_cache() as cache:
        fill(cache)
    return store_path


@pytest.fixture
def killed(engine_case, store_path):
    """Leave what a kill leaves: the last part is only in the log, unsealed."""
    with Remote(engine_case, store_path) as writer:
        for key, value in CONTENTS.items():
            writer.call("set", key, value)
        writer.kill()
    return store_path


@pytest.fixture
def reader(open_cache, filled):
    return open_cache(read_only=True)


@pytest.fixture
def writer(engine_case, filled):
    with Remote(engine_case, filled) as remote:
        yield remote


def test_nothing_is_changed_where_nobody_else_has_it_open(open_cache, filled):
    before = exactly(filled)
    with open_cache(read_only=True) as cache:
        use(cache)
        assert cache.refresh() == cache.stats().appended_lsn
        assert cache.check().ok
        assert exactly(filled) == before
        stats = cache.stats()
        assert (stats.read_only, stats.recovery) == (True, ())
    assert exactly(filled) == before


def test_nothing_is_changed_of_what_a_kill_has_left(open_cache, killed):
    before = exactly(killed)
    with open_cache(read_only=True) as cache:
        use(cache)
        assert cache.check().ok
    assert exactly(killed) == before


def test_it_works_where_nothing_can_be_written(open_cache, filled, tmp_path):
    with (
        read_only_directory(tmp_path / "mount", filled) as path,
        open_cache(path, read_only=True) as cache,
    ):
        use(cache)
        assert cache.check().ok


@pytest.mark.parametrize("alive", [False, True], ids=["alone", "beside-a-writer"])
def test_it_works_with_files_of_somebody_else(engine_case, filled, alive):
    """As another user, who may read everything and write nothing."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "store"
        shutil.copytree(filled, path)
        writer = Remote(engine_case, path) if alive else None
        for item in [Path(place), path, *path.rglob("*")]:
            item.chmod(0o755 if item.is_dir() else 0o644)

        def read():
            os.setegid(65534)
            os.seteuid(65534)
            with engine_case.open_cache(path, read_only=True) as cache:
                use(cache)

        before = exactly(path)
        in_fork(read)
        assert exactly(path) == before
        if writer is not None:
            writer.end()


def test_it_is_a_snapshot_beside_a_writer_in_another_process(open_cache, writer):
    reader = open_cache(read_only=True)
    use(reader)
    before, lsn = dict(reader.scan()), reader.stats().appended_lsn
    steps = [
        lambda: writer.call("set", "k00", "changed"),
        lambda: writer.call("delete", "k01"),
        lambda: writer.call("checkpoint"),
        lambda: writer.call("set_many", {f"n{n}": "x" * 500 for n in range(30)}),
        lambda: writer.call("compact"),
        lambda: writer.call("clear"),
        lambda: writer.call("set", "k02", "new"),
        lambda: writer.call("checkpoint"),
        lambda: writer.call("close"),
        writer.open,
        lambda: writer.call("set", "k03", "newer"),
    ]
    for step in steps:
        step()
        assert dict(reader.scan()) == before
        assert len(reader) == len(before)
        assert reader.get("k00") == before[b"k00"]
        assert reader.stats().appended_lsn == lsn
    assert reader.check().ok  # which does not move it
    assert dict(reader.scan()) == before
    last = writer.call("set", "last", 1)
    assert reader.refresh() == last == reader.stats().appended_lsn
    assert dict(reader.scan()) == {b"k02": "new", b"k03": "newer", b"last": 1}


def test_it_is_a_snapshot_beside_a_writer_of_the_same_process(open_cache, filled):
    writer = open_cache(**ROOMY)
    reader = open_cache(read_only=True)
    writer.set("k00", "changed")
    writer.checkpoint()
    second = open_cache(read_only=True)
    use(reader)
    writer.clear()
    writer.set("k01", "new")
    writer.compact()
    assert second.get("k00") == "changed"
    writer.close()
    writer = open_cache(**ROOMY)
    last = writer.set("k02", "newer")
    writer.checkpoint()
    assert second.get("k00") == "changed"
    assert reader.get("k00") == [0, "v" * 50]
    assert reader.refresh() == second.refresh() == last
    assert dict(reader.scan()) == {b"k01": "new", b"k02": "newer"}


def test_a_writer_of_the_same_process_may_come_later(open_cache, reader):
    writer = open_cache(**ROOMY)
    for n in range(5):
        writer.set("k00", n)
        writer.checkpoint()
        assert reader.get("k00") == [0, "v" * 50]
    writer.close()
    assert reader.get("k00") == [0, "v" * 50]
    reader.refresh()
    assert reader.get("k00") == 4


def test_no_error_appears_while_a_writer_opens_and_closes(open_cache, writer):
    reader = open_cache(read_only=True)
    lsn = 0
    for n in range(12):
        with open_cache(read_only=True) as other:
            assert other.get("n", -1) == n - 1
        writer.call("set_many", {"n": n, f"x{n % 3}": "x" * 900})
        if n % 3 == 1:
            writer.call("close")
            assert reader.get("n", -1) == n - 1
            reader.refresh()
            writer.open()
        now = reader.refresh()
        assert (reader.get("n"), now > lsn) == (n, True)
        lsn = now


def test_a_writer_opens_and_is_refused_as_if_no_reader_were_there(
    engine_case, open_cache, store_path, reader
):
    with Remote(engine_case, store_path) as writer:
        second = open_cache(read_only=True)
        lock = (store_path / "LOCK").read_bytes()
        if engine_case.name == "persistent":
            Remote(engine_case, store_path).end()
        else:
            with pytest.raises(StoreLockedError) as caught:
                Remote(engine_case, store_path)
            assert caught.value.pid == writer.pid
            assert (store_path / "LOCK").read_bytes() == lock
        writer.call("set", "k00", 1)
        second.close()
        reader.refresh()
        writer.call("set", "k00", 2)
    Remote(engine_case, store_path).end()


def test_a_reader_that_is_killed_leaves_nothing_that_hinders_a_writer(
    engine_case, filled
):
    with Remote(engine_case, filled, maintenance="inline") as writer:
        reader = Remote(engine_case, filled, read_only=True)
        assert reader.call("get", "k00") == [0, "v" * 50]
        reader.kill()
        for turn in range(60):
            many = {f"k{n:02d}": [turn, "v" * 900] for n in range(20)}
            writer.call("set_many", many)
        writer.call("checkpoint")
        writer.call("compact")
        assert writer.call("stats").disk_bytes < 300_000
        assert writer.call("check").ok
        lsn = writer.call("stats").appended_lsn
    with Remote(engine_case, filled) as writer:
        assert writer.call("stats").recovery == ()
        assert writer.call("stats").appended_lsn == lsn


def test_what_writes_is_refused_and_changes_nothing(reader, filled):
    before = exactly(filled)
    for name, write in WRITES.items():
        with pytest.raises(ReadOnlyError, match="read_only=True"):
            write(reader)
        assert exactly(filled) == before, name
    use(reader)


def test_a_torn_tail_is_told_and_not_cut(engine_case, open_cache, killed):
    if engine_case.name == "persistent":
        pytest.skip("it has no log")
    last = b"last-value" * 9
    with Remote(engine_case, killed) as writer:
        writer.call("set", "whole", 1)
        writer.call("set", "torn", last)
        writer.kill()
    (place,) = find_bytes(killed, last)
    flip(*place)
    before = exactly(killed)
    with open_cache(read_only=True) as cache:
        assert cache.get("whole") == 1
        assert "torn" not in cache
        (note,) = cache.stats().recovery
        assert note.startswith(f"a torn tail, left as it is: {place[0]} ")
        assert cache.check().ok
        assert exactly(killed) == before
        # It comes to what an owner makes of it.
        lsn = cache.stats().appended_lsn
        with open_cache(**ROOMY) as owner:
            assert owner.stats().appended_lsn == lsn
        assert cache.refresh() == lsn
        assert cache.stats().recovery == ()


def test_what_a_writer_is_just_writing_is_no_torn_tail(engine_case, open_cache, filled):
    if engine_case.name == "persistent":
        pytest.skip("it has no log")
    last = b"last-value" * 9
    with Remote(engine_case, filled) as writer:
        lsn = writer.call("set", "key", 1)
        writer.call("set", "torn", last)
        (path, offset) = find_bytes(filled, last)[-1]
        flip(path, offset)  # as if it had got so far
        with open_cache(read_only=True) as cache:
            assert cache.stats().appended_lsn == lsn
            assert cache.stats().recovery == ()
        flip(path, offset)
        with open_cache(read_only=True) as cache:
            assert cache.get("torn") == last


def test_damage_is_reported_and_nothing_is_changed(engine_case, open_cache, filled):
    names = ["STORE", "aof/MANIFEST" if (filled / "aof").exists() else "CHECKPOINT"]
    names += [str(p.relative_to(filled)) for p in filled.rglob("*.aof")][:1]
    names += [str(p.relative_to(filled)) for p in filled.rglob("*.base")][:1]
    for name in names:
        flip(filled / name, 20)
        before = exactly(filled)
        with pytest.raises(CorruptionError) as caught:
            open_cache(read_only=True)
        assert caught.value.path == str(filled / name)
        assert exactly(filled) == before
        flip(filled / name, 20)
    if (filled / "lmdb").exists():
        data = (filled / "lmdb" / "data.mdb").read_bytes()
        (filled / "lmdb" / "data.mdb").write_bytes(data[:-4096])
        with pytest.raises(CorruptionError):
            open_cache(read_only=True)
        (filled / "lmdb" / "data.mdb").unlink()
        with pytest.raises(CorruptionError, match="missing"):
            open_cache(read_only=True)


def test_a_segment_that_is_missing_or_too_new_is_reported(
    engine_case, open_cache, killed
):
    if engine_case.name == "persistent":
        pytest.skip("it has no log")
    marker = killed / ("aof/MANIFEST" if (killed / "aof").exists() else "CHECKPOINT")
    older = marker.read_bytes()
    with Remote(engine_case, killed) as writer:
        writer.call("set", "key", 1)
        writer.kill()
    newest = max([*killed.rglob("*.aof"), *killed.rglob("*.wal")])
    newer = marker.read_bytes()
    marker.write_bytes(older)
    before = exactly(killed)
    with pytest.raises(CorruptionError):
        open_cache(read_only=True)
    assert exactly(killed) == before
    marker.write_bytes(newer)
    newest.unlink()
    with pytest.raises(CorruptionError, match="not all"):
        open_cache(read_only=True)


def test_a_refresh_that_fails_leaves_the_snapshot_as_it_was(
    engine_case, open_cache, filled
):
    with Remote(engine_case, filled) as writer:
        reader = open_cache(read_only=True)
        writer.call("set", "k00", "changed")
        writer.call("checkpoint")
        writer.call("set", "k01", "changed")
    name = "aof/MANIFEST" if (filled / "aof").exists() else "CHECKPOINT"
    flip(filled / name, 20)
    with pytest.raises(CorruptionError):
        reader.refresh()
    assert dict(reader.scan()) == CONTENTS
    flip(filled / name, 20)
    reader.refresh()
    assert reader.get_many(["k00", "k01"]) == {"k00": "changed", "k01": "changed"}


def test_it_never_goes_backwards(engine_case, open_cache, filled, tmp_path):
    shutil.copytree(filled, tmp_path / "older")
    with Remote(engine_case, filled) as writer:
        writer.call("set", "k00", "changed")
    reader = open_cache(read_only=True)
    shown = dict(reader.scan())
    filled.rename(tmp_path / "newer")
    shutil.copytree(tmp_path / "older", filled)
    with pytest.raises(CorruptionError, match="has shown LSN"):
        reader.refresh()
    assert dict(reader.scan()) == shown
    reader.close()


def test_a_scan_goes_on_where_a_refresh_finds_it(engine_case, open_cache, filled):
    reader = open_cache(read_only=True)
    found = reader.scan()
    assert [next(found)[0] for _ in range(10)] == sorted(CONTENTS)[:10]
    with Remote(engine_case, filled) as writer:
        writer.call("set_many", {"k05": "passed", "k11": "new", "k15": "new"})
        writer.call("delete_many", ["k03", "k12"])
        writer.call("checkpoint")
        writer.call("set", "k15", "newer")
    reader.refresh()
    rest = dict(found)
    assert sorted(rest) == [b"k10", b"k11", *sorted(CONTENTS)[13:]]
    assert (rest[b"k11"], rest[b"k15"]) == ("new", "newer")


def test_a_backup_through_it_is_newer_than_what_it_shows(
    engine_case, open_cache, filled, tmp_path
):
    with Remote(engine_case, filled) as writer:
        reader = open_cache(read_only=True)
        writer.call("clear")
        writer.call("checkpoint")
        last = writer.call("set", "k01", "new")
        assert reader.backup(tmp_path / "copy") == last
        assert dict(reader.scan()) == CONTENTS
    assert dict(open_cache(tmp_path / "copy").scan()) == {b"k01": "new"}


@pytest.mark.parametrize("place", ["missing", "empty", "foreign", "file"])
def test_where_there_is_no_store_none_is_created(open_cache, tmp_path, place):
    path = tmp_path / place
    if place == "file":
        path.write_bytes(b"text")
    elif place != "missing":
        path.mkdir()
    if place == "foreign":
        (path / "letter").write_bytes(b"text")
    before = exactly(tmp_path)
    with pytest.raises(ConfigError, match=str(path)):
        open_cache(path, read_only=True)
    assert exactly(tmp_path) == before


def test_a_store_of_another_engine_or_serializer_is_refused(engine_case, filled):
    mine = engine_case.name.partition("-")[0]
    before = exactly(filled)
    for other in {"memory", "hybrid", "persistent"} - {mine}:
        with pytest.raises(ConfigError, match=f"engine='{mine}'"):
            Cache(filled, engine=other, read_only=True)
    with pytest.raises(ConfigError, match="serializer='msgpack'"):
        Cache(filled, engine=mine, serializer="json", read_only=True)
    assert exactly(filled) == before


def test_a_forked_child_is_refused_and_hurts_nobody(reader, engine_case, filled):
    def misuse():
        for call in (
            lambda: reader.get("k00"),
            lambda: reader.get_many(["k00"]),
            lambda: next(reader.scan()),
            lambda: len(reader),
            reader.refresh,
            reader.check,
            reader.stats,
        ):
            with pytest.raises(ForkedStoreError):
                call()
        reader.close()
        if (filled / "lmdb").exists():
            with pytest.raises(ForkedStoreError, match="before the fork"):
                engine_case.open_cache(filled, read_only=True)
        else:
            with engine_case.open_cache(filled, read_only=True) as own:
                use(own)

    in_fork(misuse)
    use(reader)


def test_a_closed_one_is_refused(reader, filled):
    scan = reader.scan()
    next(scan)
    reader.close()
    reader.close()
    calls = [
        lambda: reader.get("k00"),
        lambda: reader.get_many([]),
        lambda: reader.set("k00", 1),
        lambda: next(reader.scan()),
        lambda: next(scan),
        lambda: len(reader),
        reader.refresh,
        reader.check,
        reader.stats,
        lambda: reader.backup(filled.parent / "copy"),
    ]
    for call in calls:
        with pytest.raises(ClosedError):
            call()
    assert not (filled.parent / "copy").exists()


def test_nothing_is_left_open(engine_case, filled):
    def open_count():
        return len(os.listdir("/proc/self/fd"))

    def open_once():
        with engine_case.open_cache(filled, read_only=True) as cache:
            for _ in range(3):
                cache.refresh()
            next(cache.scan())

    open_once()
    Remote(engine_case, filled).end()  # which leaves a server of processes
    before, threads = open_count(), threading.active_count()
    with Remote(engine_case, filled) as writer:
        beside = open_count()
        for turn in range(25):
            writer.call("set", "k00", turn)
            open_once()
        assert open_count() == beside
    for _ in range(25):
        open_once()
    assert open_count() == before
    assert threading.active_count() == threads


def test_expiry_is_judged_by_the_clock_of_the_reader(
    engine_case, open_engine, clock, store_path
):
    engine = open_engine(clock=clock)
    engine.put(b"soon", b"1", int(engine.now_ms()) + 1000)
    engine.put(b"late", b"2", int(engine.now_ms()) + 5000)
    engine.close()
    reader = READERS[engine_case.name.partition("-")[0]](
        str(store_path), Options.resolve(read_only=True), clock=clock
    )
    assert reader.count() == 2
    clock.advance(1.5)
    assert [key for key, _ in reader.scan()] == [b"late"]
    assert (reader.get(b"soon"), reader.count()) == (None, 1)
    reader.close()

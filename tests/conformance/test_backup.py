"""A backup is a whole store, on the medium and read back, or it is not there at all."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

import pytest

from hypercache import Cache
from hypercache.engines import backup_helper
from hypercache.errors import (
    ConfigError,
    CorruptionError,
    DiskFullError,
    StorageError,
    TransactionError,
)
from hypercache.paths import StorePaths
from hypercache.storage import OsStorage
from hypercache.testing.engine_conformance.restarts import write_a_bit_of_everything
from tests.support.contents import entries
from tests.support.engines import durable_engines
from tests.support.files import difference, find_bytes, flip, snapshot, unchanged
from tests.support.mounts import mounted
from tests.support.processes import Threads
from tests.support.recording import Event, Watch, WatchedStorage
from tests.support.seeds import seeded
from tests.support.stores import CONTENTS, assert_whole, fill

pytestmark = durable_engines


@pytest.fixture
def helped(engine_case):
    if not engine_case.helpers:
        pytest.skip("it starts no helper process")


@pytest.fixture
def filled(cache):
    fill(cache)
    return cache


def here(case, store_path, destination, storage=None):
    """Back up in this process, whatever the engine would do."""
    place = storage or OsStorage(), StorePaths(str(store_path))
    name = case.name.partition("-")[0]
    return backup_helper.back_up_here(*place, name, str(destination))


@pytest.mark.helpers
def test_a_copy_opens_like_any_store_and_goes_on_counting(
    filled, open_cache, tmp_path, store_path
):
    last = filled.sync()
    with unchanged(store_path):
        assert filled.backup(tmp_path / "copy") == last
    filled.set("later", 1)
    with open_cache(tmp_path / "copy") as copy:
        assert_whole(copy)
        assert copy.stats().recovery == ()
        assert copy.set("later", 2) == last + 1
    with open_cache(tmp_path / "copy", read_only=True) as copy:
        assert copy.get("later") == 2
    with open_cache(tmp_path / "copy", verify="full") as copy:
        assert copy.get("later") == 2
    assert filled.get("later") == 1


def test_everything_is_copied_expiry_and_long_keys_too(
    open_engine, engine_case, clock, store_path, tmp_path
):
    engine = open_engine(clock=clock)
    write_a_bit_of_everything(engine)
    engine.put(b"soon", b"1", int(engine.now_ms()) + 1000)
    engine.put(b"k" * 65_535, b"long")
    before, last = entries(engine), engine.sync()
    assert engine.backup(str(tmp_path / "copy")) == last
    copy = open_engine(tmp_path / "copy", clock=clock)
    assert entries(copy) == before
    clock.advance(1.5)
    assert copy.get(b"soon") is None
    assert copy.get(b"k" * 65_535) == b"long"


def test_a_store_without_entries_is_copied(cache, open_cache, tmp_path):
    assert cache.backup(tmp_path / "new") == 0
    cache.set("key", 1)
    cache.clear()
    assert cache.backup(tmp_path / "cleared") == 2
    for name, lsn in (("new", 0), ("cleared", 2)):
        with open_cache(tmp_path / name) as copy:
            assert (len(copy), copy.stats().appended_lsn) == (0, lsn)
            assert copy.set("key", 2) == lsn + 1


@pytest.mark.parametrize(
    "where", ["here", pytest.param("in a helper", marks=pytest.mark.helpers)]
)
def test_a_copy_is_one_moment_while_threads_write(
    where, open_cache, engine_case, tmp_path, store_path
):
    if where != "here" and not engine_case.helpers:
        pytest.skip("it starts no helper process")
    cache = open_cache()
    keys = [*"abcdz", "m" * 600]
    cache.set_many(dict.fromkeys(keys, 0))

    def write(thread):
        number = 0
        while not threads.stopping.is_set():
            number += 1
            batch = dict.fromkeys(keys, (thread, number))
            cache.set_many({**batch, f"x{number % 9}": "x" * 500})

    with Threads() as threads:
        threads.start(write, 1)
        threads.start(write, 2)
        before = 0
        for turn in range(2):
            acknowledged = cache.set("acknowledged", turn)
            lsn = cache.backup(tmp_path / f"copy {turn}")
            assert lsn >= acknowledged > before
            before = lsn
    for turn in range(2):
        with open_cache(tmp_path / f"copy {turn}") as copy:
            found = copy.get_many(keys)
            assert len(found) == len(keys)
            assert len(set(map(str, found.values()))) == 1
            assert copy.get("acknowledged") == turn


def test_a_torn_tail_is_not_copied(engine_case, filled, open_cache, tmp_path):
    if engine_case.name == "persistent":
        pytest.skip("it has no log")
    last = b"last-value" * 9
    before = filled.sync()
    filled.set("torn", last)
    snapshot_of(filled, tmp_path / "killed")
    (place,) = find_bytes(tmp_path / "killed", last)
    flip(*place)
    with open_cache(tmp_path / "killed", read_only=True) as cache:
        with unchanged(tmp_path / "killed"):
            assert cache.backup(tmp_path / "copy") == before
        assert len(cache.stats().recovery) == 1
    with open_cache(tmp_path / "copy") as copy:
        assert copy.stats().recovery == ()
        assert_whole(copy)


def snapshot_of(cache, path):
    """Copy the files of an open store, as a kill would leave them."""
    root = Path(cache.stats().path)
    for item in [root, *root.rglob("*")]:
        target = path / item.relative_to(root)
        if item.is_dir():
            target.mkdir()
        else:
            target.write_bytes(item.read_bytes())


def test_a_copy_never_goes_onto_what_is_there(filled, store_path, tmp_path):
    filled.sync()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(store_path)
    (tmp_path / "link to full").symlink_to(tmp_path / "full")
    (tmp_path / "inside").symlink_to(store_path / "copy")
    destinations = [
        store_path,
        store_path / "copy",
        store_path / "lmdb" / "copy",
        tmp_path,  # around the store
        tmp_path.parent,
        tmp_path / "full",
        tmp_path / "full" / "file",
        tmp_path / "link",
        tmp_path / "link" / "copy",
        tmp_path / "link to full",
        tmp_path / "inside",
        tmp_path / "full" / ".." / "store" / "copy",
        "/",
    ]
    before = snapshot(tmp_path)
    for destination in destinations:
        with pytest.raises(ConfigError, match=r"pass a|copy it|name a"):
            filled.backup(destination)
        assert difference(before, snapshot(tmp_path)) == "", destination
    with pytest.raises(StorageError):
        filled.backup(tmp_path / "full" / "file" / "copy")
    assert difference(before, snapshot(tmp_path)) == ""


def test_a_copy_goes_into_what_is_empty_or_new(filled, open_cache, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("empty", "link/a/b"):
        filled.backup(tmp_path / name)
        assert_whole(open_cache(tmp_path / name))
    assert sorted(os.listdir(tmp_path)) == ["empty", "link", "real", "store"]


def test_inside_a_transaction_it_is_refused(filled, tmp_path):
    with filled.transaction(), pytest.raises(TransactionError):
        filled.backup(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_volatile_cache_has_no_backup(engine_case, tmp_path):
    with Cache() as cache, pytest.raises(ConfigError, match="backup"):
        cache.backup(tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_store_is_not_copied(open_cache, engine_case, store_path, tmp_path):
    """Not even one whose damage nobody has read yet."""
    needle = b"needle-in-a-file" * 5
    # Big enough that nothing is compressed or folded away before it is damaged.
    with open_cache(compact_min_bytes=1 << 20) as cache:
        cache.set("needle", needle)
        if engine_case.name != "persistent":
            cache.sync()
        cache.set("later", 1)
    places = find_bytes(store_path, needle)
    assert places
    for place in places:
        flip(*place)
    before = snapshot(tmp_path)
    with pytest.raises(CorruptionError) as caught:
        here(engine_case, store_path, tmp_path / "copy")
    assert caught.value.path.startswith(str(store_path))
    assert difference(before, snapshot(tmp_path)) == ""
    for place in places:
        flip(*place)
    here(engine_case, store_path, tmp_path / "copy")
    with open_cache(tmp_path / "copy") as copy:
        assert copy.get("needle") == needle


@pytest.mark.helpers
def test_damage_to_an_open_store_is_told_whoever_copies_it(
    open_cache, store_path, tmp_path
):
    """Also damage to the last frame, which the log alone would take for a torn one."""
    needle = b"needle-in-a-file" * 5
    with open_cache(compact_min_bytes=1 << 20) as cache:
        cache.set_many({"needle": needle, "later": 1})
        cache.checkpoint()
        places = find_bytes(store_path, needle)
        for place in places:
            flip(*place)
        with pytest.raises(CorruptionError, match=str(store_path)):
            cache.backup(tmp_path / "copy")
        for place in places:
            flip(*place)
        assert sorted(os.listdir(tmp_path)) == ["store"]
        assert cache.backup(tmp_path / "copy") == 2


class Renames(WatchedStorage):
    def rename(self, source, path):
        if source.endswith(".partial"):
            self.watch.note(Event("rename", source))
            self.renamed = set(map(str, [Path(source), *Path(source).rglob("*")]))
        super().rename(source, path)


def test_everything_is_on_the_medium_before_the_copy_has_its_name(
    engine_case, filled, store_path, tmp_path
):
    watch = Watch()
    storage = Renames(watch)
    filled.checkpoint()
    filled.set("late", 1)
    here(engine_case, store_path, tmp_path / "copy", storage)
    events = watch.events
    at = next(n for n, event in enumerate(events) if event.what == "rename")
    last = {}
    for event in events[:at]:
        if event.what != "close" and event.what != "close done":
            last[event.path] = event.what
    assert len(storage.renamed) > 3
    wrong = {
        path: last.get(path)
        for path in storage.renamed
        if last.get(path)
        != ("sync directory done" if _was_directory(path, tmp_path) else "sync done")
    }
    assert wrong == {}
    # The name itself, and nothing but that, comes behind.
    assert [event.what for event in events[at + 1 :]] == [
        "sync directory",
        "sync directory done",
    ]


def _was_directory(path, tmp_path):
    names = Path(path).relative_to(tmp_path).parts[1:]
    return (tmp_path / "copy").joinpath(*names).is_dir()


def killed_at(step, work):
    """Run in a fork that kills itself before its nth change of the disk."""
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        return os.WIFSIGNALED(status)
    left = [step]

    def counted(real):
        def call(*arguments, **named):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        return call

    sys.frozen = True  # a kill here is as good as one in a helper, and sooner done
    for name in ("create", "open", "replace", "rename", "unlink", "sync_directory"):
        setattr(OsStorage, name, counted(getattr(OsStorage, name)))
    try:
        work()
    finally:
        os._exit(0)


def test_a_kill_leaves_a_whole_copy_or_none_and_the_next_one_cleans_up(
    engine_case, filled, open_cache, store_path, tmp_path
):
    filled.close()
    copy, rng = tmp_path / "copies" / "copy", seeded(f"kill {engine_case.name}")
    copy.parent.mkdir()
    step = 0
    outcomes = set()
    while killed_at(step, lambda: here(engine_case, store_path, copy)):
        outcomes.add(copy.exists())
        if copy.exists():
            assert_whole(open_cache(copy))
            copy.rename(tmp_path / f"complete {step}")
        else:
            left = os.listdir(copy.parent)
            assert all(name.endswith(".partial") for name in left)
        step += rng.randint(3, 12)
    assert False in outcomes
    assert_whole(open_cache(copy))
    assert os.listdir(copy.parent) == ["copy"]


@pytest.mark.helpers
def test_what_another_backup_is_writing_is_left_alone(
    engine_case, filled, open_cache, store_path, tmp_path
):
    filled.sync()
    other = tmp_path / f"copy.{os.getppid()}-00000000.partial"
    foreign = tmp_path / "copy.partial"
    stale = tmp_path / f"copy.{os.getpid()}-00000000.partial"
    for path in (other, foreign, stale):
        path.mkdir()
        (path / "file").write_bytes(b"x")
    filled.backup(tmp_path / "copy")
    assert (other / "file").exists()
    assert (foreign / "file").exists()
    assert stale.exists() == engine_case.helpers  # the pid is that of another process


@pytest.mark.privileged
def test_a_full_disk_leaves_nothing(open_cache, engine_case, tmp_path):
    cache = open_cache(map_bytes=1 << 24, compact_min_bytes=1 << 24)
    rng = random.Random(1)
    cache.set_many({f"k{n}": rng.randbytes(50_000) for n in range(40)})
    with mounted(tmp_path / "small", "size=1m") as small:
        with pytest.raises(DiskFullError, match="space"):
            cache.backup(small / "a" / "copy")
        assert list(small.rglob("copy*")) == []
    with mounted(tmp_path / "large", "size=32m") as large:
        cache.backup(large / "copy")
        with open_cache(large / "copy") as copy:
            assert len(copy) == 40
            assert copy.check().ok


@pytest.mark.helpers
def test_a_helper_that_is_killed_leaves_nothing(helped, open_cache, tmp_path):
    cache = open_cache(map_bytes=1 << 26, compact_min_bytes=1 << 26)
    cache.set_many({f"k{n}": b"x" * 100_000 for n in range(100)})

    def kill():
        while not threads.stopping.is_set():
            if list(tmp_path.glob("*.partial")):
                for pid in helpers_of_this_process():
                    os.kill(pid, signal.SIGKILL)
                    return

    with Threads() as threads:
        threads.start(kill)
        with pytest.raises(StorageError, match="the helper that copies"):
            cache.backup(tmp_path / "copy")
    assert sorted(os.listdir(tmp_path)) == ["store"]
    cache.backup(tmp_path / "copy")
    assert len(open_cache(tmp_path / "copy", map_bytes=1 << 26)) == 100


def helpers_of_this_process():
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes()
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"backup_helper" in line and int(parent) == os.getpid():
            yield int(path.name)


def test_the_contents_are_those_of_the_store(filled, open_cache, tmp_path):
    with open_cache(filled.stats().path, read_only=True) as reader:
        filled.set("k00", "changed")
        lsn = reader.backup(tmp_path / "copy")
        assert lsn == filled.stats().appended_lsn
        assert dict(reader.scan()) == CONTENTS
    assert open_cache(tmp_path / "copy").get("k00") == "changed"

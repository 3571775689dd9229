"""What only a seeded defect would break: see docs/seeded_defects.md."""

import json
import re
import shutil
import sys

import pytest

from hypercache import Cache
from hypercache.engines.base import Put
from hypercache.engines.durable_memory import DurableMemoryEngine
from hypercache.engines.hybrid import HybridEngine
from hypercache.engines.persistent import PersistentEngine
from hypercache.errors import (
    ClosedError,
    CorruptionError,
    DiskFullError,
    StorageError,
    StorageFailedError,
)
from hypercache.locking import DirectoryLock
from hypercache.options import Options
from tests.support.files import flipped, snapshot, unchanged
from tests.support.recording import Watch, WatchedStorage

SMALL = {
    "segment_bytes": 4096,
    "checkpoint_bytes": 1 << 30,
    "compact_min_bytes": 1 << 30,
    "map_bytes": 65536,
    "maintenance": "inline",
    "log_io": "write",
}
ENGINES = {
    "hybrid": HybridEngine,
    "memory": DurableMemoryEngine,
    "persistent": PersistentEngine,
}
LOGGED = ("hybrid", "memory")
LMDB = ("hybrid", "persistent")


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def open_engine(opened, store_path, watch):
    """Open the store of this test, watched."""

    def open_one(engine="hybrid", *, path=store_path, **changes):
        options = Options.resolve(**{"sync": "always", **SMALL, **changes})
        storage = WatchedStorage(watch)
        return opened.add(ENGINES[engine](str(path), options, storage=storage))

    yield open_one
    watch.before = lambda _event: None


def once(what, error, path=""):
    """Return what makes one call fail, and the list that says whether it has."""
    happened = []

    def before(event):
        if not happened and event.what == what and path in event.path:
            happened.append(event)
            raise error

    return before, happened


# A transaction reads only what is durable


def interrupted_put(engine, watch):
    """Leave a write in the log whose sync was interrupted: nobody has it yet."""
    engine.put(b"first", b"value")  # makes the segment
    watch.before, happened = once("sync", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        engine.put(b"key", b"value")
    assert happened
    assert engine.get(b"key") is None


@pytest.mark.parametrize("name", LOGGED)
def test_what_a_block_reads_was_brought_to_the_medium_before(open_engine, watch, name):
    engine = open_engine(name)
    interrupted_put(engine, watch)
    written = len(watch.events)
    with engine.exclusive():
        assert engine.get(b"key") == b"value"
        done = [event.what for event in watch.events[written:]]
    assert "sync done" in done


@pytest.mark.parametrize("name", LOGGED)
def test_a_block_that_cannot_bring_it_there_latches_the_log(open_engine, watch, name):
    engine = open_engine(name)
    interrupted_put(engine, watch)
    watch.before, _ = once("sync", StorageError("no sync now"))
    with pytest.raises(StorageError, match="no sync now"), engine.exclusive():
        pytest.fail("it was let in")
    assert engine.get(b"key") is None
    watch.before = lambda _event: None
    with pytest.raises(StorageFailedError), engine.exclusive():
        pytest.fail("it was let in")
    for write in (lambda: engine.put(b"key", b"other"), engine.checkpoint, engine.sync):
        with pytest.raises(StorageFailedError):
            write()
    with pytest.raises(StorageFailedError):
        engine.compact() if name == "memory" else engine.checkpoint()
    assert engine.stats().failure is not None


@pytest.mark.parametrize("name", LOGGED)
def test_a_seal_that_fails_shows_nothing_of_what_it_should_have_synced(
    open_engine, watch, name
):
    engine = open_engine(name)
    interrupted_put(engine, watch)
    synced_lsn = engine.stats().synced_lsn
    watch.before, happened = once("sync", StorageError("no sync now"))
    with pytest.raises(StorageError, match="no sync now"):
        engine.put(b"large", b"v" * 4096)  # needs a segment of its own
    assert happened
    assert engine.get(b"key") is None
    assert engine.stats().synced_lsn == synced_lsn
    with pytest.raises(StorageFailedError):
        engine.put(b"key", b"other")


# An LMDB file that is older than what names it


def older_lmdb(path, name, *, killed):
    """Make a store, closed or killed, and put back an earlier file of LMDB."""
    options = {**SMALL, "engine": name}
    older, left = path.parent / "older", path.parent / "left"
    data = path / "lmdb" / "data.mdb"
    with Cache(path, **options) as cache:
        cache.set("a", 1)
    shutil.copy2(data, older)
    with Cache(path, **options) as cache:
        cache.set("a", 2)
    with Cache(path, **options) as cache:
        cache.checkpoint()
        shutil.copytree(path, left)
    if killed:
        shutil.rmtree(path)
        left.rename(path)
    shutil.copy2(older, data)
    return options


REFUSED = "older than the checkpoint|not what the last close left"


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("name", LMDB)
def test_an_older_lmdb_file_is_refused_and_nothing_is_changed(store_path, name, killed):
    options = older_lmdb(store_path, name, killed=killed)
    before = snapshot(store_path)
    for _ in range(2):
        with pytest.raises(CorruptionError, match=REFUSED):
            Cache(store_path, **options)
    after = snapshot(store_path)
    ours = [file for file in after if "LOCK" not in file and "lock.mdb" not in file]
    assert {file: after[file] for file in ours} == {file: before[file] for file in ours}


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("name", LMDB)
def test_a_reader_refuses_an_older_lmdb_file_too(store_path, name, killed):
    options = older_lmdb(store_path, name, killed=killed)
    with (
        unchanged(store_path),
        pytest.raises(CorruptionError, match=REFUSED),
    ):
        Cache(store_path, read_only=True, **options)


# A close that cannot finish


def fill(engine, count=20):
    for number in range(count):
        engine.put(b"key%02d" % number, b"value" * 60)


def assert_filled(engine, count=20):
    assert engine.count() == count
    assert engine.check().ok


@pytest.mark.parametrize("name", LOGGED)
def test_a_damaged_store_is_not_closed_cleanly(open_engine, store_path, name):
    engine = open_engine(name)
    fill(engine)
    oldest = min([*store_path.glob("wal/*"), *store_path.glob("aof/*.aof")])
    with flipped([(oldest, 200)]):
        assert not engine.check().ok
        if name == "hybrid":
            with pytest.raises(CorruptionError, match="nothing is folded any more"):
                engine.checkpoint()
        engine.close()
        assert oldest.exists()
        with pytest.raises(CorruptionError):
            open_engine(name)
    again = open_engine(name)
    assert again.stats().checkpoint_count == 0
    assert_filled(again)


@pytest.mark.parametrize("name", LOGGED)
@pytest.mark.parametrize("nth", [1, 2])
def test_a_full_disk_at_close_loses_nothing(open_engine, watch, caplog, name, nth):
    engine = open_engine(name)
    fill(engine)
    left = [nth]

    def before(event):
        if event.what == "replace":
            left[0] -= 1
            if left[0] == 0:
                raise DiskFullError(f"no space for {event.path}")

    watch.before = before
    engine.close()
    watch.before = lambda _event: None
    if left[0] <= 0:
        assert "closed without" in caplog.text
    assert_filled(open_engine(name))


@pytest.mark.parametrize("name", LOGGED)
def test_a_failure_at_close_is_raised_and_loses_nothing(open_engine, watch, name):
    engine = open_engine(name)
    fill(engine)
    watch.before, happened = once("replace", StorageError("no replacement now"))
    with pytest.raises(StorageError):
        engine.close()
    assert happened
    with pytest.raises(ClosedError):
        engine.put(b"key", b"value")
    watch.before = lambda _event: None
    assert_filled(open_engine(name))


@pytest.mark.parametrize("name", LOGGED)
def test_a_close_brings_what_was_not_synced_to_the_medium(open_engine, watch, name):
    engine = open_engine(name, sync="no", segment_bytes=1 << 20)
    engine.put(b"key", b"value")
    watch.before, happened = once("sync", StorageError("no sync now"))
    with pytest.raises(StorageError):
        engine.close()
    assert happened


@pytest.mark.parametrize("name", LOGGED)
def test_a_damaged_store_is_synced_when_it_is_closed(
    open_engine, watch, store_path, name
):
    engine = open_engine(name, sync="no")
    fill(engine)
    oldest = min([*store_path.glob("wal/*"), *store_path.glob("aof/*.aof")])
    with flipped([(oldest, 200)]):
        assert not engine.check().ok
        watch.before, happened = once("sync", StorageError("no sync now"))
        with pytest.raises(StorageError):
            engine.close()
        assert happened


@pytest.mark.parametrize("name", LOGGED)
def test_a_removal_that_fails_latches_the_log(open_engine, watch, name):
    engine = open_engine(name)
    fill(engine, 60)
    seen = []

    def before(event):
        if event.what == "replace" or seen:
            seen.append(event.what)
        # The first one is that of the replacement, which succeeds.
        if seen.count("sync directory") == 2:
            raise StorageError("no sync now")

    watch.before = before
    with pytest.raises(StorageError, match="no sync now"):
        engine.checkpoint() if name == "hybrid" else engine.compact()
    watch.before = lambda _event: None
    with pytest.raises(StorageFailedError):
        engine.put(b"key", b"value")
    assert engine.count() == 60


def test_an_unsynced_store_latches_when_a_sync_fails(open_engine, monkeypatch):
    engine = open_engine("persistent", sync="no", allow_unsafe_sync=True)
    lsn = engine.put(b"key", b"value")

    def refuse():
        raise StorageError("no sync now")

    monkeypatch.setattr(engine._store, "sync", refuse)
    with pytest.raises(StorageFailedError, match="no sync now"):
        engine.sync()
    monkeypatch.undo()
    for call in (engine.sync, lambda: engine.wait_durable(lsn), engine.clear):
        with pytest.raises(StorageFailedError):
            call()
    assert engine.get(b"key") == b"value"
    assert engine.stats().synced_lsn == 0
    # The check in this process took the lock of the writers, and was refused like one.
    assert engine.check().ok
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert engine.check().ok


@pytest.mark.parametrize("name", LMDB)
def test_a_store_is_ready_only_when_the_names_of_its_files_are_on_the_medium(
    open_engine, watch, store_path, name
):
    engine = open_engine(name)
    events = [(event.what, event.path) for event in watch.events]
    ready = [
        number
        for number, event in enumerate(events)
        if event == ("replace", str(store_path / "STORE"))
    ][1]
    assert ("sync directory done", str(store_path / "lmdb")) in events[:ready]
    engine.put(b"key", b"value")


@pytest.mark.parametrize("name", LOGGED)
def test_a_log_that_failed_is_not_synced_a_second_time(open_engine, watch, name):
    # The second sync would report success for pages that are lost.
    engine = open_engine(name)
    engine.put(b"key", b"value")
    watch.before, happened = once("sync", StorageError("no sync now"))
    with pytest.raises(StorageError):
        engine.put(b"key", b"other")
    assert happened
    failed = len(watch.events)
    with pytest.raises(StorageFailedError):
        engine.checkpoint() if name == "hybrid" else engine.compact()
    assert [event.what for event in watch.events[failed:]] == []


@pytest.mark.parametrize("name", LOGGED)
def test_maintenance_under_way_when_the_log_fails_changes_nothing(
    open_engine, watch, store_path, name
):
    engine = open_engine(name)
    fill(engine, 60)
    steps = engine._upkeep.steps(in_process=False)
    next(steps)
    engine.put(b"begun", b"behind it")
    watch.before, happened = once("sync", StorageError("no sync now"))
    with pytest.raises(StorageError):
        engine.put(b"key", b"value")
    assert happened
    watch.before = lambda _event: None
    named = {"hybrid": "CHECKPOINT", "memory": "aof/MANIFEST"}[name]
    before = (store_path / named).read_bytes()
    with pytest.raises(StorageFailedError):
        list(steps)
    assert (store_path / named).read_bytes() == before
    assert engine.count() == 61


# Steps in their order


def names_of(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*"))


@pytest.mark.parametrize("name", LOGGED)
def test_nothing_is_removed_before_the_file_that_names_the_rest(
    open_engine, watch, store_path, name
):
    engine = open_engine(name)
    fill(engine, 60)
    seen = []

    def before(event):
        if event.what == "replace":
            seen.append(set(names_of(store_path)))

    engine.apply([Put(b"last", b"")])
    oldest = names_of(store_path)
    oldest = min(file for file in oldest if file.endswith((".wal", ".aof")))
    watch.before = before
    engine.checkpoint() if name == "hybrid" else engine.compact()
    assert seen
    assert all(oldest in names for names in seen)
    assert oldest not in names_of(store_path)


@pytest.mark.parametrize("name", LOGGED)
def test_what_was_removed_stays_away_after_a_power_cut(
    open_engine, watch, store_path, name
):
    engine = open_engine(name)
    fill(engine, 60)
    began = len(watch.events)
    engine.checkpoint() if name == "hybrid" else engine.compact()
    whats = [event.what for event in watch.events[began:]]
    folder = str(store_path / ("wal" if name == "hybrid" else "aof"))
    synced = [
        number
        for number, event in enumerate(watch.events[began:])
        if event.what == "sync directory done" and event.path == folder
    ]
    named = max(n for n, what in enumerate(whats) if what == "replace done")
    assert synced[-1] > named


# An open changes nothing before it has found everything whole


FOLDERS = {"hybrid": "wal", "memory": "aof"}


def killed_behind_maintenance(open_engine, store_path, name):
    """Leave a store as a kill does, with the segments that were not removed yet.

    Return what it holds, and the left-overs.
    """
    folder, early = FOLDERS[name], store_path.parent / "early"
    engine = open_engine(name)
    fill(engine, 60)
    engine.sync()
    shutil.copytree(store_path, early)
    engine.checkpoint() if name == "hybrid" else engine.compact()
    fill(engine, 30)
    engine.sync()
    left = store_path.parent / "left"
    shutil.copytree(store_path, left)
    expected = {key: entry.value for key, entry in engine.scan()}
    engine.close()
    shutil.rmtree(store_path)
    left.rename(store_path)
    named = {path.name for path in (store_path / folder).iterdir()}
    over = [path for path in (early / folder).iterdir() if path.name not in named]
    for path in over:
        shutil.copy(path, store_path / folder / path.name)
    assert over
    return expected, [store_path / folder / path.name for path in over]


def killed_before_the_marker(open_engine, store_path):
    """Leave a hybrid store as a kill does between LMDB's commit and the marker."""
    early = store_path.parent / "early"
    engine = open_engine("hybrid")
    fill(engine, 60)
    engine.sync()
    shutil.copytree(store_path, early)
    engine.checkpoint()
    expected = {key: entry.value for key, entry in engine.scan()}
    shutil.rmtree(early / "lmdb")
    shutil.copytree(store_path / "lmdb", early / "lmdb")
    engine.close()
    shutil.rmtree(store_path)
    early.rename(store_path)
    return expected


def files_of(path):
    """Return what an open that is refused must leave as it was."""
    found = snapshot(path)
    return {name: found[name] for name in found if "lock" not in str(name).lower()}


def assert_refused_unchanged(open_engine, store_path, name, damaged):
    whole = damaged.read_bytes()
    with flipped([(damaged, 200)]):
        before = files_of(store_path)
        with pytest.raises(CorruptionError):
            open_engine(name)
        assert files_of(store_path) == before
    assert damaged.read_bytes() == whole


@pytest.mark.parametrize("name", LOGGED)
def test_an_open_removes_what_a_kill_kept_from_being_removed(
    open_engine, store_path, name
):
    expected, over = killed_behind_maintenance(open_engine, store_path, name)
    named = sorted(set((store_path / FOLDERS[name]).iterdir()) - set(over))
    oldest = next(path for path in named if path.suffix in (".wal", ".aof"))
    assert_refused_unchanged(open_engine, store_path, name, oldest)
    engine = open_engine(name)
    assert {key: entry.value for key, entry in engine.scan()} == expected
    assert not any(path.exists() for path in over)
    assert engine.check().ok


def test_an_open_brings_the_marker_up_to_lmdb_once_all_is_read(open_engine, store_path):
    expected = killed_before_the_marker(open_engine, store_path)
    marker = (store_path / "CHECKPOINT").read_bytes()
    oldest = min((store_path / "wal").iterdir())
    assert_refused_unchanged(open_engine, store_path, "hybrid", oldest)
    engine = open_engine("hybrid")
    assert {key: entry.value for key, entry in engine.scan()} == expected
    assert engine.stats().checkpoint_lsn == 60
    assert (store_path / "CHECKPOINT").read_bytes() != marker


# A kill at every step


def contents_of(engine):
    return {key: entry.value for key, entry in engine.scan()}


def copies_at(watch, store_path, what):
    """Copy the store when each of these calls begins and when it has ended."""
    copies = []

    def before(event):
        if event.what in what:
            copies.append(store_path.parent / f"copy{len(copies)}")
            shutil.copytree(store_path, copies[-1])

    watch.before = before
    return copies


@pytest.mark.parametrize("name", LOGGED)
def test_a_kill_at_any_step_of_a_close_loses_nothing(
    open_engine, watch, store_path, name
):
    engine = open_engine(name)
    fill(engine, 30)
    expected = contents_of(engine)
    steps = ("write", "sync", "truncate", "replace", "sync directory", "close")
    copies = copies_at(watch, store_path, steps)
    engine.close()
    watch.before = lambda _event: None
    assert len(copies) > 4
    for copy in copies:
        again = open_engine(name, path=copy)
        assert contents_of(again) == expected
        again.close()


@pytest.mark.parametrize("name", LOGGED)
def test_what_is_written_after_a_kill_survives_the_next_one(
    open_engine, store_path, name
):
    engine, path = open_engine(name), store_path
    fill(engine, 3)
    for number in range(3):
        engine.put(b"again", b"%d" % number)
        copy = store_path.parent / f"killed{number}"
        shutil.copytree(path, copy)
        engine.close()
        engine, path = open_engine(name, path=copy), copy
        assert engine.get(b"again") == b"%d" % number
        assert engine.check().ok
    assert engine.count() == 4


def test_a_shared_store_says_that_it_is_open_before_others_may_join(
    open_engine, store_path, monkeypatch
):
    # One that joined, wrote and was killed would leave a store noted as closed.
    open_engine("persistent").close()
    marked = []

    def share(lock):
        marked.append(
            json.loads((store_path / "CHECKPOINT").read_text().split("\n")[0])
        )
        return shared(lock)

    shared = DirectoryLock.share
    monkeypatch.setattr(DirectoryLock, "share", share)
    open_engine("persistent")
    assert [marker["clean"] for marker in marked] == [False]


# A copy


@pytest.mark.parametrize("name", ["memory", *LMDB])
def test_a_store_that_has_lost_its_identity_is_not_copied(
    open_engine, store_path, tmp_path, name
):
    engine = open_engine(name)
    engine.put(b"key", b"value")
    (store_path / "STORE").rename(tmp_path / "STORE")
    missing = re.escape(f"{store_path}/STORE: the file is missing")
    with pytest.raises(CorruptionError, match=missing):
        engine.backup(str(tmp_path / "copy"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["STORE", "store"]
    (tmp_path / "STORE").rename(store_path / "STORE")
    engine.backup(str(tmp_path / "copy"))

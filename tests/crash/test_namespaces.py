"""Crashes while namespaces are made, written and dropped; other processes beside it."""

import os
import signal

import pytest

from hypercache import Cache
from hypercache.errors import StorageError, StoreLockedError
from hypercache.locking import DirectoryLock
from hypercache.paths import StorePaths
from hypercache.testing.every_cut import PowerCutRun
from hypercache.testing.machine import Machine
from hypercache.testing.simulated_disk import Fault, SimDisk
from tests.support.processes import in_fork, start_python

PATH = "/data/store"
INNER = StorePaths(PATH).namespace("a/b")
LIMIT = 2  # disks of one moment; with 24 of them nothing else was found
ENGINES = pytest.mark.parametrize("engine", ["hybrid", "memory"])
EVERY = pytest.mark.parametrize("engine", ["hybrid", "memory", "persistent"])

HOLD = """
    import sys
    import hypercache

    cache = hypercache.Cache(sys.argv[1], engine="persistent")
    inner = cache.namespace("inner")
    inner["key"] = "theirs"
    print("open", flush=True)
    sys.stdin.readline()
    print(inner["key"], flush=True)
"""


@pytest.fixture
def machine():
    machine = Machine()
    with machine.installed():
        yield machine


def contents(engine):
    """Open the store and return all that is in it, by namespace."""
    with Cache(PATH, engine=engine) as cache:
        names = cache.namespaces()
        inner = {name: dict(cache.namespace(name).scan()) for name in names}
        return {None: dict(cache.scan()), **inner}


@ENGINES
def test_every_power_cut_leaves_a_namespace_whole_or_none(machine, engine):
    def work(note):
        with Cache(PATH, engine=engine, sync="always") as cache:
            cache["key"] = 0
            note("stored outside")
            inner = cache.namespace("a/b")
            note("made")
            inner.set_many({"k": 1, "l": 2})
            note("stored")
            cache.namespace("other")["key"] = 3
            note("stored in the other")
            cache.drop_namespace("a/b")
            note("dropped")

    def check(notes):
        found = contents(engine)
        assert found.pop(None) in ([{b"key": 0}] if notes else [{}, {b"key": 0}])
        inner, other = found.pop("a/b", None), found.pop("other", None)
        assert found == {}
        assert inner in (None, {}, {b"k": 1, b"l": 2})
        assert other in (None, {}, {b"key": 3})
        if "stored in the other" in notes:
            assert other == {b"key": 3}
        elif "stored" in notes:
            assert inner == {b"k": 1, b"l": 2}
        elif "made" in notes:
            assert inner is not None
        if "dropped" in notes:
            assert inner is None
        elif "stored in the other" in notes:
            assert inner in (None, {b"k": 1, b"l": 2})

    assert PowerCutRun(machine, work, limit=LIMIT).check_all(check) > 50


@ENGINES
def test_every_power_cut_after_a_drop_was_cut_finds_no_half_of_it(machine, engine):
    with Cache(PATH, engine=engine, sync="always") as cache:
        cache.namespace("a/b").set_many({"k": 1, "l": 2})

    def work(note):
        with Cache(PATH, engine=engine, sync="always") as cache:
            cache.drop_namespace("a/b")
            note("dropped")
            cache.namespace("a/b")["k"] = "new"
            note("made anew")

    def check(notes):
        inner = contents(engine).get("a/b")
        with Cache(PATH, engine=engine) as cache:  # whatever is left can be used
            assert dict(cache.namespace("a/b").scan()) == (inner or {})
        if "made anew" in notes:
            assert inner == {b"k": "new"}
        elif "dropped" in notes:
            assert inner in (None, {}, {b"k": "new"})
        else:
            assert inner in (None, {}, {b"k": "new"}, {b"k": 1, b"l": 2})

    assert PowerCutRun(machine, work, limit=LIMIT).check_all(check) > 20


@ENGINES
def test_whatever_fails_in_a_drop_it_is_whole_or_gone(machine, engine):
    def open_again(note):
        Cache(PATH, engine=engine).close()

    def check(notes):
        assert contents(engine).get("a/b") in (None, {b"key": 1})

    failed = 0
    while True:
        machine.restart_with(SimDisk())
        with Cache(PATH, engine=engine) as cache:
            cache.namespace("a/b")["key"] = 1
        cache = Cache(PATH, engine=engine)
        disk = machine.disk
        disk.faults = {len(disk.trace) + failed: Fault()}
        try:
            cache.drop_namespace("a/b")
        except StorageError:
            failed += 1
            machine.kill()
            # What was renamed in vain is removed by the next open: also that may end.
            PowerCutRun(machine, open_again).check_all(check)
        else:
            break
    assert failed >= 2
    machine.kill()
    assert "a/b" not in contents(engine)


@ENGINES
def test_a_directory_that_was_made_and_not_synced_is_synced_by_who_uses_it(
    machine, engine
):
    Cache(PATH, engine=engine).close()
    cache = Cache(PATH, engine=engine, sync="always")
    failed = []

    def fail_once(action, path):
        if action.startswith("sync") and path == PATH and not failed:
            failed.append(path)
            return Fault()
        return None

    machine.disk.choose_fault = fail_once
    with pytest.raises(StorageError):
        cache.namespace("a/b")
    assert failed
    cache.namespace("a/b")["key"] = 1
    machine.power_cut()
    assert contents(engine)["a/b"] == {b"key": 1}


def test_what_cannot_be_removed_of_a_drop_keeps_nobody_out(machine, caplog):
    with Cache(PATH) as cache:
        cache.namespace("a/b")["key"] = 1
    machine.disk.rename(INNER.root, StorePaths(PATH).dropped(1))

    def fail(action, path):
        return Fault() if ".dropped" in path and action != "sync" else None

    machine.disk.choose_fault = fail
    with Cache(PATH) as cache:
        cache["key"] = 2
    assert "dropped namespace stays" in caplog.text
    machine.disk.repair()
    with Cache(PATH) as cache:
        assert cache.namespaces() == []
        assert machine.disk.list(StorePaths(PATH).namespaces) == []


def test_the_directory_is_removed_only_under_its_new_name(machine, monkeypatch):
    with Cache(PATH) as cache:
        cache.namespace("a/b")["key"] = 1
        renamed, disk = [], machine.disk
        rename, remove = disk.rename, disk.remove_tree

        def note_rename(source, path):
            rename(source, path)
            if source == INNER.root:
                renamed.append((source, path))

        def note_remove(path):
            assert path.startswith(renamed[0][1])
            remove(path)

        monkeypatch.setattr(disk, "rename", note_rename)
        monkeypatch.setattr(disk, "remove_tree", note_remove)
        assert cache.drop_namespace("a/b")
        assert len(renamed) == 1


def test_what_another_process_has_open_is_not_dropped(tmp_path):
    path = tmp_path / "store"
    holder = start_python(HOLD, path)
    assert holder.stdout.readline() == "open\n"
    with Cache(path, engine="persistent") as cache:
        assert cache.namespaces() == ["inner"]
        with pytest.raises(StoreLockedError):
            cache.drop_namespace("inner")
        inner = cache.namespace("inner")
        assert inner["key"] == "theirs"
        inner["key"] = "ours"
        out, _ = holder.communicate("\n", timeout=60)
        assert out == "ours\n"
        assert cache.drop_namespace("inner")
        assert cache.namespaces() == []


def test_processes_that_make_one_at_once_share_it(tmp_path):
    path = tmp_path / "store"
    holders = [start_python(HOLD, path) for _ in range(4)]
    for holder in holders:
        assert holder.stdout.readline() == "open\n"
    for holder in holders:
        out, _ = holder.communicate("\n", timeout=60)
        assert out == "theirs\n"
    with Cache(path, engine="persistent") as cache:
        assert dict(cache.namespace("inner").scan()) == {b"key": "theirs"}


def test_killed_while_it_has_one_open_it_leaves_all_that_was_written(tmp_path):
    path = tmp_path / "store"
    holder = start_python(HOLD, path)
    assert holder.stdout.readline() == "open\n"
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=60)
    with Cache(path, engine="persistent") as cache:
        assert cache.namespace("inner")["key"] == "theirs"
        assert cache.check().ok


def test_who_waited_for_a_lock_that_was_dropped_meanwhile_does_not_get_it(
    tmp_path, monkeypatch
):
    root, opened = tmp_path / "inner", os.open
    root.mkdir()

    def drop_behind(path, *arguments):
        fd = opened(path, *arguments)
        monkeypatch.undo()
        os.rename(root, tmp_path / "dropped")
        return fd

    monkeypatch.setattr(os, "open", drop_behind)
    with pytest.raises(StoreLockedError):
        DirectoryLock(str(root), str(root / "LOCK"), shared=True)
    root.mkdir()
    DirectoryLock(str(root), str(root / "LOCK"), shared=True).release()


@EVERY
def test_a_child_of_a_fork_can_close_what_it_inherited(tmp_path, engine):
    with Cache(tmp_path / "store", engine=engine) as cache:
        inner = cache.namespace("inner")
        inner["key"] = 1

        def in_child():
            cache._namespaces._mutex.acquire()  # as another thread may hold it
            cache.close()
            return "closed"

        cache._namespaces._mutex.acquire()
        try:
            assert in_fork(in_child) == "closed"
        finally:
            cache._namespaces._mutex.release()
        assert inner["key"] == 1


def test_one_that_is_half_made_keeps_no_check_and_no_backup_from_its_work(machine):
    Cache(PATH, engine="memory").close()
    # After every step: a kill keeps what was written, synced or not.
    left = []
    with Cache(PATH, engine="memory") as cache:
        disk = machine.disk
        disk.on_step = lambda: left.append(disk.detached())
        cache.namespace("a/b")["key"] = 1
        disk.on_step = None
    assert len(left) > 10
    listed = set()
    for disk in left:
        machine.restart_with(disk)
        with Cache(PATH, engine="memory", read_only=True) as cache:
            listed.add(tuple(cache.namespaces()))
            for name in cache.namespaces():
                assert dict(cache.namespace(name).scan()) in ({}, {b"key": 1})
        with Cache(PATH, engine="memory") as cache:
            assert cache.check().problems == ()
    assert listed == {(), ("a/b",)}

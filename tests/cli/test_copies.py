"""backup and restore copy whole stores; what only reads works beside a writer."""

import json
import os
import pickle

import pytest

import hypercache
from tests.support.files import flip, snapshot, unchanged
from tests.support.mounts import read_only_directory

ENGINES = ("memory", "hybrid", "persistent")
VALUE = b"0123456789abcdef" * 4


@pytest.fixture(params=ENGINES)
def any_store(request, tmp_path):
    """Make a store of each engine that was closed cleanly."""
    path = tmp_path / "any"
    with hypercache.Cache(path, engine=request.param) as cache:
        cache.set_many({"apple": "green", "bread": 12, "salt": None})
    return path


def disk_bytes(path):
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())


def test_a_backup_and_its_restore_are_the_store(run, any_store, tmp_path):
    copy, again = tmp_path / "copy", tmp_path / "again"
    before = run("scan", any_store, "--json").stdout
    with unchanged(any_store):
        result = run("backup", any_store, copy)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{copy}: LSN 3, 3 entries, {disk_bytes(copy):,} bytes\n"
    with unchanged(copy):
        result = run("restore", copy, again, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "path": str(again),
        "lsn": 3,
        "entry_count": 3,
        "disk_bytes": disk_bytes(again),
    }
    for path in (copy, again):
        assert run("scan", path, "--json").stdout == before
        assert run("check", path).stdout == "clean: 3 entries\n"
    assert run("set", again, "next", "1").stdout == "4\n"


def test_a_store_is_backed_up_while_it_is_open(run, any_store, tmp_path):
    name = json.loads(run("stats", any_store, "--json").stdout)["engine"]
    with hypercache.Cache(any_store, engine=name) as cache:
        cache.set("apple", "red")
        assert run("backup", any_store, tmp_path / "copy").exit_code == 0
    assert run("get", tmp_path / "copy", "apple").stdout == "red\n"


def test_what_only_reads_works_beside_a_writer_and_changes_nothing(
    run, store, held_open
):
    with held_open(store):
        before = snapshot(store)
        assert run("get", store, "apple").stdout == "green\n"
        assert len(run("scan", store).stdout.splitlines()) == 3
        assert run("check", store).stdout == "clean: 3 entries\n"
        assert json.loads(run("stats", store, "--json").stdout)["read_only"]
        assert snapshot(store) == before


def test_what_only_reads_works_on_a_read_only_disk(run, any_store, tmp_path):
    with read_only_directory(tmp_path / "mount", any_store) as path:
        assert run("get", path, "apple").stdout == "green\n"
        assert run("check", path).stdout == "clean: 3 entries\n"
        assert run("stats", path).exit_code == 0
        assert run("backup", path, tmp_path / "copy").exit_code == 0
        assert run("restore", path, tmp_path / "restored").exit_code == 0
        result = run("set", path, "key", "value")
        assert (result.exit_code, len(result.stderr.splitlines())) == (4, 1)
    assert run("get", tmp_path / "restored", "apple").stdout == "green\n"


def test_all_commands_take_the_engine_from_the_store(run, any_store):
    assert run("set", any_store, "new", "1").stdout == "4\n"
    assert run("del", any_store, "apple", "absent").stdout == "1\n"
    assert run("checkpoint", any_store).stdout == "5\n"
    assert run("scan", any_store, "--keys-only").stdout.split() == [
        "bread",
        "new",
        "salt",
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_set_creates_a_store_of_the_engine_that_is_named(run, tmp_path, engine):
    path = tmp_path / "new"
    assert run("set", path, "key", "value", "--engine", engine).stdout == "1\n"
    assert json.loads(run("stats", path, "--json").stdout)["engine"] == engine
    assert run("set", path, "key", "value").stdout == "2\n"
    other = ENGINES[ENGINES.index(engine) - 1]
    result = run("set", path, "key", "value", "--engine", other)
    assert result.exit_code == 2
    assert f"is a store of the engine '{engine}'" in result.stderr


def test_set_creates_a_hybrid_store_where_none_is_named(run, tmp_path):
    run("set", tmp_path / "new", "key", "value")
    with hypercache.Cache(tmp_path / "new", engine="hybrid") as cache:
        assert cache.get("key") == "value"


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_copy_goes_onto_nothing_that_is_there(run, store, tmp_path, command):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").write_bytes(b"mine")
    for destination in (store, store / "in", tmp_path, tmp_path / "full"):
        with unchanged(tmp_path):
            result = run(command, store, destination)
        assert (result.exit_code, result.stdout) == (2, "")
        assert len(result.stderr.splitlines()) == 1
        assert str(destination) in result.stderr
    (tmp_path / "empty").mkdir()
    assert run(command, store, tmp_path / "empty").exit_code == 0


def test_a_backup_that_is_open_is_not_restored(run, store, held_open, tmp_path):
    with held_open(store):
        result = run("restore", store, tmp_path / "new")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "copy it with `hypercache backup`" in result.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", ["backup", "restore"])
@pytest.mark.parametrize("destination", ["", "a\0b"])
def test_a_destination_without_a_name_is_wrong_usage(run, store, command, destination):
    result = run(command, store, destination)
    assert result.exit_code == 2
    assert "names no directory" in result.stderr


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_damaged_store_is_not_copied(run, tmp_path, command):
    path = tmp_path / "damaged"
    with hypercache.Cache(path, serializer="bytes") as cache:
        cache.set("key", VALUE)
    data = path / "lmdb" / "data.mdb"
    times = data.stat()
    flip(data, data.read_bytes().rindex(VALUE))
    os.utime(data, ns=(times.st_atime_ns, times.st_mtime_ns))
    result = run(command, path, tmp_path / "copy")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith(f"hypercache: {data}, ")
    assert len(result.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == ["damaged"]


def test_a_torn_tail_is_not_copied(run, tmp_path):
    path = tmp_path / "killed"
    with hypercache.Cache(tmp_path / "origin", serializer="bytes") as cache:
        cache.set("first", b"1")
        cache.sync()
        cache.set("second", VALUE)
        path.mkdir()
        for item in sorted((tmp_path / "origin").rglob("*")):
            target = path / item.relative_to(tmp_path / "origin")
            target.mkdir() if item.is_dir() else target.write_bytes(item.read_bytes())
    (segment,) = (path / "wal").iterdir()
    flip(segment, segment.read_bytes().rindex(VALUE))
    with unchanged(path):
        assert ": LSN 1, 1 entries, " in run("restore", path, tmp_path / "new").stdout
    assert run("check", tmp_path / "new").exit_code == 0


def test_a_store_of_an_unknown_serializer_is_copied_as_it_is(run, tmp_path):
    with hypercache.Cache(tmp_path / "custom", serializer=pickle) as cache:
        cache.set("key", "value")
    assert run("backup", tmp_path / "custom", tmp_path / "copy").exit_code == 0
    with hypercache.Cache(tmp_path / "copy", serializer=pickle) as cache:
        assert cache.get("key") == "value"

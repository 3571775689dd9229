"""Namespaces on the command line: listed, dropped, and named by --namespace."""

import json
import shutil

import pytest

import hypercache
from hypercache.paths import StorePaths
from tests.support.files import unchanged


@pytest.fixture
def spaced(tmp_path):
    """Make a store with two namespaces, closed cleanly."""
    path = tmp_path / "spaced"
    with hypercache.Cache(path) as cache:
        cache["key"] = "outside"
        cache.namespace("user:1")["key"] = "one"
        cache.namespace("B", engine="memory").set_many({"key": "b", "more": 2})
    return path


def test_they_are_listed_with_their_sizes(run, spaced):
    with unchanged(spaced):
        result = run("namespaces", spaced)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [line[:2] for line in lines] == [["B", "2 entries"], ["user:1", "1 entries"]]
    found = [
        json.loads(line)
        for line in run("namespaces", spaced, "--json").stdout.splitlines()
    ]
    assert [(each["name"], each["entry_count"]) for each in found] == [
        ("B", 2),
        ("user:1", 1),
    ]
    assert all(each["disk_bytes"] > 0 for each in found)


def test_stats_of_the_cache_name_them(run, spaced):
    assert json.loads(run("stats", spaced, "--json").stdout)["namespaces"] == [
        "B",
        "user:1",
    ]


def test_each_command_takes_one_by_name(run, spaced):
    of = ("--namespace", "user:1")
    assert run("get", spaced, "key", *of).stdout == "one\n"
    assert run("scan", spaced, *of).stdout == 'key\t"one"\n'
    assert run("set", spaced, "new", "2", *of).exit_code == 0
    assert run("del", spaced, "key", *of).stdout == "1\n"
    assert json.loads(run("stats", spaced, *of, "--json").stdout)["entry_count"] == 1
    assert run("checkpoint", spaced, *of).exit_code == 0
    assert run("check", spaced, *of).stdout == "clean: 1 entries\n"
    assert run("wal", "inspect", spaced, *of).exit_code == 0
    assert run("aof", "compact", spaced, "--namespace", "B").exit_code == 0
    assert run("scan", spaced).stdout == 'key\t"outside"\n'


def test_set_makes_what_is_not_there(run, tmp_path):
    path = tmp_path / "new"
    assert run("set", path, "key", "1", "--namespace", "n").exit_code == 0
    assert run("get", path, "key", "--namespace", "n").stdout == "1\n"
    assert run("scan", path).stdout == ""


def test_a_name_that_is_not_there_is_told_with_those_that_are(run, spaced):
    for command in (("get", spaced, "key"), ("scan", spaced), ("check", spaced)):
        result = run(*command, "--namespace", "user")
        assert result.exit_code == 2
        assert "no namespace 'user'; there are: 'B', 'user:1'" in result.stderr


def test_a_bad_name_makes_nothing(run, spaced, tmp_path):
    for path in (spaced, tmp_path / "new"):
        assert run("set", path, "key", "1", "--namespace", "x" * 81).exit_code == 2
        assert run("set", path, "key", "1", "--namespace", "").exit_code == 2
    assert not (tmp_path / "new").exists()


def test_drop_removes_one_and_says_when_there_is_none(run, spaced):
    assert run("drop", spaced, "user:1").exit_code == 0
    assert run("drop", spaced, "user:1").exit_code == 1
    assert run("namespaces", spaced).stdout.startswith("B\t")
    assert run("get", spaced, "key").stdout == "outside\n"


def test_check_reads_all_of_them(run, spaced):
    assert run("check", spaced).stdout == "clean: 4 entries\n"
    store = StorePaths(str(spaced)).namespace("user:1").store
    with open(store, "w") as file:
        file.write("{}")
    result = run("check", spaced)
    assert result.exit_code == 3
    assert result.stdout.startswith(f"{store}")
    assert run("check", spaced, "--namespace", "B").exit_code == 0
    result = run("namespaces", spaced)
    assert result.exit_code == 3
    assert "user:1\tdamaged" in result.stdout


def test_check_tells_a_torn_tail_of_one(run, spaced, tmp_path):
    torn = tmp_path / "torn"
    with hypercache.Cache(spaced) as cache:
        cache.namespace("user:1")["key"] = "two"
        shutil.copytree(spaced, torn)
    (active,) = (torn / "namespaces" / "user%3a1" / "wal").iterdir()
    active.write_bytes(active.read_bytes().rstrip(b"\0")[:-1])
    result = run("check", torn)
    assert result.exit_code == 1
    assert f"a torn tail, left as it is: {active}" in result.stdout


def test_a_backup_and_its_restore_have_all_of_them(run, spaced, tmp_path):
    copy, again = tmp_path / "copy", tmp_path / "again"
    with unchanged(spaced):
        assert run("backup", spaced, copy).exit_code == 0
    assert run("restore", copy, again).exit_code == 0
    for path in (copy, again):
        assert run("check", path).stdout == "clean: 4 entries\n"
        assert run("get", path, "key", "--namespace", "user:1").stdout == "one\n"
    assert run("backup", spaced, tmp_path / "one", "--namespace", "B").exit_code == 0
    assert run("scan", tmp_path / "one").stdout == 'key\t"b"\nmore\t2\n'

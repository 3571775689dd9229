"""A directory that is not a healthy store is refused with one line, and not touched."""

import os

import pytest

import hypercache
from hypercache import metafile
from hypercache.paths import StorePaths
from hypercache.storage import OsStorage

READERS = [
    ["get", "key"],
    ["del", "key"],
    ["scan"],
    ["stats"],
    ["check"],
    ["checkpoint"],
    ["backup", "DEST"],
]
WRITERS = [["set", "key", "value"], ["del", "key"], ["checkpoint"]]
ALL = [*READERS, ["set", "key", "value"]]


@pytest.fixture(autouse=True)
def in_a_directory_of_its_own(tmp_path_factory, monkeypatch):
    """Let a relative DEST be nowhere near the store."""
    monkeypatch.chdir(tmp_path_factory.mktemp("current"))
    yield
    assert os.listdir() == []


def refuse(result, exit_code, words):
    """Assert that a command ended with one line that holds these words."""
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert words in result.stderr
    assert result.stderr.startswith("hypercache: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", READERS, ids=lambda words: words[0])
def test_a_missing_directory_is_not_created(run, tmp_path, command):
    path = tmp_path / "missing"
    refuse(run(command[0], path, *command[1:]), 2, f"{path} does not exist")
    assert not path.exists()


@pytest.mark.parametrize("command", READERS, ids=lambda words: words[0])
def test_an_empty_directory_stays_empty(run, tmp_path, command):
    refuse(run(command[0], tmp_path, *command[1:]), 2, "holds no HyperCache store")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ALL, ids=lambda words: words[0])
def test_a_foreign_directory_is_not_changed(run, tmp_path, contents, command):
    (tmp_path / "letter.txt").write_bytes(b"Dear reader\n")
    before = contents(tmp_path)
    refuse(run(command[0], tmp_path, *command[1:]), 2, "HyperCache store")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", ALL, ids=lambda words: words[0])
def test_a_file_is_not_changed(run, tmp_path, command):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    refuse(run(command[0], path, *command[1:]), 2, f"{path} is a file")
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("command", ALL, ids=lambda words: words[0])
def test_a_store_of_a_newer_format_is_not_changed(run, store, contents, command):
    storage, paths = OsStorage(), StorePaths(str(store))
    fields = metafile.maybe_read(storage, paths.store)
    metafile.write(storage, paths.store, fields | {"format": 2})
    before = contents(store)
    refuse(run(command[0], store, *command[1:]), 4, "format 2 is not supported")
    assert contents(store) == before


@pytest.mark.parametrize("command", READERS, ids=lambda words: words[0])
def test_a_store_whose_creation_was_interrupted_is_left_alone(run, store, command):
    storage, paths = OsStorage(), StorePaths(str(store))
    fields = metafile.maybe_read(storage, paths.store)
    metafile.write(storage, paths.store, fields | {"state": "creating"})
    refuse(run(command[0], store, *command[1:]), 2, "was interrupted")


def test_a_store_without_its_identity_is_damaged(run, store, contents):
    (store / "STORE").unlink()
    before = contents(store)
    refuse(run("get", store, "apple"), 3, f"{store}/STORE: the file is missing")
    refuse(run("backup", store, "DEST"), 3, f"{store}/STORE: the file is missing")
    result = run("check", store)
    assert result.exit_code == 3
    assert result.stdout.startswith(f"{store}/STORE: the file is missing")
    assert contents(store) == before


def test_a_locked_store_names_the_process_that_holds_it(run, store, held_open):
    with held_open(store) as holder:
        for command in WRITERS:
            result = run(command[0], store, *command[1:])
            refuse(result, 4, f"is open in process {holder.pid};")


@pytest.mark.parametrize("ttl", ["-1", "0", "nan"])
def test_a_ttl_out_of_range_is_refused_before_anything_is_created(run, tmp_path, ttl):
    path = tmp_path / "new"
    refuse(run("set", path, "key", "value", "--ttl", ttl), 2, "must be above 0")
    assert not path.exists()


def test_an_empty_key_is_refused_before_anything_is_created(run, tmp_path):
    refuse(run("set", tmp_path / "new", "", "value"), 2, "1 to 65535 bytes")
    assert not (tmp_path / "new").exists()


def test_an_empty_key_is_refused_by_get_and_del(run, store):
    refuse(run("get", store, ""), 2, "1 to 65535 bytes")
    refuse(run("del", store, "apple", ""), 2, "1 to 65535 bytes")
    with hypercache.Cache(store) as cache:
        assert "apple" in cache


@pytest.mark.parametrize("text", ["{", "NaN0", "[" * 100_000, b"\xff"])
def test_a_value_that_is_not_json_is_wrong_usage(run, store, text):
    data = text if isinstance(text, bytes) else text.encode()
    result = run("set", store, "key", "-", "--json", stdin=data)
    assert result.exit_code == 2
    assert "the value is not JSON" in result.stderr


def test_a_value_that_is_not_text_is_wrong_usage(run, store):
    result = run("set", store, "key", "-", stdin=b"\xff")
    assert result.exit_code == 2
    assert "the value is not UTF-8" in result.stderr


def test_a_value_that_the_serializer_refuses_is_wrong_usage(run, tmp_path):
    hypercache.Cache(tmp_path / "bytes", serializer="bytes").close()
    result = run("set", tmp_path / "bytes", "key", "1", "--json")
    refuse(result, 2, "the bytes serializer cannot encode")

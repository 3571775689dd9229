"""Bad input has its own error, says what, where and what next, and changes no byte."""

import json
import shutil
import struct

import pytest
from crc32c import crc32c

from hypercache import Cache
from hypercache.errors import (
    ArgumentTypeError,
    ConfigError,
    CorruptionError,
    HyperCacheError,
    LimitError,
    SerializationError,
    StorageError,
    StoreLockedError,
    UnsupportedFormatError,
)
from tests.support.engines import TINY
from tests.support.files import unchanged
from tests.support.mounts import read_only_directory
from tests.support.refusals import refused
from tests.support.stores import assert_whole

# Paths


def test_a_path_that_is_a_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    with unchanged(tmp_path), refused(ConfigError, path, "file", "directory"):
        Cache(path)


def test_a_path_below_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    path = tmp_path / "file" / "store"
    with unchanged(tmp_path), pytest.raises(HyperCacheError, match=str(path)):
        Cache(path)


def test_a_path_that_is_a_dangling_link(tmp_path):
    path = tmp_path / "link"
    path.symlink_to(tmp_path / "nowhere")
    with unchanged(tmp_path), pytest.raises(HyperCacheError, match=str(path)):
        Cache(path)


def test_a_link_to_a_store_is_that_store(closed_store, open_store, tmp_path):
    (tmp_path / "link").symlink_to(closed_store)
    cache = open_store(tmp_path / "link")
    assert_whole(cache)
    with pytest.raises(StoreLockedError):
        Cache(closed_store)


@pytest.mark.parametrize("name", ["notes.txt", "data.mdb", ".hidden", "wal.bak"])
def test_a_directory_that_holds_something_else(tmp_path, name):
    path = tmp_path / "photos"
    path.mkdir()
    (path / name).write_bytes(b"mine")
    with unchanged(tmp_path), refused(ConfigError, path, name, "directory"):
        Cache(path)


def test_an_empty_directory_becomes_a_store(tmp_path, open_store):
    path = tmp_path / "made" / "before"
    path.mkdir(parents=True)
    cache = open_store(path)
    cache.set("a", 1)
    assert cache["a"] == 1


def test_parents_that_are_missing_are_made(tmp_path, open_store):
    cache = open_store(tmp_path / "a" / "b" / "c")
    cache.set("a", 1)
    assert cache["a"] == 1


@pytest.mark.parametrize("path", ["", "a\0b", 5, 1.5, ["store"]], ids=repr)
def test_what_names_no_directory_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with unchanged(tmp_path), pytest.raises(ConfigError, match="path="):
        Cache(path)


def test_a_relative_path_stays_the_same_store_after_chdir(
    open_store, tmp_path, monkeypatch
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    cache = open_store("store")
    monkeypatch.chdir(tmp_path / "elsewhere")
    for n in range(200):
        cache.set(str(n), "v" * 50)
    cache.checkpoint()
    assert cache.check().ok
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"engine": "rocks"},
        {"sync": "sometimes"},
        {"log_io": "carrier pigeon"},
        {"verify": "never"},
        {"serializer": "yaml"},
        {"segment_bytes": 100},
        {"checkpoint_bytes": 0},
        {"map_bytes": 1.5},
        {"memory_bytes": -1},
        {"fold_batch": True},
        {"compress_min_bytes": -1},
        {"unheard_of": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("exists", [False, True], ids=["new", "store"])
def test_an_option_that_cannot_work_is_named(tmp_path, arguments, exists):
    path = tmp_path / "store"
    if exists:
        Cache(path, **TINY).close()
    (name,) = arguments
    with unchanged(tmp_path), pytest.raises(ConfigError, match=name):
        Cache(path, **arguments)


def test_a_default_ttl_that_cannot_work_is_refused(tmp_path):
    for ttl, error in ((-1, LimitError), (0, LimitError), ("1", ArgumentTypeError)):
        with unchanged(tmp_path), pytest.raises(error, match="ttl"):
            Cache(tmp_path / "store", default_ttl=ttl)


def test_what_needs_a_path_is_refused_without_one():
    for arguments in ({"sync": "always"}, {"engine": "hybrid"}):
        with pytest.raises(ConfigError, match="path"):
            Cache(**arguments)


def test_the_serializer_of_a_store_cannot_be_changed(closed_store):
    with unchanged(closed_store), refused(ConfigError, closed_store, "msgpack"):
        Cache(closed_store, serializer="json")


# Directories that refuse


def test_an_unwritable_parent(tmp_path):
    with read_only_directory(tmp_path / "read-only") as directory:
        path = directory / "store"
        with unchanged(directory), refused(StorageError, path):
            Cache(path)


def test_an_unwritable_store(closed_store, open_store, tmp_path):
    with read_only_directory(tmp_path / "read-only", closed_store) as path:
        with unchanged(path), pytest.raises(StorageError, match=str(path)) as caught:
            Cache(path)
        assert isinstance(caught.value.__cause__, OSError)
    assert_whole(open_store(closed_store))


# Formats


def rewrite_metafile(path, **changes):
    fields = json.loads(path.read_bytes().partition(b"\n")[0]) | changes
    line = json.dumps(fields, sort_keys=True).encode()
    path.write_bytes(b"%s\n%08x\n" % (line, crc32c(line)))


def test_a_store_of_a_newer_format(closed_store, open_store):
    marker = closed_store / "STORE"
    rewrite_metafile(marker, format=2)
    with (
        unchanged(closed_store),
        refused(UnsupportedFormatError, marker, "2", "1", "version") as caught,
    ):
        Cache(closed_store)
    assert caught.value.path == str(marker)
    assert caught.value.found == 2
    rewrite_metafile(marker, format=1)
    assert_whole(open_store(closed_store))


def test_a_newer_format_with_fields_of_its_own(closed_store):
    rewrite_metafile(closed_store / "STORE", format=2, more="fields", engine="other")
    with unchanged(closed_store), pytest.raises(UnsupportedFormatError):
        Cache(closed_store)


def test_a_segment_of_a_newer_format(store, store_path, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(store_path, copy)
    segment = max((copy / "wal").iterdir())
    data = bytearray(segment.read_bytes())
    struct.pack_into("<H", data, 6, 2)
    struct.pack_into("<I", data, 60, crc32c(bytes(data[:60])))
    segment.write_bytes(data)
    with unchanged(copy), refused(UnsupportedFormatError, segment, "2", "version"):
        Cache(copy)


def test_a_store_of_another_engine(closed_store):
    rewrite_metafile(closed_store / "STORE", engine="persistent")
    with unchanged(closed_store), refused(ConfigError, closed_store, "persistent"):
        Cache(closed_store)


@pytest.mark.parametrize("name", ["STORE", "CHECKPOINT", "lmdb/data.mdb"])
def test_a_store_without_one_of_its_files_is_damaged_not_new(closed_store, name):
    (closed_store / name).unlink()
    with unchanged(closed_store), pytest.raises(CorruptionError) as caught:
        Cache(closed_store)
    assert caught.value.path == str(closed_store / name)
    assert "hypercache check" in str(caught.value)


# Arguments of operations


def test_a_bad_argument_changes_no_byte_of_the_store(store, store_path):
    class Unknown:
        pass

    calls = [
        (SerializationError, "Unknown", lambda: store.set("a", Unknown())),
        (SerializationError, "Unknown", lambda: store.set_many({"a": [Unknown()]})),
        (LimitError, "65535", lambda: store.set("", 1)),
        (LimitError, "65535", lambda: store.set("k" * 65_536, 1)),
        (LimitError, "65535", lambda: store.set_many({"a": 1, "": 1})),
        (LimitError, "65535", lambda: store.incr("")),
        (LimitError, "ttl=-1", lambda: store.set("a", 1, ttl=-1)),
        (LimitError, "ttl=-1", lambda: store.touch("k01", ttl=-1)),
        (LimitError, "ttl=0", lambda: store.set_many({"a": 1}, ttl=0)),
        (ArgumentTypeError, "k01", lambda: store.incr("k01")),
        (ArgumentTypeError, "int", lambda: store.set(5, 1)),
    ]
    with unchanged(store_path):
        for error, word, call in calls:
            with pytest.raises(error, match=word):
                call()
    assert_whole(store)


def test_a_value_over_512_mib_is_refused_before_anything_is_written(
    tmp_path, open_store
):
    cache = open_store(tmp_path / "store", serializer="bytes")
    cache.set("small", b"1")
    cache.sync()
    # Zeros that nobody touches take address space, no memory.
    oversized = bytes((512 << 20) + 1)
    with unchanged(tmp_path):
        for write in (
            lambda: cache.set("large", oversized),
            lambda: cache.set_many({"a": b"1", "large": oversized}),
            lambda: cache.add("large", oversized),
        ):
            with pytest.raises(LimitError, match=r"large.*536870912"):
                write()
    assert dict(cache.scan()) == {b"small": b"1"}

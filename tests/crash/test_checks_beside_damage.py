"""check() of an open store finds what was done to its files from outside."""

import os
import shutil

import pytest

from hypercache import Cache
from hypercache.engines import backup_helper
from hypercache.errors import CorruptionError
from hypercache.paths import StorePaths
from hypercache.storage import OsStorage

pytestmark = pytest.mark.helpers  # a damaged page kills who looks at it

SMALL = {
    "segment_bytes": 1 << 20,
    "checkpoint_bytes": 1 << 30,
    "compact_min_bytes": 1 << 30,
    "map_bytes": 65536,
    "maintenance": "inline",
    "log_io": "write",
}
ENGINES = ("hybrid", "memory", "persistent")
LOGGED = {"hybrid": "wal", "memory": "aof"}


@pytest.fixture
def open_cache(opened, tmp_path):
    def open_one(name, where="store"):
        return opened.add(Cache(tmp_path / where, engine=name, **SMALL))

    return open_one


def reasons(cache):
    return [(os.path.basename(p.path), p.reason) for p in cache.check().problems]


@pytest.mark.parametrize("name", ENGINES)
def test_an_identity_that_went_away_or_is_anothers_is_found(open_cache, tmp_path, name):
    cache = open_cache(name)
    open_cache(name, "other")
    cache.set("key", 1)
    assert reasons(cache) == []
    store = tmp_path / "store" / "STORE"
    whole = store.read_bytes()
    found = [("STORE", "it is missing or that of another store")]
    store.unlink()
    assert reasons(cache) == found
    shutil.copy(tmp_path / "other" / "STORE", store)
    assert reasons(cache) == found
    store.write_bytes(whole)
    assert reasons(cache) == []


@pytest.mark.parametrize("name", ["hybrid", "memory"])
def test_an_older_file_that_names_the_parts_is_found(open_cache, tmp_path, name):
    cache = open_cache(name)
    cache.set("key", 1)
    names = {"hybrid": "CHECKPOINT", "memory": "aof/MANIFEST"}
    named = tmp_path / "store" / names[name]
    older = named.read_bytes()
    cache.checkpoint() if name == "hybrid" else cache.compact()
    cache.set("key", 2)
    assert reasons(cache) == []
    newer = named.read_bytes()
    named.write_bytes(older)
    [(file, reason)] = reasons(cache)
    assert file == named.name
    assert "older" in reason or "another base" in reason
    named.write_bytes(newer)
    assert reasons(cache) == []


@pytest.mark.parametrize("name", ENGINES)
def test_a_store_without_its_identity_is_not_copied(open_cache, tmp_path, name):
    cache = open_cache(name)
    cache.set("key", 1)
    store = tmp_path / "store" / "STORE"
    whole = store.read_bytes()
    store.unlink()
    with pytest.raises(CorruptionError, match="the file is missing"):
        cache.backup(str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()
    store.write_bytes(whole)
    cache.backup(str(tmp_path / "copy"))


@pytest.mark.parametrize("name", LOGGED)
def test_a_log_that_somebody_cut_is_found_wherever_the_cut_is(
    open_cache, tmp_path, name
):
    cache = open_cache(name)
    cache.set("first", 1)
    segment = max((tmp_path / "store" / LOGGED[name]).glob("0*"))
    border = segment.stat().st_size
    cache.set("second", 2)
    whole = segment.read_bytes()
    assert len(whole) > border
    os.truncate(segment, len(whole) - 3)
    [(file, reason)] = reasons(cache)
    assert (file, reason) == (segment.name, "the file ends inside a frame")
    os.truncate(segment, border)
    [(file, reason)] = reasons(cache)
    assert reason == "the log ends before LSN 3"
    segment.write_bytes(whole)
    assert reasons(cache) == []


@pytest.mark.parametrize("name", ENGINES)
def test_a_copy_that_does_not_reach_what_was_acknowledged_is_none(
    open_cache, tmp_path, name
):
    cache = open_cache(name)
    cache.set("key", 1)
    lsn = cache.stats().appended_lsn
    place = OsStorage(), StorePaths(str(tmp_path / "store")), name
    copy = str(tmp_path / "copy")
    with pytest.raises(CorruptionError, match=f"ends before LSN {lsn + 1}"):
        backup_helper.back_up(*place, copy, lsn + 1)
    assert not os.path.exists(copy)
    assert backup_helper.back_up(*place, copy, lsn) == lsn

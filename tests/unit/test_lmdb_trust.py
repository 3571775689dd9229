"""LMDB's file is trusted unread only where it is what the last close left."""

import dataclasses
import os
from pathlib import Path

import pytest

from hypercache import Cache
from hypercache.engines import lmdb_trust
from hypercache.errors import CorruptionError
from hypercache.options import Options
from hypercache.paths import StorePaths
from hypercache.storage import OsStorage
from hypercache.wal import checkpoint
from tests.support.files import flip


class Store:
    """A hybrid store that was closed cleanly, and whether its pages are read."""

    def __init__(self, root, monkeypatch):
        self.paths, self.storage = StorePaths(str(root)), OsStorage()
        with Cache(root, maintenance="inline") as cache:
            cache.set("key", "value")
        self.marker = checkpoint.load(self.storage, self.paths)
        self.problems, self.walks = [], 0
        monkeypatch.setattr(lmdb_trust.lmdb_walk, "verify", self._walk)

    def _walk(self, path):
        assert path == self.paths.lmdb
        self.walks += 1
        return self.problems

    def is_read(self, marker=None, **options):
        before = self.walks
        chosen = Options.resolve(**options)
        marker = marker or self.marker
        lmdb_trust.verify_lmdb(self.storage, self.paths, chosen, marker)
        return self.walks > before

    def touch(self, mtime_ns):
        os.utime(self.paths.lmdb_data, ns=(mtime_ns, mtime_ns))


@pytest.fixture
def store(tmp_path, monkeypatch):
    return Store(tmp_path / "store", monkeypatch)


def changed(marker, **fields):
    return dataclasses.replace(marker, **fields)


def test_what_a_clean_close_left_is_not_read_again(store):
    assert store.marker.clean
    assert not store.is_read()


def test_everything_else_is_read(store):
    marker = store.marker
    assert store.is_read(verify="full")
    assert store.is_read(changed(marker, clean=False))
    assert store.is_read(changed(marker, lmdb_size_bytes=marker.lmdb_size_bytes + 1))
    store.touch(marker.lmdb_mtime_ns + 1)
    assert store.is_read()


def test_a_file_that_rotted_is_refused_though_no_page_shows_it(store):
    data = store.paths.lmdb_data
    flip(Path(data), os.path.getsize(data) - 1)
    store.touch(store.marker.lmdb_mtime_ns)
    with pytest.raises(CorruptionError, match="not what the last close left") as caught:
        store.is_read()
    assert store.walks == 1  # which may say more
    assert caught.value.path == data
    assert store.is_read(changed(store.marker, clean=False))


def test_what_the_pages_say_comes_first(store):
    class Found:
        reason, lsn, key = "a page is damaged", 7, b"key"

    store.problems.append(Found)
    with pytest.raises(CorruptionError, match="a page is damaged") as caught:
        store.is_read(verify="full")
    assert (caught.value.lsn, caught.value.key) == (7, b"key")
    assert not store.is_read()


def test_a_file_too_long_for_a_checksum_is_known_by_size_and_time(store, monkeypatch):
    monkeypatch.setattr(lmdb_trust, "LONGEST_BYTES", 100)
    left = lmdb_trust.as_left(store.storage, store.paths, store.marker)
    assert left == changed(store.marker, lmdb_crc=lmdb_trust.UNKNOWN)
    assert not store.is_read(left)


def test_a_long_file_has_the_same_checksum_in_pieces(store, monkeypatch):
    monkeypatch.setattr(lmdb_trust, "_PIECE_BYTES", 1000)
    left = lmdb_trust.as_left(store.storage, store.paths, store.marker)
    assert left == store.marker


def test_a_file_that_is_missing_is_damage(store):
    os.unlink(store.paths.lmdb_data)
    with pytest.raises(CorruptionError, match="missing"):
        store.is_read()
    with pytest.raises(CorruptionError, match="missing"):
        lmdb_trust.as_left(store.storage, store.paths, store.marker)

"""What CPython asks of its own mappings holds for a cache, a dbm and a shelf on it."""

import shelve
import unittest
from types import SimpleNamespace
from typing import ClassVar

import pytest

import hypercache.dbm
from hypercache import Cache

WITHOUT = "this Python comes without its own tests"
protocol = pytest.importorskip("test.mapping_tests", reason=WITHOUT)
databases = pytest.importorskip("test.test_dbm", reason=WITHOUT)


class OnDisk:
    """Mappings in directories that the test has for itself."""

    @pytest.fixture(autouse=True)
    def in_a_directory_of_its_own(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        self.root = tmp_path

    def new_path(self):
        return self.root / str(len(list(self.root.iterdir())))


class TestCacheInRam(protocol.BasicTestMappingProtocol):
    def _empty_mapping(self):
        cache = Cache()
        self.addCleanup(cache.close)
        return cache.mapping("str")


class TestCacheOnDisk(OnDisk, protocol.BasicTestMappingProtocol):
    def _empty_mapping(self):
        cache = Cache(self.new_path(), maintenance="inline")
        self.addCleanup(cache.close)
        return cache.mapping("str")


class TestDbm(OnDisk, databases.AnyDBMTestCase, unittest.TestCase):
    module = hypercache.dbm

    @pytest.fixture(autouse=True)
    def in_the_place_of_dbm(self, monkeypatch):
        # whichdb() of the real one cannot know ours.
        stand_in = SimpleNamespace(
            open=hypercache.dbm.open, error=hypercache.dbm.error, _defaultmod=None
        )
        monkeypatch.setattr(databases, "dbm", stand_in)

    @pytest.mark.skip(reason="a file that is no store is never replaced")
    def test_anydbm_creation_n_file_exists_with_invalid_contents(self):
        pass


class TestShelf(OnDisk, protocol.BasicTestMappingProtocol):
    options: ClassVar = {}

    def _reference(self):
        return {"key1": "value1", "key2": 2, "key3": (1, 2, 3)}

    def _empty_mapping(self):
        database = hypercache.dbm.open(self.new_path(), "c")
        shelf = shelve.Shelf(database, **self.options)
        self.addCleanup(shelf.close)
        return shelf


class TestShelfWithWriteback(TestShelf):
    options: ClassVar = {"writeback": True}


class TestShelfWithTheFirstProtocol(TestShelf):
    options: ClassVar = {"protocol": 0}

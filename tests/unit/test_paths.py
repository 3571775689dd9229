"""Every name of the format document is built here, and only those are taken back."""

import pytest

from hypercache import paths
from hypercache.paths import OWN_NAMES, StorePaths

PATHS = StorePaths("/data/store")
LOG = PATHS.wal_log


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("lock", "/data/store/LOCK"),
        ("store", "/data/store/STORE"),
        ("checkpoint", "/data/store/CHECKPOINT"),
        ("wal", "/data/store/wal"),
        ("aof", "/data/store/aof"),
        ("manifest", "/data/store/aof/MANIFEST"),
        ("lmdb", "/data/store/lmdb"),
        ("lmdb_data", "/data/store/lmdb/data.mdb"),
    ],
)
def test_names_are_those_of_the_format_document(name, path):
    assert getattr(PATHS, name) == path


def test_segments_have_sixteen_digits_and_sort_by_number():
    assert LOG.segment(1) == "/data/store/wal/0000000000000001.wal"
    assert PATHS.increments.segment(1) == "/data/store/aof/0000000000000001.aof"
    assert PATHS.bases.segment(1) == "/data/store/aof/base-0000000000000001.base"
    numbers = [1, 9, 10, 99, 10**9]
    assert sorted(map(LOG.segment, numbers)) == list(map(LOG.segment, numbers))


@pytest.mark.parametrize("number", [1, 7, 10**16 - 1])
def test_the_number_comes_back_from_the_name(number):
    assert LOG.maybe_number(LOG.segment(number).rpartition("/")[2]) == number


@pytest.mark.parametrize(
    "name",
    [
        "",
        "1.wal",
        "000000000000001.wal",
        "00000000000000001.wal",
        "0000000000000001.WAL",
        "0000000000000001.wal\n",
        "0000000000000001.wal.tmp",
        "x0000000000000001.wal",
        "000000000000000x.wal",
        "-000000000000001.wal",
        "0000000000000001xwal",
        "\u0661" * 16 + ".wal",
    ],
)
def test_any_other_name_is_no_segment(name):
    assert LOG.maybe_number(name) is None


def test_everything_at_the_top_of_a_store_is_ours():
    made = (PATHS.lock, PATHS.store, PATHS.checkpoint, PATHS.wal, PATHS.aof)
    made += (PATHS.lmdb, PATHS.writer, PATHS.turn, PATHS.quarantine)
    made += (PATHS.namespaces,)
    temporary = [f"{path}.tmp" for path in (PATHS.store, PATHS.checkpoint)]
    names = {path.rpartition("/")[2] for path in (*made, *temporary)}
    assert names == OWN_NAMES


def test_paths_are_pure_text():
    assert not {"os", "io", "storage"} & vars(paths).keys()

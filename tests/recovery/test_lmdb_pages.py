"""The reader of LMDB's pages agrees with LMDB, and loses only what is damaged."""

from __future__ import annotations

import os
import random
import shutil
import struct
from pathlib import Path

import pytest

from hypercache.recovery import Loss
from hypercache.recovery.findings import Kind
from hypercache.recovery.lmdb_file import LmdbFile, metas_of
from tests.recovery.stores import (
    EVERY_BYTE,
    STORAGE,
    Read,
    build_lmdb,
    contents,
    flipped,
    read,
    salvage,
)

PAGE = 4096
SAMPLE = 160
SEED = 4


@pytest.mark.parametrize("count", [0, 4, 40, 400, 4000])
def test_a_whole_store_is_read_as_lmdb_reads_it(tmp_path: Path, count, in_this_process):
    path = tmp_path / "store"
    build_lmdb(path, count, seed=count)
    found = read(path)
    assert found.contents == contents(path, "persistent")
    assert found.findings == []
    assert (count == 0) == (found.contents == {})


def hot_pages(data: Path) -> list[int]:
    """Return the pages that others hang on: metas, branches, main page, free list."""
    with STORAGE.open_read(str(data)) as file:
        meta = metas_of(file)[0]
        pages = LmdbFile(file, PAGE)
        free = [leaf.number for leaf in pages.leaves(meta.free.root)]
        branches = [
            number
            for number in range(2, pages.page_count)
            if struct.unpack_from("<H", pages.page(number) or bytes(16), 10)[0] == 1
        ]
    return [0, 1, meta.main.root, *branches, *free]


def offsets(data: Path) -> list[int]:
    size = data.stat().st_size
    if EVERY_BYTE:
        return list(range(size))
    rng, hot = random.Random(SEED), hot_pages(data)
    places = []
    for index in range(SAMPLE):
        page = rng.choice(hot) if index % 2 else rng.randrange(size // PAGE)
        places.append(page * PAGE + rng.randrange((16, 160, PAGE)[index % 3]))
    return places


def test_a_flipped_byte_costs_one_entry_and_brings_nothing_back(lmdb_store: Path):
    data = lmdb_store / "lmdb" / "data.mdb"
    expected = read(lmdb_store).contents
    damaged = 0
    for offset in offsets(data):
        where = f"byte {offset % PAGE} of page {offset // PAGE}"
        with flipped(data, offset, 1 + offset * 7 % 255):
            found = read(lmdb_store)
        missing = expected.items() - found.contents.items()
        assert found.contents.items() <= expected.items(), where
        assert len(missing) <= 1, where
        assert (found.loss is Loss.CERTAIN) == bool(missing), where
        damaged += bool(missing)
        if missing:
            assert any(
                each.kind in {Kind.VALUE, Kind.COUNT} for each in found.findings
            ), where
    assert damaged > 5


def zeroed(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(bytes(PAGE))


def pages_of(path: Path, kind: int) -> list[int]:
    with STORAGE.open_read(str(path)) as file:
        found = LmdbFile(file, PAGE)
        meta = metas_of(file)[0]
        used = [leaf.number for leaf in found.leaves(meta.main.root)]
        assert used
        return [
            number
            for number in range(2, found.page_count)
            if struct.unpack_from("<H", found.page(number) or bytes(16), 10)[0] == kind
        ]


def test_a_whole_branch_page_costs_nothing(lmdb_store, tmp_path, in_this_process):
    store = tmp_path / "store"
    shutil.copytree(lmdb_store, store)
    expected = contents(store, "persistent")
    data = store / "lmdb" / "data.mdb"
    for page in pages_of(data, 1):
        zeroed(data, page)
    found = read(store)
    assert (found.contents, found.loss) == (expected, Loss.NONE)
    report = salvage(store, tmp_path / "output")
    assert report.entry_count == len(expected)
    assert contents(tmp_path / "output", "persistent") == expected


def test_without_both_meta_pages_the_newest_state_is_found(lmdb_store, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(lmdb_store, store)
    expected = read(store).contents
    for page in (0, 1):
        zeroed(store / "lmdb" / "data.mdb", page)
    found = read(store)
    assert (found.contents, found.loss) == (expected, Loss.NONE)
    assert [each.kind for each in found.findings] == [Kind.PAGE]


def test_a_lost_leaf_costs_its_entries_and_is_counted(lmdb_store, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(lmdb_store, store)
    expected = read(store)
    lost = 0
    for page in pages_of(store / "lmdb" / "data.mdb", 2):
        copy = tmp_path / "copy"
        shutil.copytree(store, copy)
        zeroed(copy / "lmdb" / "data.mdb", page)
        found = read(copy)
        shutil.rmtree(copy)
        # Never a value that was replaced or deleted, whichever page it was.
        assert found.contents.items() <= expected.contents.items(), page
        complete = found.contents == expected.contents
        assert (found.loss is Loss.NONE) == complete, page
        lost += not complete
    assert lost


def test_stale_pages_stay_out_where_free_list_and_branch_are_both_lost(
    lmdb_store, tmp_path
):
    store = tmp_path / "store"
    shutil.copytree(lmdb_store, store)
    data = store / "lmdb" / "data.mdb"
    expected = read(store).contents
    with STORAGE.open_read(str(data)) as file:
        meta = metas_of(file)[0]
    zeroed(data, meta.free.root)
    leaf = next(page for page in pages_of(data, 2) if page != meta.main.root)
    for page in [*pages_of(data, 1), leaf]:
        zeroed(data, page)
    found = read(store)
    assert found.contents.items() <= expected.items()
    assert found.loss is not Loss.NONE


@pytest.mark.parametrize("pages", [0, 1, 2, 3, 5, 10])
def test_a_cut_file_gives_what_is_left(lmdb_store, tmp_path, pages):
    store = tmp_path / "store"
    shutil.copytree(lmdb_store, store)
    expected = read(store).contents
    os.truncate(store / "lmdb" / "data.mdb", pages * PAGE)
    found = read(store)
    assert found.contents.items() <= expected.items()
    assert found.loss is Loss.CERTAIN


def test_every_length_of_a_small_file_can_be_read(tmp_path):
    store = tmp_path / "store"
    build_lmdb(store, 8)
    data = store / "lmdb" / "data.mdb"
    expected = read(store).contents
    for length in range(0, data.stat().st_size, 509):
        copy = tmp_path / "copy"
        shutil.copytree(store, copy)
        os.truncate(copy / "lmdb" / "data.mdb", length)
        found = read(copy)
        # Where the newest state is gone as a whole, the one before it is used.
        older = not found.contents.items() <= expected.items()
        assert not older or is_told(found, "older"), length
        assert found.loss is not Loss.NONE or found.contents == expected, length
        shutil.rmtree(copy)


def is_told(found: Read, word: str) -> bool:
    """Tell whether a certain loss is reported in a line with this word."""
    return any(
        each.loss is Loss.CERTAIN and word in each.reason for each in found.findings
    )

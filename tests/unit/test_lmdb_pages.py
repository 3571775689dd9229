"""What of LMDB's pages only writes look at."""

import os
import random

import lmdb
import pytest

from hypercache.engines import lmdb_layout, lmdb_pages
from hypercache.read_file import OsReadFile
from tests.support.files import flip
from tests.support.seeds import seeded

PAGE_BYTES = 4096


def problems(folder, env):
    path = folder / "data.mdb"
    with OsReadFile(str(path), os.open(path, os.O_RDONLY)) as file:
        return lmdb_pages.problems(file, env.stat()["psize"], env.info()["last_txnid"])


def newest_meta(file, env):
    number = env.info()["last_txnid"] % 2
    page = file.read_at(number * PAGE_BYTES, PAGE_BYTES)
    return lmdb_layout.decode_meta(page, number)


@pytest.fixture
def open_env(tmp_path):
    opened = []

    def open_one():
        opened.append(lmdb.open(str(tmp_path), max_dbs=2, map_size=1 << 28, sync=False))
        return opened[-1]

    yield open_one
    for env in opened:
        env.close()


def churn(env, rng, turns):
    """Put and delete values of all sizes, some while a reader keeps old pages."""
    data = env.open_db(b"data")
    keys = [rng.randbytes(rng.choice([1, 20, 200, 511])) for _ in range(300)]
    sizes = [0, 1, 30, 500, 1500, 2030, 5000, 9000]
    readers = []
    for turn in range(turns):
        if turn % 7 == 3:
            readers.append(env.begin())
        if turn % 7 == 6:
            readers.pop().abort()
        with env.begin(write=True, db=data) as txn:
            for key in rng.sample(keys, rng.choice([1, 20, 200])):
                if rng.random() < 0.3:
                    txn.delete(key)
                else:
                    txn.put(key, bytes(rng.choice(sizes)))
            if turn % 29 == 28:
                txn.drop(data, delete=False)
        yield turn
    for reader in readers:
        reader.abort()


def test_whatever_lmdb_writes_is_sound(tmp_path, open_env):
    env = open_env()
    for turn in churn(env, seeded(3), 60):
        assert problems(tmp_path, env) == [], turn


def test_every_page_that_says_it_is_another_is_found(tmp_path, open_env):
    # The number in a page is never read by a look-up. The next commit frees the page
    # of that number, which is in use: it wrote over live data, or LMDB ended the
    # process with an assertion.
    env = open_env()
    for _ in churn(env, random.Random(4), 20):
        pass
    path = tmp_path / "data.mdb"
    with OsReadFile(str(path), os.open(path, os.O_RDONLY)) as file:
        pages = lmdb_pages._Pages(file, PAGE_BYTES, env.info()["last_pgno"])
        meta = newest_meta(file, env)
        for _ in pages.leaves(meta.main.root):
            pass
        bits = pages._taken
        used = {n for n in range(2, 8 * len(bits)) if bits[n >> 3] & 1 << (n & 7)}
        assert len(used) > 50
    for number in sorted(used):
        if path.read_bytes()[number * PAGE_BYTES] == number & 0xFF:
            flip(path, number * PAGE_BYTES, 1)
            assert problems(tmp_path, env) != [], number
            flip(path, number * PAGE_BYTES, 1)
    assert problems(tmp_path, env) == []


def test_a_page_that_is_both_free_and_in_use_is_found(tmp_path, open_env):
    env = open_env()
    for _ in churn(env, random.Random(5), 20):
        pass
    path = tmp_path / "data.mdb"
    with OsReadFile(str(path), os.open(path, os.O_RDONLY)) as file:
        pages = lmdb_pages._Pages(file, PAGE_BYTES, env.info()["last_pgno"])
        meta = newest_meta(file, env)
        lists = list(pages.leaves(meta.free.root))
    listed = max((data for _, data in lists), key=len)
    at = path.read_bytes().index(listed[: 8 * 3])
    count = int.from_bytes(listed[:8], "little")
    assert count > 2
    found = 0
    for place in range(at + 8, at + 8 * count, 8):
        for bit in range(4):
            flip(path, place, 1 << bit)
            found += problems(tmp_path, env) != []
            flip(path, place, 1 << bit)
    assert found == 4 * (count - 1)


def test_another_format_is_no_finding(tmp_path, open_env):
    env = open_env()
    for _ in churn(env, random.Random(6), 3):
        pass
    for page in (0, PAGE_BYTES):
        flip(tmp_path / "data.mdb", page + 16 + 4)  # the version
    assert problems(tmp_path, env) == []


def test_a_meta_page_that_lost_its_place_is_found(tmp_path, open_env):
    # A bit of the number of the last commit: LMDB took the meta page before it, and
    # the store was, without a word, what it had been a commit ago.
    env = open_env()
    for _ in churn(env, random.Random(7), 6):
        pass
    path = tmp_path / "data.mdb"
    raw = path.read_bytes()
    at = (env.info()["last_txnid"] % 2) * PAGE_BYTES
    number, flags = at + 16 + 24 + 48 + 48 + 8, at + 16 + 24 + 4
    env.close()
    for place, mask in ((number, 1), (number, 4), (number + 2, 4), (flags, 0xF7)):
        flip(path, place, mask)
        damaged = lmdb.open(str(tmp_path), readonly=True, lock=False)
        found = problems(tmp_path, damaged)
        damaged.close()
        path.write_bytes(raw)
        assert found == ["its two meta pages do not belong together"], (place, mask)

"""Whatever pages of LMDB are lost, what is missing or older is told.

The incident: a store was killed, and then the page was lost from which its last state
begins. The state before it was recovered, and the report said that nothing was missing.
"""

import dataclasses
import itertools

import pytest

from hypercache.paths import StorePaths
from hypercache.recovery import Loss
from hypercache.wal import checkpoint
from tests.recovery.stores import STORAGE, build_lmdb, read
from tests.support.seeds import seeded

PAGE = 4096
PAIRS = 40
SEED = 10


def losses(data, rng):
    """Yield what is left of a file without its end, without a page, and without two."""
    pages = range(len(data) // PAGE)
    yield from ((f"cut at page {page}", data[: page * PAGE]) for page in pages)
    pairs = list(itertools.combinations(pages, 2))
    lost = [*((page,) for page in pages), *rng.sample(pairs, PAIRS)]
    for numbers in lost:
        left = bytearray(data)
        for page in numbers:
            left[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)
        yield f"without pages {numbers}", bytes(left)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("engine", ["hybrid", "persistent"])
@pytest.mark.parametrize("count", [4, 24])
def test_lost_pages_never_pass_for_a_whole_store(tmp_path, engine, killed, count):
    rng, path = seeded(SEED), tmp_path / "store"
    build_lmdb(path, count, rng.randrange(1000), engine)
    if killed:
        was_killed(path)
    expected, file = read(path).contents, path / "lmdb" / "data.mdb"
    for what, left in losses(file.read_bytes(), rng):
        file.write_bytes(left)
        found = read(path)
        told = [(each.reason, each.loss) for each in found.findings]
        same = found.contents == expected
        assert same or found.loss is not Loss.NONE, (what, told)


def was_killed(path):
    """Put the marker there that was written when the store was opened."""
    paths = StorePaths(str(path))
    marker = checkpoint.load(STORAGE, paths)
    noted = dataclasses.replace(marker, clean=False, lmdb_txn=1)
    if not (path / "wal").exists():
        noted = dataclasses.replace(noted, checkpoint_lsn=0)
    checkpoint.store(STORAGE, paths, noted)

"""The LMDB file of another store never shows its entries as those of this one.

The incident: a killed persistent store whose data.mdb had been put there from another
store opened without a word, with the entries of that one.
"""

import shutil

import pytest

from hypercache import Cache
from hypercache.errors import CorruptionError
from hypercache.testing.killing import run_killed
from tests.recovery.stores import salvage

pytestmark = pytest.mark.helpers  # a damaged page kills who looks at it

ENGINES = ["hybrid", "persistent"]
every_engine = pytest.mark.parametrize("engine", ENGINES)


def killed_store(path, engine, name, count=40):
    """Make a store, fill it, and kill its process."""
    held = []

    def work(note):
        cache = Cache(path, engine=engine)
        held.append(cache)
        cache.set_many({f"{name}:{number}": number for number in range(count)})
        if engine == "hybrid":
            cache.checkpoint()
        note("filled")

    assert run_killed(work, 1) == ["filled"]
    return path


@pytest.fixture
def exchanged(tmp_path, engine):
    """Return a killed store that got the data.mdb of another one, further on."""
    mine = killed_store(tmp_path / "mine", engine, "mine")
    other = killed_store(tmp_path / "other", engine, "other", 90)
    shutil.copy(mine / "lmdb/data.mdb", tmp_path / "data.mdb")
    shutil.copy(other / "lmdb/data.mdb", mine / "lmdb/data.mdb")
    return mine


@every_engine
@pytest.mark.parametrize("verify", ["auto", "full"])
@pytest.mark.parametrize("read_only", [False, True])
def test_the_file_of_another_store_is_not_opened(exchanged, engine, verify, read_only):
    with pytest.raises(CorruptionError, match="belongs to another store"):
        Cache(exchanged, engine=engine, verify=verify, read_only=read_only)
    shutil.copy(exchanged.parent / "data.mdb", exchanged / "lmdb/data.mdb")
    with Cache(exchanged, engine=engine, verify=verify, read_only=read_only) as cache:
        assert cache["mine:39"] == 39
        assert len(cache) == 40


@every_engine
def test_a_recovery_leaves_out_what_is_of_another_store(exchanged, engine):
    report = salvage(exchanged, exchanged.parent / "out")
    [finding] = [each for each in report.findings if each.kind == "foreign-file"]
    assert finding.file == "lmdb/data.mdb"
    assert "move that away" in finding.reason
    assert finding.loss != "none"
    with Cache(exchanged.parent / "out", engine=engine) as cache:
        assert not [key for key in cache if key.startswith("other")]


def test_a_recovery_believes_the_file_where_store_was_moved_away(tmp_path):
    mine = killed_store(tmp_path / "mine", "persistent", "mine")
    other = killed_store(tmp_path / "other", "persistent", "other")
    shutil.copy(other / "STORE", mine / "STORE")
    assert salvage(mine, tmp_path / "nothing").entry_count == 0
    (mine / "STORE").unlink()
    assert salvage(mine, tmp_path / "all").entry_count == 40

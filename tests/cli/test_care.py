"""stats, checkpoint and check tell how a store is."""

import json
import os
import shutil
from pathlib import Path

import pytest

import hypercache
from tests.support.files import unchanged

VALUE = b"0123456789abcdef" * 4


def flip(path: Path, offset: int) -> None:
    """Change one bit of a file, and nothing of its times."""
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """Copy a store while it is open, as a kill would leave it."""
    path = tmp_path / "crashed"
    with hypercache.Cache(tmp_path / "origin", serializer="bytes") as cache:
        cache.set("first", VALUE)
        cache.sync()
        cache.set("second", VALUE)
        shutil.copytree(tmp_path / "origin", path)
    return path


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Damage a stored value in LMDB, unseen by an open that trusts a clean close."""
    path = tmp_path / "damaged"
    with hypercache.Cache(path, serializer="bytes") as cache:
        cache.set("key", VALUE)
    data = path / "lmdb" / "data.mdb"
    flip(data, data.read_bytes().rindex(VALUE))
    return path


def test_stats_tells_the_numbers_of_the_store(run, store):
    numbers = json.loads(run("stats", store, "--json").stdout)
    expected = {"entry_count": 3, "serializer": "msgpack", "checkpoint_lsn": 3}
    assert numbers.items() >= (expected | {"path": str(store)}).items()
    assert "entry_count        3\n" in run("stats", store).stdout


def test_checkpoint_tells_the_lsn_it_reached(run, crashed):
    assert run("checkpoint", crashed).stdout == "2\n"
    answer = run("checkpoint", crashed, "--json").stdout
    assert answer == '{"checkpoint_lsn": 2}\n'


def test_check_of_a_whole_store_exits_with_0(run, store):
    result = run("check", store)
    assert (result.exit_code, result.stdout) == (0, "clean: 3 entries\n")
    assert json.loads(run("check", store, "--json").stdout) == {
        "ok": True,
        "entry_count": 3,
        "problems": [],
        "recovery": [],
    }


def test_check_of_a_killed_store_exits_with_0_and_changes_nothing(run, crashed):
    with unchanged(crashed):
        result = run("check", crashed)
    assert (result.exit_code, result.stdout) == (0, "clean: 2 entries\n")


def test_check_reports_a_torn_tail_and_leaves_it(run, crashed):
    segment = crashed / "wal" / "0000000000000001.wal"
    flip(segment, segment.read_bytes().rindex(VALUE))
    with unchanged(crashed):
        result = run("check", crashed, "--json")
        answer = json.loads(result.stdout)
        assert (result.exit_code, answer["entry_count"]) == (1, 1)
        (note,) = answer["recovery"]
        assert note.startswith(f"a torn tail, left as it is: {segment} ")
        assert result.stderr == ""
        result = run("check", crashed)
        assert result.exit_code == 1
        assert result.stdout.splitlines() == [
            note,
            "repaired by the next open for writing: 1 entries",
        ]
        assert note in run("stats", crashed).stdout
    run("checkpoint", crashed)
    assert run("check", crashed).exit_code == 0


def test_check_of_a_damaged_segment_exits_with_3_and_says_where(run, crashed, contents):
    segment = crashed / "wal" / "0000000000000001.wal"
    flip(segment, segment.read_bytes().index(VALUE))
    before = contents(crashed)
    result = run("check", crashed)
    assert result.exit_code == 3
    assert result.stdout.startswith(f"{segment}, offset 64, LSN 1: ")
    assert result.stderr == ""
    assert contents(crashed) == before


def test_check_of_a_damaged_value_exits_with_3_and_names_the_key(run, damaged):
    result = run("check", damaged, "--json")
    (problem,) = json.loads(result.stdout)["problems"]
    assert result.exit_code == 3
    assert problem["path"] == str(damaged / "lmdb" / "data.mdb")
    assert problem["key"] == "key"
    assert run("check", damaged).stdout == (
        f"{problem['path']}, key key: {problem['reason']}\n"
    )


def test_a_damaged_value_is_not_printed(run, damaged):
    result = run("get", damaged, "key")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith(f"hypercache: {damaged}/lmdb/data.mdb, ")
    assert len(result.stderr.splitlines()) == 1

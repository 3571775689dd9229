"""The repaired store: whole or absent, the same twice, and nothing else is touched."""

from __future__ import annotations

import random
import shutil
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from hypercache import Cache
from hypercache.errors import (
    ConfigError,
    CorruptionError,
    StorageError,
    StoreLockedError,
)
from hypercache.recovery import Loss, Verdict, examine, salvage
from hypercache.recovery import output as writer
from hypercache.storage import OsStorage
from tests.recovery.stores import build, build_lmdb, contents
from tests.support.files import snapshot, unchanged
from tests.support.processes import start_python

KILLS = 3
STORAGE = OsStorage()


@pytest.fixture
def store(engine: str, tmp_path: Path) -> Path:
    """Return a store with a damaged record or entry, marked with its own value."""
    path = tmp_path / "store"
    if engine == "persistent":
        build_lmdb(path, 60)
        data = path / "lmdb" / "data.mdb"
        with Cache(path, engine=engine, serializer="bytes") as cache:
            cache.set(b"marked", b"MARKED" * 9)
    else:
        data = build(path, engine, 60, killed=True).log
        whole = data.read_bytes()
        at = len(whole.rstrip(b"\0")) // 2
        data.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        return path
    whole = data.read_bytes()
    at = whole.rindex(b"MARKED")
    data.write_bytes(whole[:at] + b"m" + whole[at + 1 :])
    return path


def test_the_output_opens_goes_on_and_never_gives_an_lsn_twice(
    store, engine, tmp_path, in_this_process
):
    output = tmp_path / "output"
    report = salvage(STORAGE, str(store), str(output))
    assert (report.verdict, report.loss) == (Verdict.DAMAGED, Loss.CERTAIN)
    with Cache(output, engine=engine, serializer="bytes") as cache:
        assert cache.check().ok
        assert len(dict(cache.scan())) == report.entry_count
        assert cache.set(b"new", b"value") == report.lsn + 1
    assert examine(STORAGE, str(output)).verdict is Verdict.CLEAN


def test_the_input_is_not_touched(store: Path, tmp_path: Path, in_this_process):
    modes = {path: path.stat().st_mode for path in store.rglob("*")}
    for path in modes:
        path.chmod(0o500 if path.is_dir() else 0o400)
    store.chmod(0o500)
    try:
        with unchanged(store):
            names = sorted(store.rglob("*"))
            examine(STORAGE, str(store))
            salvage(STORAGE, str(store), str(tmp_path / "output"))
            assert sorted(store.rglob("*")) == names
    finally:
        store.chmod(0o700)
        for path, mode in modes.items():
            path.chmod(stat.S_IMODE(mode))


def test_the_same_input_gives_the_same_bytes(store, tmp_path, in_this_process):
    for name in ("one", "two"):
        salvage(STORAGE, str(store), str(tmp_path / name))
    one, two = snapshot(tmp_path / "one"), snapshot(tmp_path / "two")
    assert one == two
    assert "quarantine/report.json" in one
    assert "LOCK" not in one
    assert "lmdb/lock.mdb" not in one


def test_damaged_bytes_are_kept(store: Path, tmp_path: Path, in_this_process):
    output = tmp_path / "output"
    report = salvage(STORAGE, str(store), str(output))
    kept = [each for each in report.findings if each.quarantine]
    assert kept
    for each in kept:
        start, end = each.offset, each.offset + each.length_bytes
        found = (output / "quarantine" / each.quarantine).read_bytes()
        assert found == (store / each.file).read_bytes()[start:end]


def test_damaged_bytes_that_are_zeros_are_kept_too(tmp_path: Path, in_this_process):
    built = build(tmp_path / "store", "memory", 60, killed=False)
    record = built.records[20]
    data = bytearray(built.log.read_bytes())
    data[record.start : record.end] = bytes(record.end - record.start)
    built.log.write_bytes(data)
    report = salvage(STORAGE, str(built.path), str(tmp_path / "output"))
    (kept,) = [each.quarantine for each in report.findings if each.quarantine]
    found = (tmp_path / "output" / "quarantine" / kept).read_bytes()
    assert found == bytes(record.end - record.start)


@pytest.mark.parametrize("what", ["a bit of an entry", "the LSN"])
def test_an_output_that_is_not_what_was_written_gets_no_name(
    what, store, engine, tmp_path, in_this_process, monkeypatch
):
    def write(*arguments: Any) -> None:
        *others, entries, lsn = arguments
        if what == "the LSN":
            written(*others, entries, lsn - 1)
            return
        written(*others, entries, lsn)
        [file] = Path(others[1].root).rglob("*.base" if engine == "memory" else "*.mdb")
        data = file.read_bytes()
        assert b"key" in data
        file.write_bytes(data.replace(b"key", b"kez"))

    written = writer.write
    monkeypatch.setattr(writer, "write", write)
    with pytest.raises(CorruptionError):
        salvage(STORAGE, str(store), str(tmp_path / "output"))
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_an_output_that_is_not_new_is_refused(store: Path, tmp_path: Path):
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "mine").write_text("mine")
    file.write_text("mine")
    before = snapshot(tmp_path)
    for output in (store, store / "inside", tmp_path, full, file):
        with pytest.raises(ConfigError):
            salvage(STORAGE, str(store), str(output))
    link = tmp_path / "link"
    link.symlink_to(store)
    with pytest.raises(ConfigError):
        salvage(STORAGE, str(store), str(link / "inside"))
    link.unlink()
    assert snapshot(tmp_path) == before


def test_an_empty_output_is_taken(store: Path, tmp_path: Path, in_this_process):
    (tmp_path / "output").mkdir()
    salvage(STORAGE, str(store), str(tmp_path / "output"))
    assert (tmp_path / "output" / "STORE").exists()


def test_an_open_store_is_refused(tmp_path: Path, engine: str):
    with Cache(tmp_path / "open", engine=engine) as cache:
        cache.set("key", "value")
        with unchanged(tmp_path):
            for attempt in (
                lambda: examine(STORAGE, str(tmp_path / "open")),
                lambda: salvage(STORAGE, str(tmp_path / "open"), str(tmp_path / "o")),
            ):
                with pytest.raises(StoreLockedError, match="close it"):
                    attempt()


def test_a_store_that_changes_meanwhile_gives_no_output(
    store, tmp_path, in_this_process
):
    def change(_offset: int) -> None:
        (store / "STORE.tmp").write_text("somebody was here")

    with pytest.raises(StorageError, match="was changed"):
        salvage(STORAGE, str(store), str(tmp_path / "output"), tell=change)
    assert not (tmp_path / "output").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


SALVAGE = """
import sys
from hypercache import recovery
from hypercache.storage import OsStorage
sys.frozen = True  # no helper processes
print("ready", flush=True)
sys.stdin.readline()
recovery.salvage(OsStorage(), sys.argv[1], sys.argv[2])
"""


def test_a_killed_recovery_leaves_nothing_or_all(store, engine, tmp_path):
    rng, killed = random.Random(engine), 0
    output, directory = tmp_path / "out" / "store", tmp_path / "out"
    expected = None
    for attempt in range(KILLS):
        with start_python(SALVAGE, store, output) as child:
            assert child.stdout.readline() == "ready\n"
            child.stdin.write("\n")
            child.stdin.flush()
            try:
                # A while, not an event: it is to end anywhere.
                child.wait(rng.uniform(0, 0.25) if attempt else 60)
            except Exception:  # noqa: BLE001 - it is still at work
                child.send_signal(signal.SIGKILL)
                child.wait()
                killed += 1
        if output.exists():
            found = contents(output, engine)
            expected = expected or found
            assert found == expected
            shutil.rmtree(output)
    assert expected
    with start_python(SALVAGE, store, output) as child:
        child.communicate("\n", timeout=60)
    assert child.returncode == 0
    assert [path.name for path in directory.iterdir()] == ["store"]

"""Somebody removes, renames, replaces or cuts a file of a store that is open."""

import contextlib
import shutil
import signal
import threading
import time

import pytest

from hypercache.errors import CorruptionError, HyperCacheError, StorageFailedError
from tests.support.contents import contents, fill
from tests.support.engines import durable_engines, hybrid_engines
from tests.support.processes import TIMEOUT_S, start_python

NOTICED_WITHIN_S = 2.0  # promised is one second, and a sync


def remove(path):
    path.unlink()


def rename(path):
    path.rename(path.with_suffix(".moved"))


def replace(path):
    copy = path.with_suffix(".copy")
    shutil.copy(path, copy)
    copy.rename(path)


@pytest.fixture
def engine(engine_case, store_path):
    """An engine that is not checked at the end: it has no whole store any more."""
    engine = engine_case.open_engine(store_path)
    yield engine
    with contextlib.suppress(HyperCacheError):
        engine.close()


def file_in_use(store_path):
    """Return the file into which the next write goes."""
    logs = [*sorted(store_path.rglob("0*.wal")), *sorted(store_path.rglob("0*.aof"))]
    return logs[-1] if logs else store_path / "lmdb" / "data.mdb"


def write_until_refused(engine):
    """Write, and let time pass, until the engine refuses; return the error."""
    end = time.monotonic() + NOTICED_WITHIN_S
    pause = threading.Event()
    while time.monotonic() < end:
        try:
            engine.put(b"later", b"1")
        except StorageFailedError as error:
            return error
        pause.wait(0.02)
    raise AssertionError("it goes on writing into a file that nobody will find")


@durable_engines
@pytest.mark.parametrize("harm", [remove, rename, replace])
def test_a_log_that_is_gone_is_noticed_named_and_latches(engine, store_path, harm):
    written = fill(engine, 8)
    harm(path := file_in_use(store_path))
    error = write_until_refused(engine)
    assert str(path) in str(error)
    assert "removed" in str(error)
    assert contents(engine).items() >= written.items()
    for key in (b"key-0001", b"new"):
        with pytest.raises(StorageFailedError):
            engine.put(key, b"2")
    assert engine.get(b"key-0001") == written[b"key-0001"]
    assert engine.stats().failure
    engine.close()


@durable_engines
@pytest.mark.parametrize("harm", [remove, rename])
def test_the_next_open_says_which_file_is_missing(
    engine, engine_case, store_path, harm
):
    fill(engine, 8)
    path = file_in_use(store_path)
    engine.sync()
    harm(path)
    write_until_refused(engine)
    engine.close()
    with pytest.raises(CorruptionError) as caught:
        engine_case.open_engine(store_path)
    assert caught.value.path == str(path)


@durable_engines
def test_a_log_that_was_cut_short_is_noticed_at_the_next_sync(
    engine, engine_case, store_path
):
    if not engine_case.name.endswith("write"):
        pytest.skip("a file that is mapped must not be cut: see the next test")
    written = fill(engine, 8)
    path = file_in_use(store_path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    # What `sync` calls when somebody waits; a write would first make the file longer.
    with pytest.raises(HyperCacheError, match="cut to") as caught:
        engine._log.sync_in_place()
    assert str(path) in str(caught.value)
    with pytest.raises(StorageFailedError, match="cut to"):
        engine.put(b"later", b"1")
    assert contents(engine) == written


@durable_engines
def test_a_log_that_was_cut_and_written_on_is_refused_by_the_next_open(
    engine, engine_case, store_path
):
    if not engine_case.name.endswith("write"):
        pytest.skip("a file that is mapped must not be cut: see the next test")
    fill(engine, 8)
    path = file_in_use(store_path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    engine.put(b"later", b"1")
    shutil.copytree(store_path, copy := store_path.with_name("copy"))
    with pytest.raises(CorruptionError) as caught:
        engine_case.open_engine(copy)
    assert caught.value.path.endswith(path.name)


MAPPED = """
    import sys
    from hypercache import Cache
    cache = Cache(sys.argv[1], engine=sys.argv[2], log_io=sys.argv[3])
    cache.set("a", 1)
    cache.sync()
    print("written", flush=True)
    sys.stdin.readline()
    cache.set("b", "v" * 5000)
    cache.sync()
"""


@pytest.mark.parametrize("engine_name", ["memory", "hybrid"])
@pytest.mark.parametrize("log_io", ["mmap", "write"])
def test_only_where_the_log_is_mapped_a_cut_kills_its_process(
    store_path, engine_name, log_io
):
    # Documented: a store into a page that the file does not have any more is a signal.
    with start_python(MAPPED, store_path, engine_name, log_io) as process:
        assert process.stdout.readline() == "written\n"
        with file_in_use(store_path).open("r+b") as file:
            file.truncate(0)
        _, said = process.communicate("go\n", timeout=TIMEOUT_S)
    if log_io == "mmap":
        assert process.returncode == -signal.SIGBUS
    else:
        assert process.returncode >= 0, said


@hybrid_engines
@pytest.mark.parametrize("harm", [remove, rename, replace])
def test_nothing_is_folded_into_an_lmdb_that_is_gone(engine, store_path, harm):
    engine.put(b"folded", b"1")
    engine.checkpoint()
    engine.put(b"logged", b"2")
    harm(data := store_path / "lmdb" / "data.mdb")
    with pytest.raises(HyperCacheError, match=str(data)):
        engine._checkpoints.run(in_process=False)
    assert engine.put(b"later", b"3")
    assert contents(engine) == {b"folded": b"1", b"logged": b"2", b"later": b"3"}
    kept = b"".join(path.read_bytes() for path in (store_path / "wal").iterdir())
    assert b"logged" in kept
    assert b"later" in kept

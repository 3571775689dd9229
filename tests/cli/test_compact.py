"""`hypercache aof compact` shortens the log of a store at rest and loses nothing."""

import json
import os
import pty
import subprocess
import sys

import pytest

import hypercache
from hypercache.cli import exits
from hypercache.engines import offline
from hypercache.errors import ConfigError, DiskFullError, StorageError
from hypercache.paths import StorePaths
from tests.support.files import cut, flip, unchanged
from tests.support.recording import Watch, WatchedStorage

SMALL = {"segment_bytes": 4096, "maintenance": "inline", "compact_min_bytes": 1 << 30}


def open_cache(path, engine="memory", **options):
    return hypercache.Cache(path, engine=engine, **options)


def overwrite(path, *, count=200, engine="memory"):
    """Make a store whose log is mostly dead; return what is live."""
    with open_cache(path, engine, **SMALL) as cache:
        for number in range(count):
            cache.set(f"key{number % 5}", "v" * 300 + str(number))
        cache.delete("key0")
        cache.set("short", 1, ttl=1000)
        return dict(cache.scan())


def contents_of(path):
    with open_cache(path, read_only=True) as cache:
        assert cache.check().ok
        return dict(cache.scan())


def increments(path):
    return sorted(file.name for file in path.glob("aof/*.aof"))


@pytest.fixture
def log(tmp_path):
    """A store with a log worth compacting, and its contents."""
    path = tmp_path / "log"
    return path, overwrite(path)


def test_the_log_is_rewritten_without_what_is_dead(run, log):
    path, expected = log
    assert len(increments(path)) > 3
    result = run("aof", "compact", path)
    assert result.exit_code == 0
    assert "5 entries, LSN 202" in result.output
    assert increments(path) == []
    assert len(list(path.glob("aof/*.base"))) == 1
    assert contents_of(path) == expected
    with open_cache(path) as cache:
        assert 0 < cache.ttl("short") <= 1000
        cache.set("more", 2)
    assert contents_of(path) == expected | {b"more": 2}


def test_a_second_time_changes_nothing_but_the_base(run, log):
    path, expected = log
    first = json.loads(run("aof", "compact", path, "--json").output)
    second = json.loads(run("aof", "compact", path, "--json").output)
    assert first["after_bytes"] < first["before_bytes"] / 10
    assert second["before_bytes"] == first["after_bytes"]
    assert (second["lsn"], second["entry_count"]) == (202, 5)
    assert contents_of(path) == expected


def test_a_torn_tail_is_cut_as_by_any_open_for_writing(run, log):
    path, expected = log
    with open_cache(path, **SMALL) as cache:
        cache.set("last", 1)
        cache.sync()
        newest = max(path.glob("aof/*.aof"))
        torn = newest.read_bytes()
        manifest = (path / "aof" / "MANIFEST").read_bytes()
    # As a crash would have left it, in the middle of the last frame.
    newest.write_bytes(torn.rstrip(b"\0")[:-3])
    (path / "aof" / "MANIFEST").write_bytes(manifest)
    assert run("aof", "compact", path).exit_code == 0
    assert contents_of(path) == expected


def test_damage_is_told_and_nothing_is_changed(run, log):
    path, _ = log
    flip(min(path.glob("aof/*.aof")), 300)
    with unchanged(path / "aof"):
        result = run("aof", "compact", path)
    assert result.exit_code == exits.DAMAGED


def test_a_store_that_is_open_is_left_alone(run, log):
    path, _ = log
    with open_cache(path), unchanged(path / "aof"):
        result = run("aof", "compact", path)
        assert result.exit_code == exits.UNREADABLE
        assert "open" in result.stderr


def test_what_is_no_memory_store_is_refused(run, tmp_path):
    overwrite(tmp_path / "hybrid", engine="hybrid", count=3)
    for path in (tmp_path / "hybrid", tmp_path / "absent", tmp_path, "", "a\0b"):
        result = run("aof", "compact", path)
        assert result.exit_code == exits.WRONG_USAGE, path
    assert not (tmp_path / "absent").exists()


def test_a_store_whose_creation_was_interrupted_is_no_store_yet(run, log):
    path, _ = log
    (path / "STORE").unlink()
    for file in path.glob("aof/*"):
        file.unlink()
    (path / "aof").rmdir()
    storage = WatchedStorage(Watch())
    with (
        pytest.raises(ConfigError, match="holds no store"),
        offline.opened(storage, StorePaths(str(path))),
    ):
        pytest.fail("it was opened")


def test_on_a_terminal_the_progress_is_shown(log):
    path, expected = log
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "hypercache", "aof", "compact", str(path)]
    root = os.path.dirname(os.path.dirname(hypercache.__file__))
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": root},
    ) as process:
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
        assert b"5 entries" in process.communicate()[0]
    os.close(ours)
    assert process.returncode == 0
    assert b"compacting" in shown
    assert b"100%" in shown
    assert contents_of(path) == expected


def _read(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:  # nobody has the other end any more
        return b""


def compact_watched(path, before):
    watch = Watch()
    watch.before = before
    storage = WatchedStorage(watch)
    with offline.opened(storage, StorePaths(str(path))) as opened:
        for _ in opened.compact():
            pass
    return watch.events


def test_nothing_is_removed_before_the_manifest_that_names_the_base(log):
    path, expected = log
    before = increments(path)

    def stop(event):
        if event.what == "replace":
            assert event.path.endswith("MANIFEST")
            assert increments(path) == before
            raise DiskFullError("no space for the manifest")

    with pytest.raises(DiskFullError):
        compact_watched(path, stop)
    assert increments(path) == before
    assert contents_of(path) == expected


@pytest.mark.parametrize("what", ["create", "write", "sync", "replace"])
def test_a_failure_at_any_step_leaves_the_log_as_it_was(log, what):
    path, expected = log
    left = [1, 1]

    def fail(event):
        if event.what == what and not (event.path.endswith(".aof") and left.pop()):
            raise StorageError(f"no {what} now")

    with pytest.raises(StorageError, match=f"no {what} now"):
        compact_watched(path, fail)
    assert contents_of(path) == expected
    assert sum(1 for _ in compact_watched(path, lambda _event: None)) > 4
    assert contents_of(path) == expected
    assert list(path.glob("aof/*.tmp")) == []


def test_a_log_that_is_too_short_is_damage_not_an_empty_store(run, log):
    path, _ = log
    newest = max(path.glob("aof/*.aof"))
    cut(newest, newest.stat().st_size - 40)
    with unchanged(path / "aof"):
        assert run("aof", "compact", path).exit_code == exits.DAMAGED

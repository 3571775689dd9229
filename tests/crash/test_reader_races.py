"""Readers and backups beside a writer that never rests: no half batch, no error."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from hypercache.cache import Cache
from hypercache.engines.base import Put
from hypercache.engines.hybrid import HybridEngine
from hypercache.engines.lmdb_reader import LmdbReader, PersistentReader
from hypercache.errors import StorageError
from hypercache.options import Options
from hypercache.storage import OsStorage
from tests.support.counting_writer import KEYS
from tests.support.engines import (
    DURABLE,
    MMAP,
    TINY,
    case_name,
    durable_engines,
    tiny_options,
)
from tests.support.files import difference, snapshot
from tests.support.processes import Threads, environment, turns_for
from tests.support.remote import Remote
from tests.support.seeds import seeded

LMDB_CASES = [case for case in DURABLE if not case.name.startswith("memory")]
lmdb_engines = pytest.mark.parametrize(
    "engine_case", LMDB_CASES, ids=case_name, indirect=True
)
SECONDS = 0.6


@contextlib.contextmanager
def counting(case, path, seed):
    """Run the writer in a process of its own; it must end well."""
    options = {**TINY, **case.settings, "engine": case.name.partition("-")[0]}
    helpers = "yes" if case.helpers else "no"
    module = "tests.support.counting_writer"
    arguments = [str(path), helpers, seed, json.dumps(options)]
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
            last, _ = process.communicate("stop", timeout=60)
        except BaseException:
            process.kill()
            raise
    assert process.returncode == 0
    assert int(last) > 1


def number_in(cache):
    """Return the one number that all keys have, read in one of several ways."""
    found = cache.get_many(KEYS)
    assert sorted(found) == sorted(KEYS)
    scanned = {key.decode(): value for key, value in cache.scan()}
    singles = [cache.get(key) for key in KEYS]
    numbers = {*found.values(), *singles, *(scanned.get(key) for key in KEYS)}
    assert len(numbers) == 1, numbers
    assert len(cache) == len(scanned)
    return numbers.pop()


@durable_engines
def test_every_snapshot_is_one_moment_of_a_writer_that_never_rests(
    engine_case, store_path
):
    seed = f"readers {engine_case.name}"
    rng = seeded(seed)

    def read():
        last = lsn = 0
        for _ in turns_for(SECONDS):
            with engine_case.open_cache(store_path, read_only=True) as cache:
                for _ in range(rng.choice([1, 2, 5])):
                    number, now = number_in(cache), cache.stats().appended_lsn
                    assert number >= last
                    assert now >= lsn
                    assert number_in(cache) == number
                    assert cache.stats().recovery == ()
                    last, lsn = number, cache.refresh()
                    assert lsn >= now

    with counting(engine_case, store_path, seed), Threads() as threads:
        threads.start(read)
        threads.start(read)
        threads.join()


@durable_engines
def test_every_backup_is_one_moment_of_a_writer_that_never_rests(
    engine_case, store_path, tmp_path
):
    last = 0
    with counting(engine_case, store_path, f"backups {engine_case.name}"):
        for turn in turns_for(SECONDS):
            copy = tmp_path / f"copy {turn}"
            with engine_case.open_cache(store_path, read_only=True) as cache:
                shown = number_in(cache)
                lsn = cache.backup(copy)
            with engine_case.open_cache(copy) as cache:
                assert cache.stats().recovery == ()
                assert cache.stats().appended_lsn == lsn
                assert number_in(cache) >= max(shown, last)
                last = number_in(cache)


class Interfering(OsStorage):
    """Do something before or behind any read of the file that names the segments."""

    def __init__(self, *, before=(), behind=()):
        self.before, self.behind = list(before), list(behind)

    def read(self, path):
        if not path.endswith("CHECKPOINT"):
            return super().read(path)
        if self.before:
            self.before.pop(0)()
        data = super().read(path)
        if self.behind:
            self.behind.pop(0)()
        return data


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("steps", [1, 3, 6, None], ids=str)
def test_a_fold_that_is_half_done_does_not_show(store_path, place, steps):
    """Roll, write, and fold a part, behind any look at the marker."""
    options = tiny_options(**MMAP, map_bytes=1 << 30, fold_batch=1)
    engine = HybridEngine(str(store_path), options)

    def put_all(number):
        with engine.exclusive():
            engine.apply([Put(key.encode(), b"%d" % number) for key in KEYS])

    def interfere():
        put_all(2)
        fold = engine._checkpoints.steps(in_process=False)
        folds.append(fold)
        if steps is None:
            for _ in fold:
                pass
            put_all(3)
        else:
            for _ in range(steps):
                next(fold)

    folds = []
    put_all(1)
    engine.checkpoint()
    put_all(1)
    storage = Interfering(behind=[lambda: None] * place + [interfere])
    reader = LmdbReader(
        str(store_path), Options.resolve(read_only=True), storage=storage
    )
    for _ in range(2):
        values = {reader.get(key.encode()) for key in KEYS}
        assert len(values) == 1, values
        assert {entry.value for _, entry in reader.scan()} == values
        reader.refresh()
    assert {reader.get(key.encode()) for key in KEYS} <= {b"2", b"3"}
    assert folds
    reader.close()
    folds[0].close()
    engine.close()


@pytest.mark.parametrize("place", range(3))
def test_a_checkpoint_that_ends_behind_the_snapshot_of_a_reader_hides_nothing(
    store_path, place
):
    # The marker names the segments above a checkpoint that the snapshot has not seen:
    # what that one folded was neither in LMDB, as shown, nor in the log.
    options = tiny_options(**MMAP, map_bytes=1 << 30)
    engine = HybridEngine(str(store_path), options)
    for key in KEYS:
        engine.put(key.encode(), b"value")
    storage = Interfering(before=[lambda: None] * place + [engine.checkpoint])
    options = Options.resolve(read_only=True)
    reader = LmdbReader(str(store_path), options, storage=storage)
    for _ in range(3):
        assert {reader.get(key.encode()) for key in KEYS} == {b"value"}
        reader.refresh()
    assert not storage.before
    reader.close()
    engine.close()


@lmdb_engines
def test_a_writer_that_comes_later_is_noticed_and_a_refresh_heals(
    engine_case, store_path, open_cache
):
    with open_cache() as cache:
        cache.set_many(dict.fromkeys(KEYS, 0))
    reader = open_cache(read_only=True)
    lost = 0
    with Remote(engine_case, store_path) as writer:
        for number in range(1, 15):
            batch = dict.fromkeys(KEYS, number)
            writer.call("set_many", {**batch, f"x{number}": "x" * 3000})
            writer.call("checkpoint")
            try:
                assert number_in(reader) == 0
            except StorageError as error:
                assert "call refresh()" in str(error)  # noqa: PT017
                lost += 1
        assert lost > 5
        reader.refresh()
        # From now on the writer spares what is shown.
        for number in range(15, 30):
            writer.call("set_many", dict.fromkeys(KEYS, number))
            writer.call("checkpoint")
            assert number_in(reader) == 14
        reader.refresh()
        assert number_in(reader) == 29
    assert number_in(reader) == 29


@lmdb_engines
@pytest.mark.privileged
def test_where_only_the_mount_is_read_only_nothing_wrong_is_shown(
    engine_case, store_path, open_cache, tmp_path
):
    """No place can be taken there in the table of readers of a writer that is alive."""
    with open_cache() as cache:
        cache.set_many(dict.fromkeys(KEYS, 0))
    with read_only_view(store_path, tmp_path / "view") as view:
        with Remote(engine_case, store_path) as writer:
            reader = open_cache(view, read_only=True)
            shown = lost = 0
            for number in range(1, 25):
                writer.call("set_many", dict.fromkeys(KEYS, number))
                writer.call("checkpoint")
                try:
                    assert number_in(reader) == shown
                except StorageError:
                    lost += 1
                    reader.refresh()
                    shown = number
                    assert number_in(reader) == shown
            assert lost > 3
        reader.close()


@contextlib.contextmanager
def read_only_view(path: Path, view: Path):
    """Show a directory in another place, where nothing can be written."""
    view.mkdir()
    try:
        done = subprocess.run(
            ["mount", "--bind", path, view], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", view], check=True)
        yield view
    finally:
        subprocess.run(["umount", "--lazy", view], check=True)


@lmdb_engines
def test_a_writer_of_this_process_that_needs_a_larger_map_is_noticed(
    engine_case, store_path, open_cache
):
    writer = open_cache()  # with a tiny map
    writer.set_many(dict.fromkeys(KEYS, 0))
    writer.checkpoint()
    reader = open_cache(read_only=True)
    lost = False
    for number in range(1, 60):
        batch = dict.fromkeys(KEYS, number)
        writer.set_many({**batch, f"x{number}": "x" * 3000})
        writer.checkpoint()
        try:
            assert number_in(reader) == 0
        except StorageError as error:
            assert "call refresh()" in str(error)  # noqa: PT017
            lost = True
            break
    assert lost
    reader.refresh()
    assert number_in(reader) == number


@lmdb_engines
def test_a_refresh_of_one_reader_takes_nothing_from_another(
    engine_case, store_path, open_cache
):
    with open_cache() as cache:
        cache.set_many(dict.fromkeys(KEYS, 0))
    with Remote(engine_case, store_path) as writer:
        first, second = (open_cache(read_only=True) for _ in range(2))
        for number in range(1, 40):
            batch = dict.fromkeys(KEYS, number)
            writer.call("set_many", {**batch, f"x{number}": "x" * 3000})
            writer.call("checkpoint")
            second.refresh()
            assert (number_in(first), number_in(second)) == (0, number)
        second.close()
        assert number_in(first) == 0


def test_readers_of_the_same_moment_share_one_environment(store_path):
    with Cache(store_path, engine="persistent") as writer:
        writer.set_many(dict.fromkeys(KEYS, 1))
        options = Options.resolve(read_only=True)
        readers = [PersistentReader(str(store_path), options) for _ in range(50)]
        environments = {id(reader._view.snapshot._env) for reader in readers}
        assert environments == {id(writer._engine._store._env)}
        before = snapshot(store_path)
        for reader in readers:
            reader.close()
        assert difference(before, snapshot(store_path)) == ""
        writer.set("a", 1)

"""The machine of docs/testing.md crashes as the page says."""

import errno

import pytest

from hypercache import Cache
from hypercache.errors import ClosedError, ConfigError, DiskFullError, StorageError
from hypercache.testing.every_cut import PowerCutRun
from hypercache.testing.killing import run_killed
from hypercache.testing.machine import Machine
from hypercache.testing.simulated_disk import Fault

PATH = "/data/store"
ENGINES = pytest.mark.parametrize("engine", ["hybrid", "memory"])


@pytest.fixture
def machine():
    machine = Machine()
    with machine.installed():
        yield machine


def test_nothing_reaches_the_real_disk(machine, tmp_path):
    with Cache(tmp_path / "store") as cache:
        cache["key"] = "value"
    assert list(tmp_path.iterdir()) == []
    with Cache(tmp_path / "store") as cache:
        assert cache["key"] == "value"


@ENGINES
def test_a_power_cut_keeps_what_was_synced_and_nothing_else(machine, engine):
    cache = Cache(PATH, engine=engine)
    cache["synced"] = 1
    cache.sync()
    cache["written"] = 2
    machine.power_cut()
    with Cache(PATH, engine=engine) as cache:
        assert dict(cache.scan()) == {b"synced": 1}


def test_a_power_cut_with_a_seed_keeps_what_the_seed_says(machine):
    def found(seed):
        machine.restart_with(type(machine.disk)())
        cache = Cache(PATH, sync="no")
        cache.set_many({"a": 1})
        cache.set_many({"b": 2})
        machine.power_cut(seed)
        with Cache(PATH) as cache:
            return tuple(cache)

    outcomes = [found(seed) for seed in range(100)]
    assert outcomes[:10] == [found(seed) for seed in range(10)]
    assert set(outcomes) == {(), (b"a",), (b"a", b"b")}


@ENGINES
def test_a_kill_keeps_what_was_written_and_a_power_cut_after_it_does_not(
    machine, engine
):
    cache = Cache(PATH, engine=engine)
    cache["key"] = 1
    machine.kill()
    cache = Cache(PATH, engine=engine)
    cache["other"] = 2
    machine.power_cut()
    with Cache(PATH, engine=engine) as cache:  # the open after the kill has synced
        assert dict(cache.scan()) == {b"key": 1}


def test_everysec_syncs_within_the_second_that_passes(machine):
    cache = Cache(PATH)
    cache["early"] = 1
    machine.advance(1.0)
    cache["late"] = 2
    machine.advance(0.1)
    machine.power_cut()
    with Cache(PATH) as cache:
        assert dict(cache.scan()) == {b"early": 1}


def test_entries_expire_by_the_clock_of_the_machine(machine):
    with Cache(PATH) as cache:
        cache.set("key", 1, ttl=10)
        machine.advance(9)
        assert cache.ttl("key") == 1.0
        machine.power_cut(seed=1)
        machine.advance(2)
    with Cache(PATH) as cache:
        assert "key" not in cache


def test_a_handle_from_before_the_crash_is_closed(machine):
    cache = Cache(PATH)
    machine.kill()
    with pytest.raises(ClosedError):
        cache["key"] = 1
    cache.close()


def test_a_disk_that_fails_fails_the_cache(machine):
    with Cache(PATH, sync="always") as cache:
        cache["before"] = 1
        machine.disk.faults[len(machine.disk.trace) + 1] = Fault(errno.EIO)  # the sync
        with pytest.raises(StorageError):
            cache["during"] = 2
    machine.disk.faults.clear()
    with Cache(PATH) as cache:
        assert cache["before"] == 1


def test_a_full_disk_refuses_and_heals(machine):
    with Cache(PATH) as cache:
        machine.disk.faults[len(machine.disk.trace)] = Fault(errno.ENOSPC)
        with pytest.raises(DiskFullError):
            cache["key"] = 1
        cache["key"] = 2


def test_engines_that_need_the_real_thing_are_refused(machine):
    with pytest.raises(ConfigError, match="run_killed"):
        Cache(PATH, engine="persistent")
    Cache(PATH).close()
    with pytest.raises(ConfigError, match="read_only"):
        Cache(PATH, read_only=True)


def test_a_memory_store_can_be_read_beside_its_writer(machine):
    with Cache(PATH, engine="memory") as cache:
        cache["key"] = 1
        with Cache(PATH, engine="memory", read_only=True) as reader:
            assert reader["key"] == 1


def test_a_volatile_cache_is_none_of_the_machine(machine):
    with Cache() as cache:
        cache["key"] = 1
        machine.power_cut()
        assert cache["key"] == 1


def in_two_steps(note):
    with Cache(PATH, sync="always") as cache:
        for number in range(3):
            cache[f"item:{number}"] = number
            cache.incr("count")
            note(number)


def in_one_step(note):
    with Cache(PATH, sync="always") as cache:
        for number in range(3):
            with cache.transaction() as batch:
                batch.set(f"item:{number}", number)
                batch.set("count", number + 1)
            note(number)


def check(noted):
    with Cache(PATH) as cache:
        items = [key for key in cache if key.startswith(b"item:")]
        assert len(items) >= len(noted)
        assert cache.get("count", 0) == len(items)


def test_every_power_cut_finds_what_is_not_atomic_and_names_it(machine):
    run = PowerCutRun(machine, in_two_steps)
    with pytest.raises(AssertionError) as caught:
        run.check_all(check)
    (note,) = caught.value.__notes__
    name = note.split()[3]
    again = PowerCutRun(machine_anew(machine), in_two_steps)
    with pytest.raises(AssertionError, match=r"assert"):
        again.check_one(name, check)


@pytest.mark.parametrize("engine", ["hybrid", "memory"])
def test_the_same_work_gives_the_same_power_cuts_under_the_same_names(machine, engine):
    # Checksums over random bytes made now and then two torn writes equal, or not: the
    # names behind them moved, and the command that a failure printed showed another.
    def work(note):
        in_two_steps(note)
        with Cache("/other", engine=engine, sync="always") as cache:
            cache.set_many({"a": 1, "b": 2})

    first = PowerCutRun(machine, work).found
    assert PowerCutRun(machine_anew(machine), work).found == first


def machine_anew(machine):
    machine.restart_with(type(machine.disk)())
    return machine


def test_every_power_cut_leaves_a_transaction_whole(machine):
    run = PowerCutRun(machine, in_one_step)
    count = run.check_all(check)
    assert count > len(run.found) > 50  # some of them twice, in the recovery


def test_what_was_noted_before_a_cut_is_what_the_check_gets(machine):
    seen = []
    PowerCutRun(machine, in_one_step).check_all(lambda noted: seen.append(len(noted)))
    assert set(seen) == {0, 1, 2, 3}


def test_a_power_cut_in_the_check_has_a_name_too(machine):
    run = PowerCutRun(machine, in_one_step)
    tries = []

    def fail_the_second_time(noted):
        check(noted)
        tries.append(noted)
        assert len(tries) == 1

    first = next(found for found in run.found if found.note_count == 3)
    with pytest.raises(AssertionError):
        run.check_one(f"{first.name}+1", fail_the_second_time)
    with pytest.raises(LookupError, match="was the work changed"):
        run.check_one("100000", check)


def test_a_killed_process_loses_nothing_it_has_noted(tmp_path):
    def work(note):
        cache = Cache(tmp_path / "store", engine="persistent")
        for number in range(10_000):
            cache[f"{number}"] = number
            note(number)

    noted = run_killed(work, after_notes=20)
    assert 20 <= len(noted) < 10_000
    with Cache(tmp_path / "store", engine="persistent") as cache:
        assert all(cache[f"{number}"] == number for number in noted)
        assert cache.check().ok


def test_nothing_that_the_work_holds_is_closed_by_the_kill(tmp_path):
    held = []

    def work(note):
        held.append(Cache(tmp_path / "store"))
        held[0]["key"] = 1
        note("set")

    assert run_killed(work) == ["set"]
    assert '"clean": false' in (tmp_path / "store" / "CHECKPOINT").read_text()
    with Cache(tmp_path / "store") as cache:
        assert cache["key"] == 1


def test_work_that_fails_or_dies_says_so():
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run_killed(lambda note: 1 // 0)
    with pytest.raises(RuntimeError, match="died by itself"):
        run_killed(lambda note: __import__("os")._exit(3))

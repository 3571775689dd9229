"""Of all processes that share a persistent store, one makes a missing value."""

import os
import signal
import threading

import pytest

from hypercache import Cache, leases, liveness
from hypercache.engines import PersistentEngine
from hypercache.engines.base import Put
from hypercache.options import Options
from hypercache.testing.clock import FakeClock
from tests.support.processes import start_python

PROCESSES, TASKS = 8, 50

MAKE = """
    import asyncio, os, sys
    import hypercache

    path, calls, tasks = sys.argv[1:]
    cache = hypercache.Cache(path, engine="persistent")

    @cache.memoize(name="slow")
    async def slow():
        with open(calls, "a") as file:
            file.write(f"{os.getpid()}\\n")
        await asyncio.sleep(0.3)
        return ["made", os.getpid()]

    async def main():
        return await asyncio.gather(*(slow() for _ in range(int(tasks))))

    print("ready", flush=True)
    sys.stdin.readline()
    made = asyncio.run(main())
    assert all(each == made[0] for each in made)
    print(made[0][1])
"""

HOLD = """
    import os, sys
    import hypercache

    path, calls = sys.argv[1:]
    cache = hypercache.Cache(path, engine="persistent")

    def slow():
        with open(calls, "a") as file:
            file.write(f"{os.getpid()}\\n")
        print("holds", flush=True)
        sys.stdin.readline()
        return "late"

    cache.get_or_set("key", slow)
"""


@pytest.fixture
def path(tmp_path):
    Cache(tmp_path / "store", engine="persistent").close()
    return tmp_path / "store"


def calls_in(path):
    return path.read_text().split()


def test_of_all_tasks_of_all_processes_one_calls_the_function(path, tmp_path):
    calls = tmp_path / "calls"
    workers = [start_python(MAKE, path, calls, TASKS) for _ in range(PROCESSES)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    made = []
    for worker in workers:
        out, err = worker.communicate(timeout=60)
        assert worker.returncode == 0, err
        made += out.split()
    assert len(made) == PROCESSES
    assert set(made) == set(calls_in(calls))
    assert len(calls_in(calls)) == 1


def test_when_its_owner_is_killed_the_next_who_waits_takes_over(path, tmp_path):
    calls = tmp_path / "calls"
    with start_python(HOLD, path, calls) as owner:
        assert owner.stdout.readline() == "holds\n"
        with Cache(path, engine="persistent") as cache:
            taken = []
            waiter = threading.Thread(
                target=lambda: taken.append(
                    cache.get_or_set("key", lambda: "taken over", lease=3600)
                )
            )
            waiter.start()
            assert not taken
            owner.send_signal(signal.SIGKILL)
            owner.wait()
            waiter.join(30)
            assert taken == ["taken over"]
            assert cache["key"] == "taken over"
    assert len(calls_in(calls)) == 1


def test_a_maker_that_lost_its_lease_stores_nothing(path):
    with Cache(path, engine="persistent") as cache:

        def slow():
            cache._engine.clear()  # as another process might
            cache.set("key", "newer")
            return "outdated"

        assert cache.get_or_set("key", slow) == "outdated"
        assert cache["key"] == "newer"


def test_a_maker_that_fails_gives_its_lease_back(path):
    with Cache(path, engine="persistent") as cache:
        with pytest.raises(ZeroDivisionError):
            cache.get_or_set("key", lambda: 1 / 0)
        assert cache.get_or_set("key", lambda: 1) == 1
        assert list(cache) == [b"key"]


def test_an_invalidated_call_is_not_kept_by_another_process(path, tmp_path):
    calls = tmp_path / "calls"
    with (
        start_python(HOLD, path, calls) as owner,
        Cache(path, engine="persistent") as cache,
    ):
        assert owner.stdout.readline() == "holds\n"
        assert not cache.forget(b"key")
        owner.communicate("\n", timeout=30)
        assert owner.returncode == 0
        assert "key" not in cache


class TestLeases:
    """By hand, with a clock of the test's own."""

    @pytest.fixture
    def clock(self):
        return FakeClock()

    @pytest.fixture
    def engine(self, path, clock, opened):
        options = Options.resolve(engine="persistent")
        return opened.add(PersistentEngine(str(path), options, clock=clock))

    def acquire(self, engine, ttl_ms=1000):
        return leases.maybe_acquire(engine, b"key", ttl_ms, bytes)

    def as_if_by(self, monkeypatch, **changes):
        owner = liveness.myself()._replace(**changes)
        monkeypatch.setattr(liveness, "myself", lambda: owner)

    def test_a_lease_is_given_once(self, engine):
        lease = self.acquire(engine)
        assert lease is not None
        assert self.acquire(engine) is None
        leases.release(engine, lease)
        assert self.acquire(engine) is not None

    def test_a_lease_ends_with_its_time(self, engine, clock):
        self.acquire(engine, 1000)
        clock.advance(0.9)
        assert self.acquire(engine) is None
        clock.advance(0.2)
        assert self.acquire(engine) is not None

    def test_a_value_is_stored_together_with_the_end_of_its_lease(self, engine):
        lease = self.acquire(engine)
        leases.store(engine, lease, [Put(b"key", b"1")], lambda: True)
        assert engine.get(b"key") == b"1"
        assert engine.get(lease.key) is None

    def test_the_token_fences_who_lost_its_lease(self, engine, clock):
        lost = self.acquire(engine, 1000)
        clock.advance(2)
        held = self.acquire(engine)
        leases.store(engine, lost, [Put(b"key", b"old")], lambda: True)
        leases.release(engine, lost)
        assert engine.get(b"key") is None
        assert engine.get(held.key) is not None

    def test_what_is_not_wanted_any_more_is_not_stored(self, engine):
        lease = self.acquire(engine)
        leases.store(engine, lease, [Put(b"key", b"1")], lambda: False)
        assert engine.get(b"key") is engine.get(lease.key) is None

    @pytest.mark.parametrize(
        "change", [{"boot": "an earlier one"}, {"started": "1"}, {"pid": 2**22 + 1}]
    )
    def test_the_lease_of_a_process_that_is_gone_is_free(
        self, engine, monkeypatch, change
    ):
        with monkeypatch.context() as patched:
            self.as_if_by(patched, **change)
            assert self.acquire(engine) is not None
        assert self.acquire(engine) is not None

    @pytest.mark.parametrize(
        "change",
        [{"boot": ""}, {"namespace": "another", "pid": 1}, {"started": "", "pid": 1}],
    )
    def test_the_lease_of_a_process_that_nobody_can_see_is_kept(
        self, engine, monkeypatch, change
    ):
        with monkeypatch.context() as patched:
            self.as_if_by(patched, **change)
            assert self.acquire(engine) is not None
        assert self.acquire(engine) is None


def test_a_zombie_is_gone_and_a_running_process_is_not():
    child = start_python("import sys; print(1, flush=True); sys.stdin.readline()")
    with child:
        child.stdout.readline()
        process = liveness.myself()._replace(
            pid=child.pid, started=liveness._started(child.pid)
        )
        assert not liveness.is_gone(process)
        child.stdin.write("\n")
        child.stdin.flush()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert liveness.is_gone(process)
    assert liveness.is_gone(process)

"""What the crash explorer lets a store do while the power is about to go.

Each workload drives a `Run`, with random numbers of the run's seed only.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hypercache.engines.base import Delete, KeyOp, Put, Touch
from hypercache.errors import StorageError
from hypercache.testing.clock import START_MS
from hypercache.testing.simulated_disk import Fault
from tests.support.crash_runs import Run

BOTH = ("hybrid", "memory")
# Maintenance begins by itself, and goes on step by step while writes go by.
STEPWISE = {"compact_min_bytes": 6000, "checkpoint_bytes": 4096}


class Workload(NamedTuple):
    """What to do, on which engines, with which options beside those of a test."""

    do: Callable[[Run], object]
    engines: tuple[str, ...] = BOTH
    changes: dict[str, Any] = {}  # noqa: RUF012 (never changed)


def some_bytes(run: Run, longest: int) -> bytes:
    return run.rng.randbytes(run.rng.randrange(longest))


def some_key(run: Run, count: int = 7) -> bytes:
    return b"key%d" % run.rng.randrange(count)


def some_batch(run: Run, longest: int = 200) -> list[KeyOp]:
    """Return ops of all kinds, at least one of which always counts."""
    kinds = run.rng.sample(range(4), 3)
    ops: list[KeyOp] = []
    for kind in kinds:
        key = some_key(run)
        until_ms = START_MS + run.rng.choice([1, 500, 90_000]) * run.rng.randrange(1, 9)
        if kind == 0:
            ops.append(Delete(key))
        elif kind == 1:
            ops.append(Touch(key, until_ms * run.rng.randrange(2)))
        else:
            ops.append(Put(key, some_bytes(run, longest), until_ms * (kind % 2)))
    return [*ops, Put(some_key(run), some_bytes(run, longest))]


def single_puts(run: Run) -> None:
    for _ in range(60):
        run.put(some_key(run), some_bytes(run, 300))


def batches(run: Run) -> None:
    for _ in range(40):
        run.apply(*some_batch(run))


def group_commit(run: Run) -> None:
    """Let four clients write; each step of each comes when the seed says so."""
    clients = [_client(run) for _ in range(4)]
    while clients:
        client = run.rng.choice(clients)
        if next(client, None) is None:
            clients.remove(client)


def _client(run: Run) -> Iterator[bool]:
    """Do what a thread does in `apply`, and pause wherever others may come between."""
    engine, state = run.engine, run.engine._state
    for _ in range(12):
        batch = some_batch(run, 300)
        lsn = run.expect(batch)
        with engine._writer():
            assert engine._append_batch(batch) == lsn
        run.last = lsn
        yield True
        while state.synced_lsn < lsn:
            state.raise_if_failed()
            yield True
            target = engine._commit._begin()
            if target is not None:
                yield from _lead(run, target)
        run.acknowledged(lsn)
        if engine._upkeep.due:
            engine._upkeep.run_if_due()
        yield True


def _lead(run: Run, target: int) -> Iterator[bool]:
    engine = run.engine
    yield True
    with engine._commit.sync_mutex:
        engine._log.sync_active()
    yield True
    engine._publish(target)
    yield True
    engine._state.finish(target)
    run.step()


def everysec(run: Run) -> None:
    for number in range(70):
        run.apply(*some_batch(run, 100))
        run.advance(run.rng.choice([0.0, 0.02, 0.2, 0.5]))
        if number % 9 == 4:  # a slow sync, and writes that come while it runs
            run.begin_flush()
            for _ in range(run.rng.randrange(6)):
                run.wait(run.rng.choice([0.05, 0.3]))
                run.put(some_key(run), some_bytes(run, 50))
            run.end_flush()
        if number % 20 == 19:
            run.sync()


def unsynced(run: Run) -> None:
    for number in range(60):
        run.put(some_key(run, 11), some_bytes(run, 500))
        if number % 20 == 11:
            run.sync()
        if number % 25 == 17:
            run.engine.wait_durable(run.last - 1)


def rolls(run: Run) -> None:
    for number in range(24):
        run.put(some_key(run), run.rng.randbytes(run.rng.choice([900, 1900, 3900])))
        if number % 5 == 3:
            run.engine._log.seal_active()


def maintenance(run: Run) -> None:
    """Checkpoint or compact in steps, with other writes between the steps."""
    for number in range(45):
        run.put(some_key(run, 4), some_bytes(run, 1500))
        run.apply(*some_batch(run, 60))
        if number % 15 == 7:
            run.maintain()
    assert _maintenance_count(run) > 2


def aborted_maintenance(run: Run) -> None:
    """Let it fail at some place of its own, again and again."""
    for number in range(30):
        run.put(some_key(run, 4), some_bytes(run, 400))
        if number % 4 == 3:
            run.disk.choose_fault = _failing(run.rng.randrange(6))
            with contextlib.suppress(StorageError):
                run.maintain()
            run.disk.repair()
            assert run.engine.stats().failure is None
    run.maintain()
    assert _maintenance_count(run) > 0


def _failing(count: int) -> Callable[[str, str], Fault | None]:
    """Return what makes the n-th step fail of those that only maintenance takes."""
    left = [count]

    def choose(action: str, path: str) -> Fault | None:
        if action == "unlink" or not (".base" in path or path.endswith(".mdb")):
            return None
        left[0] -= 1
        return Fault(errno.EIO) if left[0] < 0 else None

    return choose


def abandoned_maintenance(run: Run) -> None:
    """Close, or die, in the middle of it."""
    for number in range(6):
        for _ in range(40):
            run.put(some_key(run, 4), some_bytes(run, 1400))
            if run.engine._upkeep._pending is not None and run.rng.random() < 0.4:
                break
        if number % 2:
            run.kill()
        else:
            run.reopen()
    run.put(b"key0", b"after it")


def _maintenance_count(run: Run) -> int:
    stats = run.engine.stats()
    return stats.checkpoint_count + stats.compaction_count


def ttl(run: Run) -> None:
    """Expire, touch, and take away what a cache over the engine would evict."""
    for number in range(40):
        key = some_key(run, 6)
        until_ms = run.clock.wall_ms() + run.rng.choice([300, 1200, 60_000])
        run.put(key, some_bytes(run, 120), until_ms)
        run.apply(
            Touch(some_key(run, 6), until_ms * run.rng.randrange(2)),
            Touch(some_key(run, 6), until_ms + 5),
            Put(b"plain%d" % (number % 3), some_bytes(run, 50)),
        )
        run.advance(run.rng.choice([0.0, 0.1, 0.5]))
        if number % 6 == 5:
            evicted = sorted(run.states[run.last])[:: run.rng.randrange(2, 4)]
            run.apply(*map(Delete, evicted))
        if number % 13 == 9:
            run.maintain()


def clears(run: Run) -> None:
    for number in range(40):
        run.put(some_key(run), some_bytes(run, 500))
        if number % 5 == 3:
            run.clear()
        if number % 9 == 8:
            run.maintain()
            run.clear()
        if number % 11 == 10:
            run.apply(*some_batch(run))
            run.maintain()


def sessions(run: Run) -> None:
    for number in range(6):
        for _ in range(run.rng.randrange(4)):
            run.put(some_key(run), some_bytes(run, 1700))
            run.apply(*some_batch(run))
        if number % 3 == 2:
            run.kill()
        else:
            run.reopen()


def backups(run: Run) -> None:
    """Copy the store now and then, to a place that is new and to one that was used."""
    for number in range(3):
        for _ in range(5):
            run.put(some_key(run), some_bytes(run, 400))
        if number == 1:
            run.maintain()
        for _ in range(3):
            run.apply(*some_batch(run, 100))
        run.back_up(str(number))


def salvages(run: Run) -> None:
    """Salvage a closed store, twice; what is read is not changed."""
    for number in range(8):
        run.put(some_key(run), some_bytes(run, 700))
        run.apply(*some_batch(run, 100))
        if number == 4:
            run.maintain()
    run.close()
    for name in "01":
        run.salvage(name)
    run.open()
    run.put(b"key1", b"after it")


WORKLOADS = {
    "single_puts": Workload(single_puts),
    "single_puts_mapped": Workload(single_puts, changes={"log_io": "mmap"}),
    "group_commit": Workload(group_commit, changes=STEPWISE),
    "batches": Workload(batches),
    "batches_unsynced": Workload(batches, changes={"sync": "no"}),
    "everysec": Workload(everysec, changes={"sync": "everysec"}),
    "unsynced": Workload(unsynced, changes={"sync": "no"}),
    "unsynced_mapped": Workload(unsynced, changes={"sync": "no", "log_io": "mmap"}),
    "rolls": Workload(rolls),
    "checkpoint_during_writes": Workload(maintenance, ("hybrid",), STEPWISE),
    "checkpoint_unsynced": Workload(
        maintenance, ("hybrid",), {**STEPWISE, "sync": "no"}
    ),
    "compaction_during_writes": Workload(maintenance, ("memory",), STEPWISE),
    "compaction_unsynced": Workload(
        maintenance, ("memory",), {**STEPWISE, "sync": "no"}
    ),
    "aborted_maintenance": Workload(aborted_maintenance),
    "abandoned_maintenance": Workload(abandoned_maintenance, changes=STEPWISE),
    "abandoned_unsynced": Workload(
        abandoned_maintenance, changes={**STEPWISE, "sync": "no"}
    ),
    "ttl": Workload(ttl),
    "ttl_unsynced": Workload(ttl, changes={"sync": "no"}),
    "clears": Workload(clears),
    "clears_unsynced": Workload(clears, changes={**STEPWISE, "sync": "no"}),
    "sessions": Workload(sessions),
    "sessions_unsynced": Workload(sessions, changes={"sync": "no"}),
    "backups": Workload(backups),
    # The stand-in for LMDB has no pages that could be salvaged.
    "salvages": Workload(salvages, ("memory",)),
}

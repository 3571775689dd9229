"""Short workloads, each step of which is made to fail in turn.

Together they take every step there is: append, sync, roll, seal, checkpoint or
compaction in one go and in steps, prune, clear, close, recovery, backup.
"""

from __future__ import annotations

from tests.crash.workloads import (
    STEPWISE,
    Workload,
    some_batch,
    some_bytes,
    some_key,
)
from tests.support.crash_runs import Run


def puts(run: Run) -> None:
    for _ in range(8):
        run.put(some_key(run), some_bytes(run, 900))
    run.reopen()
    run.put(some_key(run), some_bytes(run, 900))


def batches(run: Run) -> None:
    for number in range(6):
        run.apply(*some_batch(run, 300))
        if number == 3:
            run.clear()
    run.cut()
    run.apply(*some_batch(run, 300))


def rolls(run: Run) -> None:
    for number in range(6):
        run.put(some_key(run), run.rng.randbytes(1800))
        if number == 2:
            run.kill()
    run.cut()
    run.put(some_key(run), run.rng.randbytes(3900))


def maintenance(run: Run) -> None:
    for number in range(6):
        run.put(some_key(run, 3), some_bytes(run, 900))
        run.apply(*some_batch(run, 60))
        if number % 3 == 1:
            run.maintain()
    run.reopen()
    run.maintain()


def stepwise(run: Run) -> None:
    for number in range(12):
        run.put(some_key(run, 3), run.rng.randbytes(1300))
        if number == 8:
            run.kill()


def synced_at_times(run: Run) -> None:
    for number in range(10):
        run.put(some_key(run), some_bytes(run, 900))
        if number % 4 == 2:
            run.sync()
    run.cut()
    run.put(some_key(run), some_bytes(run, 900))
    run.sync()


def everysec(run: Run) -> None:
    for _ in range(10):
        run.put(some_key(run), some_bytes(run, 600))
        run.advance(0.3)
    run.cut()
    run.put(some_key(run), some_bytes(run, 600))
    run.advance(1.0)


def backup(run: Run) -> None:
    for _ in range(4):
        run.put(some_key(run), some_bytes(run, 900))
    run.maintain()
    run.put(some_key(run), some_bytes(run, 900))
    run.back_up("0")


SWEPT = {
    "puts": Workload(puts),
    "batches": Workload(batches),
    "rolls": Workload(rolls),
    "maintenance": Workload(maintenance),
    "stepwise": Workload(stepwise, changes=STEPWISE),
    "stepwise_unsynced": Workload(stepwise, changes={**STEPWISE, "sync": "no"}),
    "synced_at_times": Workload(synced_at_times, changes={"sync": "no"}),
    "everysec": Workload(everysec, changes={"sync": "everysec"}),
    "backup": Workload(backup),
}

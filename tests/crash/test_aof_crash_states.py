"""The append-only log through power cuts and failing disks, compactions included.

The same explorer as for the write-ahead log, in tests/support/crash_runs.py: every
legal image of the disk, at every single operation, is recovered and compared.
"""

import contextlib
import errno
import logging

import pytest

from hypercache.engines.base import Delete, Put, Touch
from hypercache.errors import DiskFullError, HyperCacheError, StorageError
from hypercache.group_commit import GroupCommit
from tests.support import crashstore
from tests.support.crash_runs import (
    Run,
    batches,
    check,
    check_all,
    crashed_sessions,
    sessions,
    singles,
    unsynced_rolls,
    value,
)
from hypercache.testing.simulated_disk import Fault, SimDisk

IMAGES_PER_STEP = 16
RECOVERY_SAMPLE = 30
# Compacts by itself, step by step, while a dozen writes go by.
SMALL = {"compact_min_bytes": 6000}


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch):
    # No thread beside the explorer: the workload takes the flusher's turns.
    monkeypatch.setattr(
        GroupCommit, "_start_flusher", lambda commit: commit.state.flusher_started()
    )
    logging.disable(logging.CRITICAL)  # thousands of torn tails are cut in here
    with crashstore.simulated():
        yield
    logging.disable(logging.NOTSET)


def flushed_now_and_then(run):
    for number in range(30):
        run.put(b"key%d" % (number % 7), value(number, number * 53 % 300))
        if number % 8 == 5:
            run.engine._commit.flush()


def expiring(run):
    start_ms = run.clock.wall_ms()
    for number in range(16):
        key = b"key%d" % (number % 5)
        run.put(key, value(number, 90), start_ms + 1000 * (1 + number % 4))
        until_ms = start_ms + 900 + 60_000 * (number % 2)
        run.apply(Touch(b"key%d" % (number % 3), until_ms))
        if number % 6 == 4:
            run.clock.advance(1.5)  # what has expired by now is not touched any more
            run.apply(Touch(key, 0), Touch(b"key0", 0), Put(b"plain", b"1"))
        if number in (7, 13):
            run.compact()


def compactions(run):
    for number in range(14):
        run.put(b"key%d" % (number % 5), value(number, 500))
        if number % 4 == 2:
            run.apply(Delete(b"key0"), Touch(b"key1", 2_000_000_000_000 + number))
            run.compact()
        if number == 9:
            run.clear()
    run.compact()
    run.compact()


def stepwise(run):
    for number in range(26):
        run.put(b"key%d" % (number % 4), value(number, 900))
        run.apply(Put(b"more%02d" % number, value(number, 60)), Delete(b"more03"))
        if number == 15:
            run.clear()


def stepwise_in_peace(run):
    stepwise(run)
    assert run.engine.stats().compaction_count > 1


def abandoned(run):
    for number in range(40):
        run.put(b"key%d" % (number % 4), value(number, 700))
        if run.engine._upkeep._pending is not None and number > 12:
            break
    else:
        pytest.fail("no compaction was under way")
    run.close()
    run.open()
    run.put(b"key0", b"after it")


def killed_while_compacting(run):
    for _ in range(2):
        for number in range(60):
            run.put(b"key%d" % (number % 4), value(number, 700))
            if run.engine._upkeep._pending is not None and number > 12:
                break
        run.disk.let_go()  # the process dies, the machine does not
        run.open()


def aborted(run):
    for number in range(30):
        if number % 7 == 4:
            at = len(run.disk.trace) + 4 + number % 5
            run.disk.faults = {at: Fault(errno.EIO)}
            with contextlib.suppress(StorageError):
                run.compact()
            run.disk.faults = {}
            assert run.engine.stats().failure is None
        run.put(b"key%d" % (number % 4), value(number, 300))
    run.compact()
    assert run.engine.stats().compaction_count > 0


WORKLOADS = {
    "singles": (singles, {}),
    "batches": (batches, {}),
    "unsynced batches": (batches, {"sync": "no"}),
    "unsynced rolls, mapped": (unsynced_rolls, {"log_io": "mmap", "sync": "no"}),
    "everysec": (flushed_now_and_then, {"sync": "everysec"}),
    "expiring": (expiring, {"sync": "no"}),
    "compactions": (compactions, {}),
    "compactions, unsynced": (compactions, {"sync": "no"}),
    "compactions in steps": (stepwise_in_peace, SMALL),
    "compactions in steps, unsynced": (stepwise_in_peace, {"sync": "no", **SMALL}),
    "abandoned compaction": (abandoned, SMALL),
    "aborted compactions": (aborted, {"sync": "no"}),
    "sessions": (sessions, {}),
    "crashed sessions": (crashed_sessions, {"sync": "no", **SMALL}),
    "killed while compacting": (killed_while_compacting, {"sync": "no", **SMALL}),
}


def start(**changes):
    limit = changes.pop("limit", IMAGES_PER_STEP)
    return Run(SimDisk(), "memory", limit=limit, **changes)


def left_over(disk, engine):
    """Return the files of an open store that its manifest does not know."""
    manifest = engine._aof.manifest
    named = {f"{number:016d}.aof" for number in manifest.extent.numbers}
    if manifest.base:
        named.add(f"base-{manifest.base.number:016d}.base")
    # Where the next manifest and the next increment are going to be.
    next_ones = {"MANIFEST.tmp", f"{manifest.active_segment + 1:016d}.aof"}
    present = set(disk.list("/store/aof"))
    assert present >= named
    return present - named - next_ones - {"MANIFEST"}


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_crash_leaves_a_prefix_with_all_that_was_promised(name):
    workload, changes = WORKLOADS[name]
    run = start(**changes)
    workload(run)
    run.close()
    assert check_all(run, RECOVERY_SAMPLE) > 150


def test_a_compaction_that_a_close_or_a_crash_ends_leaves_no_file_behind():
    for workload in (abandoned, killed_while_compacting):
        run = start(limit=1, sync="no", **SMALL)
        workload(run)
        assert left_over(run.disk, run.engine) == set()
        run.close()


def test_every_power_cut_in_a_compaction_leaves_no_file_behind_after_the_next_open():
    run = start()
    compactions(run)
    run.close()
    for image, _ in run.cuts.images.values():
        disk = SimDisk(image)
        assert left_over(disk, crashstore.open_engine(disk, "memory")) == set()


# A failing disk, at every single step


class Faulty(Run):
    """Power cuts come only in the steps after the fault."""

    def _collect(self):
        [at] = self.disk.faults or [0]
        if 0 <= len(self.disk.trace) - at < 12:
            super()._collect()


class Tolerant(Faulty):
    """A user who frees some space when the disk is full, and tries again."""

    refused = 0

    def _do(self, batch, write):
        try:
            super()._do(batch, write)
        except DiskFullError:
            self.refused += 1
            super()._do(batch, write)

    def clear(self):
        try:
            super().clear()
        except DiskFullError:
            self.refused += 1
            super().clear()


def worked(run):
    """Run a workload that compacts by itself; tell whether it came to its end."""
    try:
        stepwise(run)
    except StorageError:
        return False
    return True


def steps_of(disk, start_at):
    """Yield the steps of a run: of its many appends a third, everything else."""
    for at, (action, path) in enumerate(disk.trace):
        append = path.endswith(".aof") and action in ("write", "sync")
        if at >= start_at and (at % 3 == 0 or not append):
            yield at, action, path


def is_of_a_base(path):
    return "/base-" in path


def test_after_a_failed_step_nothing_is_lost_and_only_a_compaction_goes_on():
    dry = start(limit=1, **SMALL)
    opened = len(dry.disk.trace)
    assert worked(dry)
    wrong = []
    for at, action, path in steps_of(dry.disk, opened):
        run = Faulty(SimDisk(), "memory", limit=2, **SMALL)
        run.disk.faults = {at: Fault(errno.EIO)}
        ended = worked(run)
        latched = run.engine.stats().failure is not None
        found = dict(run.engine.scan())
        # Under `always` what is shown is what is on the medium.
        if found != run.states[run.promised]:
            wrong.append(f"step {at}: {action} {path}: shows something else")
        # A base that cannot be written is nobody's loss.
        harmless = is_of_a_base(path) and action != "unlink"
        if (latched, ended) != (not harmless, harmless) and path != "/store/aof":
            wrong.append(f"step {at}: {action} {path}: {latched=} {ended=}")
        with contextlib.suppress(StorageError):
            run.close()
        for image, promised in run.cuts.images.values():
            check(run, image, promised)
    assert wrong == [], "\n".join(wrong)


@pytest.mark.parametrize("written", [0, 20])
def test_a_disk_that_is_full_at_any_step_heals_and_the_log_is_compacted_again(written):
    dry = start(limit=1, **SMALL)
    opened = len(dry.disk.trace)
    assert worked(dry)
    wrong, refused = [], 0
    for at, action, path in steps_of(dry.disk, opened):
        if action == "sync":
            continue  # a failed sync is never just a full disk
        run = Tolerant(SimDisk(), "memory", limit=2, **SMALL)
        run.disk.faults = {at: Fault(errno.ENOSPC, written)}
        ended = worked(run)
        refused += run.refused
        if not ended or run.engine.stats().failure is not None:
            wrong.append(f"step {at}: {action} {path}")
        if dict(run.engine.scan()) != run.states[run.last]:
            wrong.append(f"step {at}: {action} {path}: shows something else")
        if not run.engine.check().ok:
            wrong.append(f"step {at}: {action} {path}: {run.engine.check()}")
        run.close()
        for image, promised in run.cuts.images.values():
            check(run, image, promised)
    assert wrong == [], "\n".join(wrong)
    assert refused > 10


def test_a_disk_too_full_for_the_manifest_keeps_no_base_that_nothing_names():
    run = start(limit=1)
    for number in range(8):
        run.put(b"key%d" % number, value(number, 500))
    replacing = []

    def refuse_the_manifest():
        if run.disk.trace[-1] == ("rename", "/store/aof/base-0000000000000001.base"):
            # Its directory is synced, then the manifest is written.
            run.disk.faults[len(run.disk.trace) + 1] = Fault(errno.ENOSPC)
            replacing.append(1)

    run.disk.on_step = refuse_the_manifest
    with pytest.raises(DiskFullError):
        run.compact()
    assert replacing
    assert left_over(run.disk, run.engine) == set()
    run.disk.on_step = None
    run.compact()
    assert run.engine.stats().base_bytes > 0
    run.close()


def test_a_latched_log_still_closes_and_answers_and_the_next_open_works():
    run = start(limit=1, **SMALL)
    singles(run)
    run.disk.faults = {len(run.disk.trace) + 1: Fault(errno.EIO)}
    with pytest.raises(StorageError):
        run.put(b"key1", b"never")
    for write in (run.engine.clear, run.engine.compact, run.engine.sync):
        with pytest.raises(HyperCacheError):
            write()
    assert dict(run.engine.scan()) == run.states[24]
    assert run.engine.count() == 7
    run.close()
    # What was refused may still be there, like whatever a crash interrupts.
    lsn, content = crashstore.recovered(run.disk, "memory")
    assert content == run.states[lsn]
    assert lsn in (24, 25)

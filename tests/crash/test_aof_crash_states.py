"""Which failure of a disk latches an append-only log, and which ends a compaction only.

What power cuts and failing disks leave of it is in test_crash_explorer.py.
"""

import contextlib
import errno
import logging

import pytest

from hypercache.engines.base import Delete, Put
from hypercache.errors import DiskFullError, HyperCacheError, StorageError
from hypercache.testing.simulated_disk import Fault, SimDisk
from tests.support import crashstore
from tests.support.crash_runs import Run, value

# Compacts by itself, step by step, while a dozen writes go by.
SMALL = {"compact_min_bytes": 6000}


@pytest.fixture(autouse=True)
def _small_steps():
    logging.disable(logging.CRITICAL)
    with crashstore.simulated():
        yield
    logging.disable(logging.NOTSET)


def start(**changes):
    return Run(SimDisk(), "memory", **changes)


def stepwise(run):
    for number in range(26):
        run.put(b"key%d" % (number % 4), value(number, 900))
        run.apply(Put(b"more%02d" % number, value(number, 60)), Delete(b"more03"))
        if number == 15:
            run.clear()


def worked(run):
    """Run a workload that compacts by itself; tell whether it came to its end."""
    try:
        stepwise(run)
    except StorageError:
        return False
    return True


def steps_of(disk, start_at):
    """Yield the steps of a run: of its many appends a fifth, everything else."""
    for at, (action, path) in enumerate(disk.trace):
        append = path.endswith(".aof") and action in ("write", "sync")
        if at >= start_at and (at % 5 == 0 or not append):
            yield at, action, path


def test_after_a_failed_step_nothing_is_lost_and_only_a_compaction_goes_on():
    dry = start(**SMALL)
    opened = len(dry.disk.trace)
    assert worked(dry)
    assert dry.engine.stats().compaction_count > 1
    wrong = []
    for at, action, path in steps_of(dry.disk, opened):
        run = start(**SMALL)
        run.disk.faults = {at: Fault(errno.EIO)}
        ended = worked(run)
        latched = run.engine.stats().failure is not None
        # Under `always` what is shown is what is on the medium.
        if dict(run.engine.scan()) != run.states[run.promised]:
            wrong.append(f"step {at}: {action} {path}: shows something else")
        # A base that cannot be written is nobody's loss.
        harmless = "/base-" in path and action != "unlink"
        if (latched, ended) != (not harmless, harmless) and path != "/store/aof":
            wrong.append(f"step {at}: {action} {path}: {latched=} {ended=}")
        with contextlib.suppress(StorageError):
            run.close()
    assert wrong == [], "\n".join(wrong)


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


def test_a_disk_too_full_for_the_manifest_keeps_no_base_that_nothing_names():
    run = start()
    for number in range(8):
        run.put(b"key%d" % number, value(number, 500))
    refused = []

    def full(action, path):
        made = any(name.endswith(".base") for name in run.disk.list("/store/aof"))
        if not (made and action == "write" and path.endswith("MANIFEST.tmp")):
            return None
        refused.append(path)
        return Fault(errno.ENOSPC)

    run.disk.choose_fault = full
    with pytest.raises(DiskFullError):
        run.maintain()
    assert refused
    assert left_over(run.disk, run.engine) == set()
    run.disk.repair()
    run.maintain()
    assert run.engine.stats().base_bytes > 0
    run.close()


def test_a_latched_log_still_closes_and_answers_and_the_next_open_works():
    run = start(**SMALL)
    for number in range(24):
        run.put(b"key%d" % (number % 7), value(number, number * 37 % 400))
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

"""Whatever a power cut leaves: a prefix, whole batches, and all that was promised.

The engine runs on a simulated disk. At every single operation all disks that a power
cut could leave are enumerated, and every distinct one is recovered by the real code
and compared, as a whole, with the history.
"""

import errno
import logging

import pytest

from hypercache.engines.base import Delete, Put
from hypercache.errors import (
    CorruptionError,
    DiskFullError,
    HyperCacheError,
    StorageError,
)
from hypercache.segment import SegmentReader
from tests.support import crashstore
from tests.support.crash_runs import (
    Run,
    batches,
    check,
    check_all,
    crashed_sessions,
    differs,
    sessions,
    singles,
    tiny_segments,
    unsynced_rolls,
    value,
)
from tests.support.crashstore import Content, recovered
from hypercache.testing.simulated_disk import Fault, Image, SimDisk

LOG = "/store/wal"


@pytest.fixture(autouse=True)
def _simulated_lmdb():
    logging.disable(logging.CRITICAL)  # thousands of torn tails are cut in here
    with crashstore.simulated():
        yield
    logging.disable(logging.NOTSET)


def checkpoints(run: Run) -> None:
    for number in range(12):
        run.put(b"key%d" % (number % 5), value(number, 1500))
        if number % 5 == 3:
            run.apply(Delete(b"key0"), Put(b"new", value(number, 3)))
            run.engine.checkpoint()
        if number == 9:
            run.clear()
    run.engine.checkpoint()
    run.engine.checkpoint()


WORKLOADS = {
    "singles": (singles, {}),
    "batches": (batches, {}),
    "unsynced rolls": (unsynced_rolls, {"sync": "no"}),
    "unsynced batches": (batches, {"sync": "no"}),
    "tiny segments": (tiny_segments, {}),
    "mapped": (singles, {"log_io": "mmap"}),
    "mapped and unsynced": (unsynced_rolls, {"log_io": "mmap", "sync": "no"}),
    "checkpoints": (checkpoints, {}),
    "checkpoints, unsynced": (checkpoints, {"sync": "no"}),
    "sessions": (sessions, {}),
    "crashed sessions": (crashed_sessions, {"sync": "no"}),
}


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_crash_leaves_a_prefix_with_all_that_was_promised(name):
    workload, changes = WORKLOADS[name]
    run = Run(SimDisk(), **changes)
    workload(run)
    run.close()
    assert check_all(run) > 200


# The disk is full, or fails, and then the power goes


@pytest.mark.parametrize("written", [0, 1, 20, 300])
def test_a_full_disk_then_a_crash_leaves_a_log_that_opens_by_itself(written):
    for at in range(4, 40, 3):
        run = Run(SimDisk(), limit=8)
        run.disk.faults = {len(run.disk.trace) + at: Fault(errno.ENOSPC, written)}
        for number in range(14):
            try:
                run.put(b"key%d" % (number % 3), value(number, 600))
            except DiskFullError:
                continue
            except StorageError:
                break
        run.close()
        for image, promised in run.cuts.images.values():
            check(run, image, promised)


def test_a_half_written_frame_that_was_cut_away_never_makes_the_log_corrupt():
    # The cut behind a failed append is not synced. A footer written over the place
    # may reach the medium, and the cut may not: then bytes of the half frame are
    # found behind the footer. No damage, so the log must open.
    run = Run(SimDisk(), limit=10_000)
    run.put(b"a", b"first")
    run.disk.faults = {len(run.disk.trace): Fault(errno.ENOSPC, 300)}
    with pytest.raises(DiskFullError):
        run.put(b"a", value(1, 600))
    run.engine.checkpoint()
    run.close()
    check_all(run)


def log_steps(disk: SimDisk, start: int) -> list[int]:
    """Return the steps behind `start` whose failure must latch the log."""
    return [
        at
        for at, (action, path) in enumerate(disk.trace)
        if at >= start
        and action in ("write", "sync", "truncate", "rename")
        and path.startswith((LOG, "/store/CHECKPOINT"))
    ]


@pytest.mark.parametrize("name", ["singles", "checkpoints", "unsynced rolls"])
def test_after_a_failed_step_nothing_more_is_acknowledged_and_nothing_lost(name):
    workload, changes = WORKLOADS[name]
    dry = Run(SimDisk(), limit=2, **changes)
    opened = len(dry.disk.trace)
    workload(dry)
    going_on, checked = [], set()
    for at in log_steps(dry.disk, opened):
        run = Run(SimDisk(), limit=2, **changes)
        run.disk.faults = {at: Fault(errno.EIO)}
        with pytest.raises(StorageError):
            workload(run)
        if run.engine._state.failure is None:
            going_on.append("step {}: {} {}".format(at, *dry.disk.trace[at]))
        run.close()
        # Up to the fault each run leaves the same images as the one before.
        for key, (image, promised) in run.cuts.images.items():
            if (key, promised) not in checked:
                checked.add((key, promised))
                check(run, image, promised)
    assert going_on == [], "\n".join(going_on)


# Damage to what was sealed


def sealed_log() -> tuple[Image, tuple[int, Content]]:
    """Return a store of three segments, the first two of them sealed for good."""
    run = Run(SimDisk(), limit=2)
    for number in range(5):
        run.put(b"key%d" % number, value(number, 1500))
        run.apply(Put(b"both", b"%d" % number), Put(b"keys", b"%d" % number))
    image, _ = list(run.cuts.images.values())[-1]
    return image, recovered(SimDisk(image))


def sealed_segments(image: Image) -> list[str]:
    return sorted(path for path in image if path.startswith(LOG + "/"))[:-1]


def test_every_flipped_byte_of_a_sealed_log_is_reported_or_harmless():
    image, expected = sealed_log()
    files = [*sealed_segments(image), "/store/STORE", "/store/CHECKPOINT"]
    assert len(files) == 4
    silent = []
    for path in files:
        for at in range(len(image[path])):
            data = bytearray(image[path])
            data[at] ^= 1 << at % 8
            if differs({**image, path: bytes(data)}, expected):
                silent.append((path, at))
    assert silent == []


def test_every_flipped_byte_before_the_last_group_of_an_active_log_is_reported():
    # Each frame carries the watermark of the one before it: only the last one, behind
    # which nothing was written, cannot be told from a torn write.
    run = Run(SimDisk(), limit=2)
    for number in range(6):
        run.put(b"key%d" % number, value(number, 40))
    image, _ = list(run.cuts.images.values())[-1]
    expected = recovered(SimDisk(image))
    assert expected[0] == 6
    path = f"{LOG}/{1:016d}.wal"
    *_, last = SegmentReader(image[path], path)
    for at in range(last.offset):
        data = bytearray(image[path])
        data[at] ^= 1 << at % 8
        assert not differs({**image, path: bytes(data)}, expected), at


def test_a_segment_put_back_from_another_life_of_the_store_is_reported():
    image, _ = sealed_log()
    other = Run(SimDisk(), limit=2)  # the same uuid, as after a restored backup
    for number in range(5):
        other.put(b"key%d" % number, value(number + 1, 1500))
        other.apply(Put(b"both", b"%d" % number), Put(b"keys", b"%d" % number))
    older, _ = list(other.cuts.images.values())[-1]
    first = sealed_segments(image)[0]
    assert len(older[first]) == len(image[first])
    assert older[first] != image[first]
    with pytest.raises(CorruptionError, match="does not continue"):
        recovered(SimDisk({**image, first: older[first]}))


def test_every_truncation_of_a_sealed_segment_is_reported():
    image, _ = sealed_log()
    for path in [*sealed_segments(image), "/store/STORE", "/store/CHECKPOINT"]:
        for length in range(len(image[path])):
            with pytest.raises(CorruptionError):
                recovered(SimDisk({**image, path: image[path][:length]}))


def test_missing_renamed_and_foreign_segments_are_reported():
    image, _ = sealed_log()
    with crashstore.simulated("f" * 32):
        other, _ = sealed_log()
    first, second = sealed_segments(image)
    last = f"{LOG}/{3:016d}.wal"
    without = {path: data for path, data in image.items() if path != second}
    for damaged in (
        without,
        {path: data for path, data in image.items() if path != last},
        {**image, first: image[second], second: image[first]},
        {**image, second: other[second]},
        {**image, second: image[first]},
        {**image, f"{LOG}/{4:016d}.wal": image[last]},
        {**image, f"{LOG}/{5:016d}.wal": b""},
        {path: data for path, data in image.items() if path != "/store/CHECKPOINT"},
        {path: data for path, data in image.items() if path != "/store/STORE"},
    ):
        with pytest.raises(CorruptionError):
            recovered(SimDisk(damaged))


def test_reading_a_damaged_store_changes_nothing_on_its_disk():
    image, _ = sealed_log()
    first = sealed_segments(image)[0]
    disk = SimDisk({**image, first: image[first][:-1]})
    with pytest.raises(HyperCacheError):
        recovered(disk)
    assert disk.trace == []

"""Whatever a power cut leaves: a prefix, whole batches, and all that was promised.

The engine runs on a simulated disk. At every single operation all disks that a power
cut could leave are enumerated, and every distinct one is recovered by the real code
and compared, as a whole, with the history.
"""

import errno
import logging
import random
import sys
from collections.abc import Callable

import pytest

from hypercache.engines.base import Delete, KeyOp, Put, Touch, changed_entry
from hypercache.engines.hybrid import HybridEngine
from hypercache.errors import (
    CorruptionError,
    DiskFullError,
    HyperCacheError,
    StorageError,
    UnsupportedFormatError,
)
from hypercache.segment import SegmentReader
from tests.support import crashstore
from tests.support.crashstore import Content, open_engine, recovered
from tests.support.powercut import PowerCuts
from tests.support.simdisk import Fault, Image, SimDisk

SEED = 20_250_101
IMAGES_PER_STEP = 24
RECOVERY_SAMPLE = 60  # images of each workload whose recovery is crashed, too
LOG = "/store/wal"


@pytest.fixture(autouse=True)
def _simulated_lmdb(monkeypatch):
    crashstore.install(monkeypatch)
    logging.disable(logging.CRITICAL)  # thousands of torn tails are cut in here
    yield
    logging.disable(logging.NOTSET)


class Run:
    """Drive one engine, keep its history, and collect every crash on the way.

    `states` has what must be found at each LSN at which a batch ends.
    """

    def __init__(
        self, disk: SimDisk, *, limit: int = IMAGES_PER_STEP, **changes
    ) -> None:
        self.disk, self.changes = disk, changes
        self.cuts = PowerCuts(disk, SEED, limit)
        self.states: dict[int, Content] = {0: {}}
        self.last = self.promised = 0
        self.engine: HybridEngine | None = None
        disk.on_step = self._collect
        self.open()

    def open(self) -> None:
        self.engine = open_engine(self.disk, **self.changes)
        assert self.engine.stats().appended_lsn == self.last

    def close(self) -> None:
        self.engine.close()

    def put(self, key: bytes, value: bytes) -> None:
        self._do([Put(key, value)], lambda: self.engine.put(key, value))

    def apply(self, *batch: KeyOp) -> None:
        self._do(batch, lambda: self.engine.apply(batch))

    def clear(self) -> None:
        self._note(self.last + 1, {})
        self._acknowledged(self.engine.clear())

    def _do(self, batch, write: Callable[[], int]) -> None:
        content, lsn = dict(self.states[self.last]), self.last
        for op in batch:
            if isinstance(op, Touch) and op.key not in content:
                continue
            entry, lsn = changed_entry(content.get(op.key), op), lsn + 1
            content.pop(op.key, None)
            if entry is not None:
                content[op.key] = entry
        self._note(lsn, content)
        try:
            self._acknowledged(write())
        except StorageError:
            self.last = self.engine.stats().appended_lsn
            raise

    def _note(self, lsn: int, content: Content) -> None:
        self.states[lsn] = content
        self._next = lsn

    def _acknowledged(self, lsn: int) -> None:
        assert lsn == self._next
        self.last = lsn
        if self.engine.stats().sync == "always":
            self.promised = lsn

    def _collect(self) -> None:
        if self.engine is not None:  # what it calls durable is a promise, too
            self.promised = max(self.promised, self.engine._state.synced_lsn)
        self.cuts.collect(self.promised)


def value(number: int, size: int) -> bytes:
    return b"%04d:" % number + random.Random(number).randbytes(size)


def singles(run: Run) -> None:
    for number in range(24):
        run.put(b"key%d" % (number % 7), value(number, number * 37 % 400))


def batches(run: Run) -> None:
    for number in range(10):
        a, b, c = (b"%s%d" % (name, number % 3) for name in (b"a", b"b", b"c"))
        run.apply(
            Put(a, value(number, 300)),
            Put(b, value(number, 5), 2_000_000_000_000 + number),
            Delete(c),
            Touch(b, 0),
            Touch(b"absent", 5),
            Put(c, value(number, 60)),
        )
        if number == 6:
            run.clear()


def unsynced_rolls(run: Run) -> None:
    for number in range(50):
        run.put(b"key%d" % (number % 11), value(number, number * 53 % 500))
        if number == 30:
            run.engine.sync()


def tiny_segments(run: Run) -> None:
    for number in range(12):
        run.put(b"key%d" % number, value(number, 3900))


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


def sessions(run: Run) -> None:
    for session in range(3):
        run.put(b"session", value(session, 10))
        run.apply(Put(b"a%d" % session, b"1"), Put(b"b%d" % session, b"2"))
        run.close()
        run.open()


def crashed_sessions(run: Run) -> None:
    for session in range(3):
        for number in range(3):
            run.put(b"%d-%d" % (session, number), value(number, 1700))
        run.disk._locks.clear()  # the process dies, the machine does not
        run.open()


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


def check(run: Run, image: Image, promised: int) -> tuple[int, Content]:
    """Recover an image and compare it with the history."""
    lsn, content = recovered(SimDisk(image))
    assert lsn >= promised, f"LSN {promised} was promised, {lsn} is there"
    assert lsn in run.states, f"LSN {lsn} is inside a batch, or was never written"
    assert content == run.states[lsn]
    return lsn, content


def check_recovery(run: Run, image: Image, promised: int) -> None:
    """Crash the recovery of an image at every step: each ends the same."""
    disk = SimDisk(image)
    again = PowerCuts(disk, SEED, IMAGES_PER_STEP)
    disk.on_step = lambda: again.collect(0)
    found = recovered(disk)
    for second, _ in again.images.values():
        assert recovered(SimDisk(second)) == found
    # What is written after a crash survives the next one (nothing hides behind a tail).
    disk = SimDisk(image)
    cuts = PowerCuts(disk, SEED, 4)
    lsn = open_engine(disk).put(b"after the crash", b"x")
    cuts.collect(lsn)
    for third, _ in cuts.images.values():
        at, content = recovered(SimDisk(third))
        assert at == lsn
        assert content.pop(b"after the crash").value == b"x"
        assert content == run.states[found[0]]


def check_all(run: Run) -> int:
    counts = f"{len(run.disk.trace)} steps, {len(run.cuts.images)} images"
    sys.stdout.write(f"seed {SEED}: {counts}\n")
    images = list(run.cuts.images.values())
    for image, promised in images:
        check(run, image, promised)
    for image, promised in random.Random(SEED).sample(
        images, min(RECOVERY_SAMPLE, len(images))
    ):
        check_recovery(run, image, promised)
    return len(images)


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


def differs(image: Image, expected: tuple[int, Content]) -> bool:
    """Tell whether damage changed anything without being reported."""
    try:
        return recovered(SimDisk(image)) != expected
    except (CorruptionError, UnsupportedFormatError):
        return False


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


def test_missing_renamed_and_foreign_segments_are_reported(monkeypatch):
    image, _ = sealed_log()
    crashstore.install(monkeypatch, uuid="f" * 32)
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

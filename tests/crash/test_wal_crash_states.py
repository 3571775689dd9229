"""Damage to a write-ahead log is reported, and half a frame is not taken for it.

What power cuts and failing disks leave of it is in test_crash_explorer.py.
"""

import errno
import logging

import pytest

from hypercache.engines.base import Put
from hypercache.errors import CorruptionError, DiskFullError, HyperCacheError
from hypercache.segment import SegmentReader
from hypercache.testing.power_cut import PowerCuts, after_power_cut
from hypercache.testing.simulated_disk import Fault, Image, SimDisk
from tests.support import crashstore
from tests.support.crash_runs import Run, differs, value
from tests.support.crashstore import Content, recovered

LOG = "/store/wal"


@pytest.fixture(autouse=True)
def _simulated_lmdb():
    logging.disable(logging.CRITICAL)  # thousands of torn tails are cut in here
    with crashstore.simulated():
        yield
    logging.disable(logging.NOTSET)


def test_a_half_written_frame_that_was_cut_away_never_makes_the_log_corrupt():
    # The cut behind a failed append is not synced. A footer written over the place
    # may reach the medium, and the cut may not: then bytes of the half frame are
    # found behind the footer. No damage, so the log must open.
    disk = SimDisk()
    cuts = PowerCuts(disk, limit=10_000)
    run = Run(disk, on_step=lambda run: cuts.collect(run.promised))
    run.put(b"a", b"first")
    run.disk.faults = {len(run.disk.trace): Fault(errno.ENOSPC, 300)}
    with pytest.raises(DiskFullError):
        run.put(b"a", value(1, 600))
    run.engine.checkpoint()
    run.close()
    assert len(cuts.images) > 200
    for image, promised in cuts.images.values():
        lsn, content = recovered(SimDisk(image))
        assert lsn >= promised
        assert content == run.states[lsn]


# Damage to what was sealed


def sealed_log() -> tuple[Image, tuple[int, Content]]:
    """Return a store of three segments, the first two of them sealed for good."""
    run = Run(SimDisk())
    for number in range(5):
        run.put(b"key%d" % number, value(number, 1500))
        run.apply(Put(b"both", b"%d" % number), Put(b"keys", b"%d" % number))
    image = after_power_cut(run.disk)
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
    run = Run(SimDisk())
    for number in range(6):
        run.put(b"key%d" % number, value(number, 40))
    image = after_power_cut(run.disk)
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
    other = Run(SimDisk())  # the same uuid, as after a restored backup
    for number in range(5):
        other.put(b"key%d" % number, value(number + 1, 1500))
        other.apply(Put(b"both", b"%d" % number), Put(b"keys", b"%d" % number))
    older = after_power_cut(other.disk)
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
    assert {action for action, _ in disk.trace} <= {"sync"}

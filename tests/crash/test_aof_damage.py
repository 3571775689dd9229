"""Damage to a base, the manifest or a sealed increment is reported or harmless."""

import logging

import pytest

from hypercache.aof import manifest as manifests
from hypercache.engines.base import Delete, Put
from hypercache.errors import CorruptionError, UnsupportedFormatError
from hypercache.paths import StorePaths
from hypercache.testing.power_cut import after_power_cut
from hypercache.testing.simulated_disk import SimDisk
from tests.support import crashstore
from tests.support.crash_runs import Run, differs, value
from tests.support.crashstore import recovered

BASE = "/store/aof/base-0000000000000002.base"
MANIFEST = "/store/aof/MANIFEST"
METAFILES = ["/store/STORE", MANIFEST]


@pytest.fixture(autouse=True)
def _small_steps():
    logging.disable(logging.CRITICAL)
    with crashstore.simulated():
        yield
    logging.disable(logging.NOTSET)


def compacted(first=0, compactions=2):
    """Return the image of a store: a base, two sealed increments, an active one."""
    run = Run(SimDisk(), "memory")
    for number in range(first, first + compactions):
        for at in range(6):
            until_ms = 2_000_000_000_000 * (at % 2)
            run.put(b"key%d" % at, value(10 * number + at, 300), until_ms)
        run.maintain()
    for number in range(2):
        run.apply(Put(b"key%d" % number, value(number, 30)), Delete(b"key5"))
        run.engine._aof.seal_active()
    run.put(b"last", b"1")
    return after_power_cut(run.disk)


def sealed_files(image):
    increments = sorted(path for path in image if path.endswith(".aof"))
    assert len(increments) == 3
    assert len(image[BASE]) > 900
    return [BASE, *increments[:2], *METAFILES]


def test_every_flipped_byte_is_reported_or_harmless():
    image = compacted()
    expected = recovered(SimDisk(image), "memory")
    silent = []
    for path in sealed_files(image):
        for at in range(len(image[path])):
            data = bytearray(image[path])
            data[at] ^= 1 << at % 8
            if differs({**image, path: bytes(data)}, expected, "memory"):
                silent.append((path, at))
    assert silent == []


def test_every_flipped_byte_of_a_base_is_found_by_a_check_and_by_a_compaction():
    image = compacted()
    disk = SimDisk(image)
    engine = crashstore.open_engine(disk, "memory")
    sound = image[BASE]
    for at in range(0, len(sound), 7):
        data = bytearray(sound)
        data[at] ^= 1 << at % 8
        disk.commit(BASE, bytes(data))
        if engine.check().ok:
            pytest.fail(f"offset {at} passed")
        engine._upkeep.damaged = False  # as if nobody had called check()
        with pytest.raises((CorruptionError, UnsupportedFormatError)):
            engine.compact()
        assert disk.read(BASE) == bytes(data)
    disk.commit(BASE, sound)
    assert engine.check().ok
    engine.compact()
    assert engine.check().ok


def test_every_truncation_is_reported():
    image = compacted()
    for path in sealed_files(image):
        for length in range(0, len(image[path]), 3):
            with pytest.raises(CorruptionError):
                recovered(SimDisk({**image, path: image[path][:length]}), "memory")


@pytest.mark.parametrize("more", [b"\0", b"\0" * 700, b"x", b"a longer piece"])
def test_bytes_behind_a_base_are_reported(more):
    image = compacted()
    with pytest.raises(CorruptionError):
        recovered(SimDisk({**image, BASE: image[BASE] + more}), "memory")


def test_missing_swapped_older_and_foreign_files_are_reported():
    image = compacted()
    other_life = compacted(first=1)  # the same uuid, as after a restored backup
    older = compacted(compactions=1)[BASE.replace("2", "1")]
    with crashstore.simulated("f" * 32):
        foreign = compacted()
    _, first, second, *_ = sealed_files(image)
    assert len({image[BASE], other_life[BASE], older, foreign[BASE]}) == 4
    damaged = {
        "base gone": {path: data for path, data in image.items() if path != BASE},
        "older base": {**image, BASE: older},
        "base of another life": {**image, BASE: other_life[BASE]},
        "base of another store": {**image, BASE: foreign[BASE]},
        "base is an increment": {**image, BASE: image[first]},
        "increment is a base": {**image, first: image[BASE]},
        "increment gone": {path: data for path, data in image.items() if path != first},
        "increments swapped": {**image, first: image[second], second: image[first]},
        "increment of another store": {**image, first: foreign[first]},
        "older manifest": {**image, MANIFEST: compacted(compactions=1)[MANIFEST]},
        "foreign manifest": {**image, MANIFEST: foreign[MANIFEST]},
        "manifest gone": {p: data for p, data in image.items() if p != MANIFEST},
        "manifest empty": {**image, MANIFEST: b""},
    }
    accepted = []
    for name, one in damaged.items():
        disk = SimDisk(one)
        try:
            recovered(disk, "memory")
        except CorruptionError:
            assert {action for action, _ in disk.trace} <= {"sync"}, (
                f"{name}: refused, but changed"
            )
            continue
        accepted.append(name)
    assert accepted == []


def test_the_blocks_of_a_base_cannot_be_dropped_doubled_or_reordered():
    image = compacted()
    base = image[BASE]
    starts, at = [], 64
    while at < len(base):
        starts.append(at)
        at += 32 + int.from_bytes(base[at + 4 : at + 8], "little")
    blocks = [base[a:b] for a, b in zip(starts, [*starts[1:], len(base)], strict=True)]
    *blocks, footer = blocks
    assert len(blocks) > 2
    first, second, *rest = blocks
    expected = recovered(SimDisk(image), "memory")
    for others in (
        [second, *rest],
        [first, first, second, *rest],
        [second, first, *rest],
        [first, *rest],
        [first, second],
        [],
    ):
        data = base[:64] + b"".join(others) + footer
        with pytest.raises(CorruptionError):
            recovered(SimDisk({**image, BASE: data}), "memory")
    assert not differs(image, expected, "memory")


@pytest.mark.parametrize(
    "changes",
    [
        {"entry_count": 99},
        {"length_bytes": 99},
        {"digest": 99},
        {"lsn": 99},
        {"lsn": 1},
        {"number": 1},
        {"number": 3},
    ],
    ids=str,
)
def test_a_manifest_that_says_something_else_of_the_base_is_reported(changes):
    image = compacted()
    disk = SimDisk(image)
    paths = StorePaths("/store")
    fields = manifests.load(disk, paths)
    base = {name: getattr(fields.base, name) for name in fields.base.__slots__}
    wrong = manifests.BaseFacts(**{**base, **changes})
    manifests.store(
        disk, paths, manifests.Manifest(wrong, *list(_fields_behind_base(fields)))
    )
    steps = len(disk.trace)
    with pytest.raises(CorruptionError):
        recovered(disk, "memory")
    assert {action for action, _ in disk.trace[steps:]} <= {"sync"}


def _fields_behind_base(fields):
    return (getattr(fields, name) for name in fields.__slots__ if name != "base")

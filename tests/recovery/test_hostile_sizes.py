"""Hostile sizes take no memory: sparse files, forged lengths, blocks that are bombs."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from hypercache.aof import manifest
from hypercache.aof.base import BaseWriter
from hypercache.aof.manifest import Manifest
from hypercache.paths import StorePaths
from hypercache.storage import OsStorage
from tests.recovery.stores import build, build_lmdb
from tests.support.processes import run_python

# More than may be held, and no more, because every byte is read.
SPARSE_BYTES = 300 << 20
MOST_BYTES = 200 << 20
RECOVER = """
import os, resource, sys
sys.frozen = True  # no helper processes
limit = int(sys.argv[3])
from hypercache import recovery
from hypercache.storage import OsStorage
recovery.examine(OsStorage(), sys.argv[1])
report = recovery.salvage(OsStorage(), sys.argv[1], sys.argv[2])
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        assert int(line.split()[1]) * 1024 < limit, line
print(report.entry_count, report.verdict)
"""


def recover(store: Path) -> tuple[int, str]:
    output = store.with_name("output")
    count, verdict = run_python(RECOVER, store, output, MOST_BYTES).split()
    return int(count), verdict


def garbage_far_behind(store: Path) -> None:
    log = build(store, "memory", 50, killed=False).log
    with log.open("r+b") as file:
        file.seek(SPARSE_BYTES)
        file.write(b"garbage")


def forged_lengths(store: Path) -> None:
    built = build(store, "memory", 50, killed=False)
    with built.log.open("r+b") as file:
        for record in built.records[:10]:
            file.seek(record.start + 4)
            file.write(struct.pack("<I", SPARSE_BYTES - (1 << 20)))
        file.truncate(SPARSE_BYTES)


def bombs(store: Path) -> None:
    build(store, "memory", 5, killed=False)
    storage, paths = OsStorage(), StorePaths(str(store))
    uuid = json.loads((store / "STORE").read_text().splitlines()[0])["uuid"]
    compress = zstandard.ZstdCompressor(level=1).compress
    file = storage.create(paths.bases.segment(1), mapped=False)
    writer = BaseWriter(file, bytes.fromhex(uuid), 1, 100)
    writer.add(b"good", b"value")
    writer.flush()
    for head in (b"", b"\x82\xc4\x01k\xc6\x18\x00\x00\x00", b"\xdf\xff\xff\xff\xff"):
        writer.add_block(compress(head + bytes(400 << 20)), 1)
    facts = writer.finish()
    file.close()
    manifest.store(storage, paths, Manifest(facts, 2, 1, 101, True))


def sparse_pages(store: Path) -> None:
    build_lmdb(store, 60)
    data = store / "lmdb" / "data.mdb"
    with data.open("r+b") as file:
        file.seek(4096 + 8)
        file.write(b"\xff" * 100)
        file.truncate(SPARSE_BYTES)


@pytest.mark.parametrize(
    ("make", "least", "verdict"),
    [
        (garbage_far_behind, 10, "repairable"),
        (forged_lengths, 10, "damaged"),
        (bombs, 1, "damaged"),
        (sparse_pages, 10, "repairable"),
    ],
    ids=["garbage", "lengths", "bombs", "pages"],
)
def test_hostile_sizes_take_less_than_200_mb(
    tmp_path: Path, make: Callable[[Path], None], least: int, verdict: str
):
    store = tmp_path / "store"
    make(store)
    count, found = recover(store)
    assert count >= least
    assert found == verdict

"""Stores with known contents, and what a recovery can read of them."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hypercache import Cache, ops, recovery
from hypercache.engines import open_engine
from hypercache.ops import Clear, Delete, Put
from hypercache.options import Options
from hypercache.recovery import snapshots, sources
from hypercache.recovery.entries import Entries
from hypercache.recovery.findings import Finding, Loss, worst_loss
from hypercache.recovery.lmdb_file import LmdbFile, metas_of
from hypercache.segment import SegmentReader
from hypercache.storage import OsStorage

STORAGE = OsStorage()
LOGS = {"memory": "aof", "hybrid": "wal"}
EVERY_BYTE = bool(os.environ.get("HYPERCACHE_EVERY_BYTE"))

Contents = dict[bytes, tuple[bytes, int]]


class Record(NamedTuple):
    """A frame of one op."""

    start: int
    end: int
    lsn: int
    op: ops.Op


@dataclass
class Built:
    """A store, its log, and what each of its records is."""

    path: Path
    engine: str
    log: Path
    records: list[Record]

    def without(self, *lsns: int) -> Contents:
        return replayed(
            (rec.lsn, rec.op) for rec in self.records if rec.lsn not in lsns
        )

    def covering(self, offset: int) -> Record | None:
        found = (rec for rec in self.records if rec.start <= offset < rec.end)
        return next(found, None)


class Read(NamedTuple):
    """What a recovery makes of a store, without writing it."""

    contents: Contents
    findings: list[Finding]
    loss: Loss
    lsn: int


def build(path: Path, engine: str, count: int, *, killed: bool, seed: int = 1) -> Built:
    """Write so many records; `killed` leaves the log as a kill would."""
    live = path.with_name(f"{path.name}-live")
    rng = random.Random(seed)
    with Cache(live, engine=engine, serializer="bytes", sync="always") as cache:
        for _ in range(count):
            _write_one(cache, rng, count)
        if killed:
            shutil.copytree(live, path)
    if not killed:
        shutil.copytree(live, path)
    shutil.rmtree(live)
    return described(path, engine)


def described(path: Path, engine: str) -> Built:
    suffix = LOGS.get(engine, "lmdb")
    log = path / suffix / f"{1:016d}.{suffix}"
    data = log.read_bytes() if log.exists() else b""
    frames = SegmentReader(data, str(log)) if data else ()
    records = [
        Record(frame.offset, frame.end, frame.lsn, ops.decode(frame.payload, 1)[0])
        for frame in frames
    ]
    return Built(path, engine, log, records)


def build_lmdb(
    path: Path, count: int, seed: int = 1, engine: str = "persistent"
) -> None:
    """Write a store with overflow values, long keys, deleted and replaced entries."""
    live = path.with_name(f"{path.name}-live")
    rng = random.Random(seed)
    with Cache(live, engine=engine, serializer="bytes") as cache:
        for _ in range(6):
            with cache.transaction() as batch:
                for _ in range(count // 4):
                    _write_any(batch, rng, count)
    shutil.copytree(live, path)
    shutil.rmtree(live)


def leaf_pages(data: Path) -> list[int]:
    """Return the numbers of the pages that hold the entries, in order of the keys."""
    with STORAGE.open_read(str(data)) as opened:
        [meta, *_] = metas_of(opened)
        file = LmdbFile(opened, meta.page_bytes)
        found = snapshots.open_snapshot(file, meta.main.root, meta.txn)
        numbers = [leaf.number for leaf, _, _ in snapshots.entries(file, found)]
    return list(dict.fromkeys(numbers))


def replayed(items: Iterable[tuple[int, ops.Op]]) -> Contents:
    found: Contents = {}
    for _, op in items:
        if isinstance(op, Put):
            found[op.key] = op.value, op.expires_at_ms
        elif isinstance(op, Clear):
            found.clear()
        elif isinstance(op, Delete):
            found.pop(op.key, None)
        elif op.key in found:
            found[op.key] = found[op.key][0], op.expires_at_ms
    return found


def contents(path: Path, engine: str) -> Contents:
    """Return what the engine itself reads."""
    options = Options.resolve(engine=engine, read_only=True)
    opened = open_engine(str(path), engine=engine, options=options)
    try:
        return {key: tuple(entry) for key, entry in opened.scan()}
    finally:
        opened.close()


def read(path: Path) -> Read:
    """Go through a recovery up to the point where it would write."""
    source = sources.load(STORAGE, str(path), int)
    bad: list[Finding] = []
    entries = Entries(source.items(int, bad))
    puts = [put for _, put in entries.among(source.items(int, []))]
    found = [*source.findings, *bad]
    held = {put.key: (put.value, put.expires_at_ms) for put in puts}
    return Read(held, found, worst_loss(found), source.next_lsn - 1)


def salvage(path: Path, output: Path) -> recovery.LossReport:
    return recovery.salvage(STORAGE, str(path), str(output))


def examine(path: Path) -> recovery.Examination:
    return recovery.examine(STORAGE, str(path))


def _write_one(cache: Cache, rng: random.Random, count: int) -> None:
    key, choice = f"key{rng.randrange(count // 2)}".encode(), rng.random()
    if choice < 0.8:
        cache.set(key, rng.randbytes(rng.randrange(60)))
    elif choice < 0.9:
        cache.set(key, b"expires", ttl=1e6)
    elif not cache.delete(key):
        cache.set(key, b"new")


def _write_any(cache: Cache, rng: random.Random, count: int) -> None:
    key, choice = f"key{rng.randrange(count):05d}".encode(), rng.random()
    if choice < 0.7:
        cache.set(key, rng.randbytes(rng.randrange(60)))
    elif choice < 0.75:
        cache.set(key, rng.randbytes(rng.randrange(3000, 9000)))
    elif choice < 0.9:
        cache.delete(key)
    else:
        cache.set(key + b"L" * 600, b"expires", ttl=1e6)


@contextlib.contextmanager
def flipped(path: Path, offset: int, mask: int = 0x5A) -> Iterator[None]:
    """Change one byte while the block runs, and nothing of the file's times."""
    before = path.stat()
    with path.open("r+b", buffering=0) as file:
        file.seek(offset)
        byte = file.read(1)
        try:
            file.seek(offset)
            file.write(bytes([byte[0] ^ mask]))
            yield
        finally:
            file.seek(offset)
            file.write(byte)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

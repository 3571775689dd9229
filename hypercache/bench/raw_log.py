"""The floor of a synced write: what a log can do at best that syncs each one."""

from __future__ import annotations

import os
from pathlib import Path

from hypercache.bench.stores import Durability, Store, Subject

# What one set of ours takes in the log: header, op, key and value.
FRAME_BYTES = 160
PREALLOCATED_BYTES = 16 << 20


def _open(path: Path, _count: int) -> Store:
    file = os.open(path / "raw", os.O_RDWR | os.O_CREAT, 0o600)
    os.write(file, bytes(PREALLOCATED_BYTES))
    os.fsync(file)
    os.lseek(file, 0, os.SEEK_SET)
    frame = bytes(range(FRAME_BYTES))

    def put(_key: bytes, _value: bytes) -> None:
        os.write(file, frame)
        os.fdatasync(file)

    return Store(put, lambda _key: None, lambda: os.close(file))


SUBJECT = Subject(
    "raw write + fdatasync",
    Durability.SYNCED,
    "one file, written with zeros before",
    _open,
)

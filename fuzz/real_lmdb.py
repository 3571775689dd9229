"""Stores with a real LMDB file, whose pages have no checksums of their own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from hypercache.engines import open_engine
from hypercache.engines.base import Entry
from hypercache.options import Options


class LmdbStore(NamedTuple):
    """The files of a store at two moments, and all entries it ever had."""

    files: dict[str, bytes]
    older: dict[str, bytes]
    entries: set[tuple[bytes, Entry]]


def made(engine: str) -> LmdbStore:
    """Write a store of a few pages, with branches and values on pages of their own."""
    entries: set[tuple[bytes, Entry]] = set()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "store"
        older: dict[str, bytes] = {}
        for life in range(2):
            options = Options.resolve(engine=engine, maintenance="inline")
            running = open_engine(str(root), engine=engine, options=options)
            for number in range(0, 60, 1 + life):
                entry = Entry(b"%d" % life * (30 + number), number % 2 * (1 << 43))
                running.put(b"key%04d" % number, *entry)
                entries.add((b"key%04d" % number, entry))
            large = Entry(b"%d large" % life * 900)
            running.put(b"large" * 140, *large)
            entries.add((b"large" * 140, large))
            running.close()
            older, files = (older or _files(root)), _files(root)
    return LmdbStore(files, older, entries)


def _files(root: Path) -> dict[str, bytes]:
    names = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    known = [name for name in names if name.name not in ("LOCK", "lock.mdb", "TURN")]
    return {str(name): (root / name).read_bytes() for name in sorted(known)}

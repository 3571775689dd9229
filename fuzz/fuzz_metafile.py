"""Invariant: a metafile is sound fields or CorruptionError; memory bounded.

UnsupportedFormatError for a STORE of another format. Sound are fields that everybody
can use without looking at them again, whatever JSON the checksum is right for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json

from fuzz import seal
from fuzz.feed import Feed
from hypercache.aof import manifest
from hypercache.aof.manifest import BaseFacts, Manifest
from hypercache.engines import identity
from hypercache.engines.identity import Identity
from hypercache.errors import CorruptionError, UnsupportedFormatError
from hypercache.inspection import layout
from hypercache.inspection.layout import Kind
from hypercache.log_reader import Extent
from hypercache.paths import StorePaths
from hypercache.testing.simulated_disk import SimDisk
from hypercache.wal import checkpoint
from hypercache.wal.checkpoint import Marker

_PATHS = StorePaths("/store")
_FILES = (_PATHS.store, _PATHS.checkpoint, _PATHS.manifest)


def check(data: bytes) -> None:
    """Read one metafile, as it is or with its checksum made right."""
    feed = Feed(data)
    mode = feed.number()
    path, content = _FILES[mode % 3], feed.rest()
    if mode % 16 < 12:
        content = seal.metafile(content)
    image = {"/store": None, _PATHS.wal: None, _PATHS.aof: None, path: content}
    disk = SimDisk(image)
    for kind in Kind:
        layout.load(disk, _PATHS, kind)
    with contextlib.suppress(CorruptionError, UnsupportedFormatError):
        _load(disk, path)


def _load(disk: SimDisk, path: str) -> None:
    if path == _PATHS.store:
        found = identity.load_identity(disk, _PATHS)
        assert found is not None
        assert len(found.uuid_bytes) == 16
        texts = (found.engine, found.state, found.serializer or "")
        assert all(type(text) is str for text in texts)
    elif path == _PATHS.checkpoint:
        marker = checkpoint.load(disk, _PATHS)
        _check_numbers(marker.lmdb_txn, marker.lmdb_size_bytes)
        _check_extent(marker.extent)
    else:
        loaded = manifest.load(disk, _PATHS)
        if loaded.base is not None:
            _check_numbers(*dataclasses.astuple(loaded.base))
            _PATHS.bases.segment(loaded.next_base)
        _check_extent(loaded.extent)


def _check_numbers(*values: object) -> None:
    for value in values:
        assert type(value) is bool or (type(value) is int and 0 <= value < 1 << 64)


def _check_extent(extent: Extent) -> None:
    _check_numbers(*dataclasses.astuple(extent))
    assert type(extent.clean) is bool
    assert 1 <= extent.first_segment <= extent.active_segment + 1
    assert 1 <= extent.next_lsn < 1 << 63
    _PATHS.wal_log.segment(extent.active_segment + 1)


def seeds() -> dict[str, bytes]:
    """Return metafiles as they are written, and hostile JSON."""
    store = Identity("hybrid", "00ff" * 8, "ready", "msgpack")
    marker = Marker(7, 2, 3, 40, clean=False, lmdb_txn=9)
    base = Manifest(BaseFacts(2, 70, 5, 4000, 1 << 63), 3, 4, 80, clean=True)
    sound = [dataclasses.asdict(each) for each in (store, marker, base)]
    found: dict[str, bytes] = {}
    for index, name in enumerate(("store", "checkpoint", "manifest")):
        line = json.dumps(sound[index], sort_keys=True).encode()
        hostile = {
            "sound": line,
            "empty": b"{}",
            "texts": json.dumps(dict.fromkeys(sound[index], "7")).encode(),
            "nulls": json.dumps(dict.fromkeys(sound[index])).encode(),
            "deep": b'{"base":' + b"[" * 1500,
            "huge": line.replace(b"7", b"9" * 400),
            "negative": line.replace(b": 3", b": -3").replace(b": 2", b": -2"),
        }
        found |= {
            f"{name}-{what}": bytes([index]) + seal.metafile(text)
            for what, text in hostile.items()
        }
    return found | {"no-json": b"\x0c{", "wrong-sum": b"\x0c{}\n00000000\n"}

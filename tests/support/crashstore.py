"""A store on a simulated disk, with a stand-in for LMDB that commits atomically.

`install` puts the stand-in in the place of LMDB. Everything else that runs is the real
code: creation, log, group commit, checkpoints, compactions, recovery.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import msgpack
import pytest

from hypercache.aof import base, compact
from hypercache.engines import lmdb_walk, opening
from hypercache.engines.base import Entry, changed_entry
from hypercache.engines.durable_memory import DurableMemoryEngine
from hypercache.engines.envelope import Stored
from hypercache.engines.hybrid import HybridEngine
from hypercache.engines.lmdb_store import StoreState
from hypercache.ops import KeyOp
from hypercache.options import Options
from tests.support.clock import FakeClock
from tests.support.simdisk import SimDisk

ROOT = "/store"
UUID = "0123456789abcdef" * 2
Content = dict[bytes, Entry]
Engine = HybridEngine | DurableMemoryEngine
ENGINES: dict[str, type[Engine]] = {
    "hybrid": HybridEngine,
    "memory": DurableMemoryEngine,
}


class SimStore:
    """Do what LmdbStore does, on one file of a SimDisk that changes at once."""

    def __init__(
        self, storage: SimDisk, path: str, map_bytes: int, *, create: bool
    ) -> None:
        self._disk, self._path = storage, f"{path}/data.mdb"
        self._txn, self._lsn = 0, 0
        self._entries: dict[bytes, tuple[bytes, int, int]] = {}
        if create:
            storage.create(self._path, mapped=False).close()
            self._commit()
        else:
            self._txn, self._lsn, self._entries = msgpack.unpackb(
                storage.read(self._path), use_list=False
            )

    def get(self, key: bytes) -> Stored | None:
        return Stored(key, *self._entries[key]) if key in self._entries else None

    def scan_step(
        self, start: bytes | None, stop: bytes | None, reverse: bool
    ) -> tuple[list[Stored], bool]:
        assert (start, stop, reverse) == (None, None, False)
        return [
            Stored(key, *self._entries[key]) for key in sorted(self._entries)
        ], False

    def state(self) -> StoreState:
        expiring = sum(entry[1] > 0 for entry in self._entries.values())
        return StoreState(self._lsn, len(self._entries), 0, expiring)

    def count_and_present(self, keys: Iterable[bytes]) -> tuple[StoreState, int]:
        return self.state(), sum(key in self._entries for key in keys)

    def fold(self, ops: Sequence[tuple[int, KeyOp]], reached_lsn: int | None) -> None:
        for lsn, op in ops:
            known = self._entries.get(op.key)
            entry = changed_entry(Entry(*known[:2]) if known else None, op)
            if entry is None:
                self._entries.pop(op.key, None)
            else:
                self._entries[op.key] = (*entry, lsn)
        if reached_lsn is not None:
            self._lsn = reached_lsn
        self._commit()

    def clear(self, reached_lsn: int) -> None:
        self._entries, self._lsn = {}, reached_lsn
        self._commit()

    def transaction_id(self) -> int:
        return self._txn

    def missing_bytes(self) -> int:
        return 0

    def close(self) -> None:
        pass

    def _commit(self) -> None:
        self._txn += 1
        data = msgpack.packb((self._txn, self._lsn, self._entries))
        self._disk.commit(self._path, data)


def install(monkeypatch: pytest.MonkeyPatch, uuid: str = UUID) -> None:
    """Let the engine open SimStore where it would open LMDB, and know all uuids."""
    monkeypatch.setattr(os, "urandom", lambda count: bytes.fromhex(uuid)[:count])
    monkeypatch.setattr(opening, "LmdbStore", SimStore)
    monkeypatch.setattr(lmdb_walk, "verify", lambda *_: [])


def install_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a compaction of a few entries have many blocks, and pause many times."""
    monkeypatch.setattr(base, "BLOCK_BYTES", 500)
    monkeypatch.setattr(compact, "_STEP_COUNT", 3)


def open_engine(
    disk: SimDisk,
    engine: str = "hybrid",
    clock: FakeClock | None = None,
    **changes: Any,
) -> Any:
    """Open the store on this disk; small segments, no threads, always synced."""
    given: dict[str, Any] = {
        "sync": "always",
        "log_io": "write",
        "segment_bytes": 4096,
        "checkpoint_bytes": 1 << 30,
        "fold_batch": 3,
        "maintenance": "inline",
    }
    options = Options.resolve(**{**given, **changes})
    kind = ENGINES[engine]
    return kind(ROOT, options, storage=disk, clock=clock or FakeClock())


def recovered(disk: SimDisk, engine: str = "hybrid") -> tuple[int, Content]:
    """Open the store, and return the LSN it has reached and everything in it."""
    opened = open_engine(disk, engine)
    return opened.apply([]), dict(opened.scan())

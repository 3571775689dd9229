"""Engines on a simulated disk, small enough that every step of one can be looked at."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

from hypercache import tags
from hypercache.aof import base, compact
from hypercache.engines import backup
from hypercache.engines.base import Entry
from hypercache.engines.durable_memory import DurableMemoryEngine
from hypercache.engines.hybrid import HybridEngine
from hypercache.group_commit import GroupCommit
from hypercache.options import Options
from hypercache.testing import simulated_lmdb
from hypercache.testing.clock import FakeClock
from hypercache.testing.simulated_disk import SimDisk

ROOT = "/store"
COPY = "/copies/copy"
UUID = "0123456789abcdef" * 2
Content = dict[bytes, Entry]
Engine = HybridEngine | DurableMemoryEngine
ENGINES: dict[str, type[Engine]] = {
    "hybrid": HybridEngine,
    "memory": DurableMemoryEngine,
}


_draws = [0]


def draw_again() -> None:
    """Begin the names of partial copies from the start, as a run does."""
    _draws[0] = 0


def _drawn(size: int) -> bytes:
    _draws[0] += 1
    return _draws[0].to_bytes(size, "big")


@contextlib.contextmanager
def small_steps() -> Iterator[None]:
    """Let a compaction of a few entries have many blocks, and pause many times."""
    with (
        mock.patch.object(base, "BLOCK_BYTES", 500),
        mock.patch.object(compact, "_STEP_COUNT", 3),
    ):
        yield


@contextlib.contextmanager
def simulated(uuid: str = UUID) -> Iterator[None]:
    """Put the stand-in in the place of LMDB, with small steps, and know all uuids.

    There is no thread beside the test: it takes the turns of the flusher itself.
    """
    known_os = SimpleNamespace(
        path=os.path,
        sep=os.sep,
        getpid=lambda: 1,
        urandom=_drawn,
    )
    with (
        simulated_lmdb.installed(lambda _: bytes.fromhex(uuid)),
        small_steps(),
        mock.patch.object(backup, "os", known_os),
        mock.patch.object(tags, "os", known_os),
        mock.patch.object(
            GroupCommit, "_start_flusher", lambda commit: commit.state.flusher_started()
        ),
    ):
        yield


def open_engine(
    disk: SimDisk,
    engine: str = "hybrid",
    clock: FakeClock | None = None,
    *,
    root: str = ROOT,
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
    return kind(root, options, storage=disk, clock=clock or FakeClock())


def recovered(disk: SimDisk, engine: str = "hybrid") -> tuple[int, Content]:
    """Open the store, and return the LSN it has reached and everything in it."""
    opened = open_engine(disk, engine)
    return opened.apply([]), dict(opened.scan())

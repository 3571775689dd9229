"""The table of engines that every conformance test runs over.

A new engine joins with one line in ENGINES. The hybrid lines differ in how frames
reach the log, in whether helper processes can be started, and in the sync policy:
`always` publishes a write only when it is durable, which is another path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hypercache import Cache
from hypercache.engines import (
    DurableMemoryEngine,
    HybridEngine,
    MemoryEngine,
    PersistentEngine,
    StorageEngine,
)
from hypercache.options import Options
from hypercache.storage import Clock

# So small that a handful of writes rolls segments, makes checkpoints of several
# transactions, grows the LMDB map and overflows the read cache.
TINY: dict[str, Any] = {
    "segment_bytes": 4096,
    "checkpoint_bytes": 8192,
    "map_bytes": 65536,
    "compact_min_bytes": 8192,
    "fold_batch": 7,
    "memory_bytes": 3000,
}

MMAP = {"log_io": "mmap", "maintenance": "inline"}
WRITE = {
    "log_io": "write",
    "sync": "always",
    "maintenance": "process",
    "checkpoint_bytes": 32768,  # starting a helper takes a while
    "compact_min_bytes": 32768,
}

LMDB = {"sync": "always", "allow_unsafe_sync": True}

OpenEngine = Callable[..., StorageEngine]
OpenCache = Callable[..., Cache]


def tiny_options(**changes: Any) -> Options:
    return Options.resolve(**{**TINY, **changes})


def _memory(path: str, options: Options, clock: Clock | None) -> StorageEngine:
    return MemoryEngine(clock=clock)


def _durable_memory(path: str, options: Options, clock: Clock | None) -> StorageEngine:
    return DurableMemoryEngine(path, options, clock=clock)


def _persistent(path: str, options: Options, clock: Clock | None) -> StorageEngine:
    return PersistentEngine(path, options, clock=clock)


def _hybrid(path: str, options: Options, clock: Clock | None) -> StorageEngine:
    return HybridEngine(path, options, clock=clock)


@dataclass(frozen=True)
class EngineCase:
    name: str
    factory: Callable[[str, Options, Clock | None], StorageEngine]
    durable: bool = True
    helpers: bool = True  # False: as in a frozen application, which can start none
    settings: dict[str, Any] = field(default_factory=dict)
    # As in hypercache.testing.engine_conformance: what the suite may expect.
    plain_after: tuple[str, ...] = ("sync", "checkpoint", "close")
    has_backup: bool = True
    policies: tuple[str, ...] = ("always", "everysec", "no")

    def open_engine(
        self, path: Path, clock: Clock | None = None, **changes: Any
    ) -> StorageEngine:
        if changes.get("sync", "always") not in self.policies:
            pytest.skip(f"{self.name} has no sync={changes['sync']!r}")
        options = tiny_options(**{**self.settings, **changes})
        return self.factory(str(path), options, clock)

    def open_cache(self, path: Path, **changes: Any) -> Cache:
        return Cache(**self.arguments(path, **changes))

    def arguments(self, path: Path, **changes: Any) -> dict[str, Any]:
        found = {"engine": self.name.partition("-")[0], **changes}
        return (
            {"path": path, **TINY, **self.settings, **found} if self.durable else found
        )


ENGINES = (
    EngineCase("memory", _memory, durable=False, has_backup=False),
    EngineCase("memory-mmap", _durable_memory, helpers=False, settings=MMAP),
    EngineCase("memory-write", _durable_memory, settings=WRITE),
    EngineCase("hybrid-mmap", _hybrid, helpers=False, settings=MMAP),
    EngineCase("hybrid-write", _hybrid, settings=WRITE),
    EngineCase("persistent", _persistent, settings=LMDB, policies=("always", "no")),
)
DURABLE = tuple(case for case in ENGINES if case.durable)
VOLATILE = tuple(case for case in ENGINES if not case.durable)


def case_name(case: EngineCase) -> str:
    return case.name


# On a test, a class or a module: only the engines that keep something, or nothing.
durable_engines = pytest.mark.parametrize(
    "engine_case", DURABLE, ids=case_name, indirect=True
)
volatile_engines = pytest.mark.parametrize(
    "engine_case", VOLATILE, ids=case_name, indirect=True
)
# Where what is tested lies above the engines, and one of each kind will do.
_KINDS = ("memory", "hybrid-write", "persistent")
kinds_of_engine = pytest.mark.parametrize(
    "engine_case",
    [case for case in ENGINES if case.name in _KINDS],
    ids=case_name,
    indirect=True,
)
hybrid_engines = pytest.mark.parametrize(
    "engine_case",
    [case for case in DURABLE if case.name.startswith("hybrid")],
    ids=case_name,
    indirect=True,
)


def cache_over(engine: StorageEngine, **arguments: Any) -> Cache:
    """Return a Cache over an engine built by hand, with a clock of the test's own."""
    cache = Cache(**arguments)
    cache._engine.close()
    cache._serve(engine)
    return cache

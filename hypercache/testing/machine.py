"""A simulated machine that a test can crash: a disk, a clock, and the caches on it.

While it is installed, every Cache of this process that has a path lives on its disk and
goes by its clock. There are no threads, and nothing depends on real time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Callable, Iterator
from unittest import mock

from hypercache import cache as cache_module
from hypercache import stored_namespaces
from hypercache.engines import StorageEngine, open_engine
from hypercache.engines.durable_memory import DurableMemoryEngine
from hypercache.engines.hybrid import HybridEngine
from hypercache.engines.memory_reader import MemoryReader
from hypercache.errors import ConfigError, HyperCacheError, StorageFailedError
from hypercache.group_commit import FLUSH_EVERY_S, GroupCommit
from hypercache.options import LogIO, Maintenance, Options
from hypercache.testing import simulated_lmdb
from hypercache.testing.clock import FakeClock
from hypercache.testing.power_cut import after_power_cut
from hypercache.testing.simulated_disk import SimDisk

_Opens = Callable[..., StorageEngine]
_WRITERS: dict[str, _Opens] = {"hybrid": HybridEngine, "memory": DurableMemoryEngine}
_READERS: dict[str, _Opens] = {"memory": MemoryReader}
# Of uuids: what is distinct on a disk, and so the name of a power cut, hangs on each
# byte of a checksum over them.
_SEED = 0


class Machine:
    """Run caches on a simulated disk, and crash them.

    `disk` has the files, `clock` the time. A crash ends every cache that is open: its
    handle raises ClosedError from then on, and the next open recovers the store.
    """

    def __init__(self) -> None:
        self.disk, self.clock = SimDisk(), FakeClock()
        self._opened: list[StorageEngine] = []
        self._flush_at: dict[GroupCommit, float] = {}
        self._rng = random.Random(_SEED)  # noqa: S311

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Let every Cache with a path live here while the block runs."""
        with (
            simulated_lmdb.installed(self._rng.randbytes),
            mock.patch.object(cache_module, "open_engine", self._open),
            mock.patch.object(stored_namespaces, "OsStorage", self._storage),
            mock.patch.object(GroupCommit, "_start_flusher", self._flush_by_clock()),
        ):
            try:
                yield
            finally:
                self._end_all()

    def power_cut(self, seed: int | None = None) -> None:
        """Cut the power now: what was not synced is gone.

        With a seed some of it has reached the disk after all, as the seed chooses
        among everything that a disk may do with unsynced writes.
        """
        self.restart_with(SimDisk(after_power_cut(self.disk, seed)))

    def kill(self) -> None:
        """Kill the process now: the operating system keeps all that was written."""
        self.restart_with(self.disk.detached())

    def restart_with(self, disk: SimDisk) -> None:
        """Go on with another disk; every cache that is open has died."""
        # The old disk is nobody's by now, so whatever a close still writes is lost.
        self.disk.on_step = None
        self._end_all()
        self.disk = disk
        self._rng.seed(_SEED)

    def advance(self, seconds: float) -> None:
        """Let time pass: entries expire, and "everysec" syncs what it must."""
        end = self.clock.monotonic() + seconds
        while (moment := min(self._flush_at.values(), default=end)) < end:
            self.clock.advance(moment - self.clock.monotonic())
            for commit in [c for c, at in self._flush_at.items() if at == moment]:
                self._flush_at[commit] = moment + FLUSH_EVERY_S
                with contextlib.suppress(StorageFailedError):  # every write says so
                    commit.flush()
        self.clock.advance(end - self.clock.monotonic())

    def _open(
        self,
        path: str | None = None,
        *,
        engine: str | None = None,
        options: Options | None = None,
    ) -> StorageEngine:
        if path is None:
            return open_engine(path, engine=engine, options=options)
        name = engine or "hybrid"
        chosen = dataclasses.replace(
            options or Options.resolve(engine=name),
            maintenance=Maintenance.INLINE,
            log_io=LogIO.WRITE,
        )
        kinds = _READERS if chosen.read_only else _WRITERS
        if name not in kinds:
            raise ConfigError(
                f"a simulated machine has no engine {name!r} with read_only="
                f"{chosen.read_only}; test it on a real directory, with run_killed"
            )
        kind = kinds[name]
        opened = kind(path, chosen, storage=self.disk, clock=self.clock)
        self._opened.append(opened)
        return opened

    def _storage(self) -> SimDisk:
        return self.disk  # of this moment: a crash leaves another

    def _flush_by_clock(self) -> Callable[[GroupCommit], None]:
        def start(commit: GroupCommit) -> None:
            self._flush_at[commit] = self.clock.monotonic() + FLUSH_EVERY_S
            commit.state.flusher_started()

        return start

    def _end_all(self) -> None:
        opened, self._opened = self._opened, []
        self._flush_at.clear()
        for engine in reversed(opened):
            with contextlib.suppress(HyperCacheError):
                engine.close()

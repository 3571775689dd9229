"""Drive an engine on a simulated disk, and keep what must be found after a crash.

`Run` has the exact history: everything that must be there at each LSN at which a batch
ends, and the LSN that is promised at each moment, by the policy and the clock.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from hypercache import recovery
from hypercache.engines import backup_helper
from hypercache.engines.base import Entry, KeyOp, Put, Touch, changed_entry
from hypercache.errors import CorruptionError, StorageError, UnsupportedFormatError
from hypercache.group_commit import FLUSH_EVERY_S, STALL_AFTER_S
from hypercache.options import SyncPolicy
from hypercache.testing.clock import FakeClock
from hypercache.testing.disk_state import Inode, Node, tree_of
from hypercache.testing.power_cut import after_power_cut
from hypercache.testing.simulated_disk import Image, SimDisk
from tests.support.crashstore import (
    COPY,
    ROOT,
    Content,
    draw_again,
    open_engine,
    recovered,
)

LOSS_S = 1.0  # what "everysec" may lose, a running sync not counted


class Run:
    """Drive one engine, keep its history, and tell `on_step` of every step.

    `states` has what must be found at each LSN at which a batch ends, before anything
    has expired: whoever recovers an image has a clock that stands at the beginning.
    `promised` is the LSN that must survive a power cut now.
    """

    def __init__(
        self,
        disk: SimDisk,
        engine: str = "hybrid",
        *,
        on_step: Callable[[Run], None] | None = None,
        seed: object = 0,
        **changes: Any,
    ) -> None:
        self.disk, self.name, self.changes = disk, engine, changes
        self.clock, self.rng = FakeClock(), random.Random(str(seed))
        self.states: dict[int, Content] = {0: {}}
        self.last = self.promised = 0
        self.copies: dict[str, int | None] = {}
        self.engine: Any = None
        self._acknowledged_at: list[tuple[float, int]] = []
        self._flush_at = self._sync_began = self._sync_ended = self._sync_took = 0.0
        self._target: int | None = None
        self._on_step = on_step
        disk.on_step = self.step
        draw_again()
        self.open()

    # The life of the engine

    def open(self) -> None:
        self.engine = None
        self._flush_at, self._target = self.clock.monotonic() + FLUSH_EVERY_S, None
        self.engine = open_engine(self.disk, self.name, self.clock, **self.changes)
        found = self.engine._log.appended_lsn()
        assert found in self.states, f"LSN {found} was never written"
        assert found >= self.promised, f"LSN {self.promised} was promised"
        self.last = found
        self._forget_behind(found)

    def close(self) -> None:
        self.engine.close()

    def reopen(self) -> None:
        self.close()
        self.open()

    def cut(self) -> None:
        """Cut the power, and start the machine again: all or a part is lost."""
        left = after_power_cut(self.disk, self.rng.choice([None, 1, 2, 3]))
        self.disk.root = tree_of(left)
        self.kill()

    def kill(self) -> None:
        """Let the process die, not the machine, and start the next one."""
        self.disk.let_go()
        self.open()

    @property
    def policy(self) -> SyncPolicy:
        return self.engine._state.policy

    # Writes

    def put(self, key: bytes, value: bytes, expires_at_ms: int = 0) -> None:
        put = Put(key, value, expires_at_ms)
        self.do([put], lambda: self.engine.put(*put))

    def apply(self, *batch: KeyOp) -> None:
        self.do(batch, lambda: self.engine.apply(batch))

    def clear(self) -> None:
        self.note(self.last + 1, {})
        self._write(self.last + 1, self.engine.clear)

    def do(self, batch: Sequence[KeyOp], write: Callable[[], int]) -> None:
        lsn = self.expect(batch)
        self._write(lsn, write)

    def expect(self, batch: Sequence[KeyOp]) -> int:
        """Note what a batch will make of the content; return its LSN."""
        content, lsn = dict(self.states[self.last]), self.last
        for op in batch:
            if isinstance(op, Touch) and not self._is_live(content.get(op.key)):
                continue
            entry, lsn = changed_entry(content.get(op.key), op), lsn + 1
            content.pop(op.key, None)
            if entry is not None:
                content[op.key] = entry
        self.note(lsn, content)
        return lsn

    def note(self, lsn: int, content: Content) -> None:
        if lsn > self.last and lsn in self.states:
            self._forget_behind(self.last)  # another try at an LSN that was refused
        self.states[lsn] = content

    def acknowledged(self, lsn: int) -> None:
        self._acknowledged_at.append((self.clock.monotonic(), lsn))
        if self.policy is SyncPolicy.ALWAYS:
            self.promised = max(self.promised, lsn)
        self._settle()

    # Maintenance, syncs and time

    def maintain(self) -> None:
        """Compact, or make a checkpoint, of everything."""
        if self.name == "memory":
            assert self.engine.compact() == self.last
        else:
            assert self.engine.checkpoint() == self.last

    def sync(self) -> None:
        lsn = self.engine.sync()
        assert lsn == self.last
        self.promised = max(self.promised, lsn)

    def back_up(self, name: str) -> None:
        """Copy the store, and remember what the copy must hold from then on."""
        copy, least = f"{COPY}{name}", self.last
        self.copies[copy] = None
        found = backup_helper.back_up_here(
            self.disk, self.engine._paths, self.name, copy, least
        )
        assert found >= least
        self.copies[copy] = found
        self.step()

    def salvage(self, name: str) -> None:
        """Salvage the closed store; the copy must hold all of it from then on."""
        copy, before = f"{COPY}{name}", self.disk.detached().root
        self.copies[copy] = None
        report = recovery.salvage(self.disk, ROOT, copy)
        assert report.lsn == self.last, f"LSN {report.lsn}, not {self.last}"
        self.copies[copy] = self.last
        changed = self.disk.detached().root.seen["store"]
        assert contents(changed) == contents(before.seen["store"]), "it was changed"
        self.step()

    def advance(self, seconds: float) -> None:
        """Let time pass, and do what the flusher would do meanwhile."""
        end = self.clock.monotonic() + seconds
        while self.policy is SyncPolicy.EVERYSEC and self._flush_at <= end:
            self.clock.advance(max(0.0, self._flush_at - self.clock.monotonic()))
            self.step()
            if self._target is None:
                self.begin_flush()
            self.end_flush()
        self.clock.advance(max(0.0, end - self.clock.monotonic()))
        self.step()

    def wait(self, seconds: float) -> None:
        """Let time pass while a sync is running, if one is."""
        if self._target is None:
            self.advance(seconds)
        else:
            self.clock.advance(seconds)
            self.step()

    def begin_flush(self) -> None:
        """Begin what the flusher does; others may write before `end_flush`."""
        commit, now = self.engine._commit, self.clock.monotonic()
        self._flush_at, self._sync_began = now + FLUSH_EVERY_S, now
        self._target = commit._begin()

    def end_flush(self) -> None:
        """Let the sync come to its end, and tell of it."""
        target, self._target = self._target, None
        if target is None or self.engine._state.failure is not None:
            return
        # `_lead` gives this lock back while it syncs.
        commit = self.engine._commit
        with commit._changed:
            commit._lead(target)
        self._sync_ended = self.clock.monotonic()
        self._sync_took = self._sync_ended - self._sync_began
        self._flush_at = max(self._flush_at, self._sync_ended)

    def step(self) -> None:
        """Look at the disk as it is now."""
        self._settle()
        if self._on_step is not None:
            self._on_step(self)

    # What must be found

    def _write(self, lsn: int, write: Callable[[], int]) -> None:
        if self.engine._state.is_stalled(self.clock.monotonic()):
            self.end_flush()  # a writer would wait for it
        try:
            got = write()
        except StorageError:
            self.last = self.engine._log.appended_lsn()
            raise
        assert got == lsn, f"LSN {got}, not {lsn}"
        self.last = lsn
        self.acknowledged(lsn)

    def _is_live(self, entry: Entry | None) -> bool:
        now_ms = self.clock.wall_ms()
        return entry is not None and not 0 < entry.expires_at_ms <= now_ms

    def _forget_behind(self, lsn: int) -> None:
        # A copy: images of the past are judged by what was written then.
        self.states = {at: found for at, found in self.states.items() if at <= lsn}
        self._acknowledged_at = [a for a in self._acknowledged_at if a[1] <= lsn]

    def _settle(self) -> None:
        if self.engine is None:
            return
        # What the engine calls durable is a promise, too.
        self.promised = max(self.promised, self.engine._state.synced_lsn)
        if self.policy is SyncPolicy.EVERYSEC:
            self.promised = max(self.promised, self._everysec_promise())

    def _everysec_promise(self) -> int:
        now, loss_s = self.clock.monotonic(), LOSS_S
        waiting, promised = self._acknowledged_at, 0
        if self.engine._state.in_flight:
            # What came while the sync before was running waits for this one.
            loss_s = max(loss_s, self._sync_took) + now - self._sync_began
            if waiting:  # writers have stopped before that
                loss_s = min(loss_s, now - waiting[-1][0] + STALL_AFTER_S)
        elif now <= self._sync_ended:
            loss_s = max(loss_s, self._sync_took)
        while waiting and waiting[0][0] <= now - loss_s - 1e-6:
            promised = waiting.pop(0)[1]
        return promised


def contents(node: Node) -> object:
    """Return what readers see of a file, or of a directory with all below it."""
    if isinstance(node, Inode):
        return node.seen
    return {name: contents(inner) for name, inner in node.seen.items()}


def value(number: int, size: int) -> bytes:
    return b"%04d:" % number + random.Random(number).randbytes(size)


def differs(
    image: Image, expected: tuple[int, Content], engine: str = "hybrid"
) -> bool:
    """Tell whether damage changed anything without being reported."""
    try:
        return recovered(SimDisk(image), engine) != expected
    except (CorruptionError, UnsupportedFormatError):
        return False

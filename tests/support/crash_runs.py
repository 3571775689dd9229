"""Write to a store on a simulated disk, and check what every power cut leaves of it.

At every single operation all disks that a power cut could leave are enumerated; each
distinct one is recovered by the real code and compared, as a whole, with the history.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from hypercache.engines.base import Delete, Entry, KeyOp, Put, Touch, changed_entry
from hypercache.errors import CorruptionError, StorageError, UnsupportedFormatError
from hypercache.options import SyncPolicy
from tests.support.clock import FakeClock
from tests.support.crashstore import Content, open_engine, recovered
from tests.support.powercut import PowerCuts
from tests.support.seeds import tell
from tests.support.simdisk import Image, SimDisk

SEED = 20_250_101
IMAGES_PER_STEP = 24
RECOVERY_SAMPLE = 60  # images of each workload whose recovery is crashed, too


class Run:
    """Drive one engine, keep its history, and collect every crash on the way.

    `states` has what must be found at each LSN at which a batch ends, before anything
    has expired: whoever recovers an image has a clock that stands at the beginning.
    """

    def __init__(
        self,
        disk: SimDisk,
        engine: str = "hybrid",
        *,
        limit: int = IMAGES_PER_STEP,
        **changes: Any,
    ) -> None:
        self.disk, self.name, self.changes = disk, engine, changes
        self.clock = FakeClock()
        self.cuts = PowerCuts(disk, SEED, limit)
        self.states: dict[int, Content] = {0: {}}
        self.last = self.promised = 0
        self.engine: Any = None
        disk.on_step = self._collect
        self.open()

    def open(self) -> None:
        self.engine = open_engine(self.disk, self.name, self.clock, **self.changes)
        assert self.engine._log.appended_lsn() == self.last

    def close(self) -> None:
        self.engine.close()

    def put(self, key: bytes, value: bytes, expires_at_ms: int = 0) -> None:
        put = Put(key, value, expires_at_ms)
        self._do([put], lambda: self.engine.put(*put))

    def apply(self, *batch: KeyOp) -> None:
        self._do(batch, lambda: self.engine.apply(batch))

    def clear(self) -> None:
        self._note(self.last + 1, {})
        self._acknowledged(self.engine.clear())

    def compact(self) -> None:
        assert self.engine.compact() == self.last

    def recovered(self, image: Image) -> tuple[int, Content]:
        return recovered(SimDisk(image), self.name)

    def _do(self, batch: Sequence[KeyOp], write: Callable[[], int]) -> None:
        content, lsn = dict(self.states[self.last]), self.last
        for op in batch:
            if isinstance(op, Touch) and not self._is_live(content.get(op.key)):
                continue
            entry, lsn = changed_entry(content.get(op.key), op), lsn + 1
            content.pop(op.key, None)
            if entry is not None:
                content[op.key] = entry
        self._note(lsn, content)
        try:
            self._acknowledged(write())
        except StorageError:
            self.last = self.engine._log.appended_lsn()
            raise

    def _is_live(self, entry: Entry | None) -> bool:
        now_ms = self.clock.wall_ms()
        return entry is not None and not 0 < entry.expires_at_ms <= now_ms

    def _note(self, lsn: int, content: Content) -> None:
        self.states[lsn] = content
        self._next = lsn

    def _acknowledged(self, lsn: int) -> None:
        assert lsn == self._next
        self.last = lsn
        if self.engine._state.policy is SyncPolicy.ALWAYS:
            self.promised = lsn

    def _collect(self) -> None:
        if self.engine is not None:  # what it calls durable is a promise, too
            self.promised = max(self.promised, self.engine._state.synced_lsn)
        self.cuts.collect(self.promised)


def value(number: int, size: int) -> bytes:
    return b"%04d:" % number + random.Random(number).randbytes(size)


def singles(run: Run) -> None:
    for number in range(24):
        run.put(b"key%d" % (number % 7), value(number, number * 37 % 400))


def batches(run: Run) -> None:
    for number in range(10):
        a, b, c = (b"%s%d" % (name, number % 3) for name in (b"a", b"b", b"c"))
        run.apply(
            Put(a, value(number, 300)),
            Put(b, value(number, 5), 2_000_000_000_000 + number),
            Delete(c),
            Touch(b, 0),
            Touch(b"absent", 5),
            Put(c, value(number, 60)),
        )
        if number == 6:
            run.clear()


def unsynced_rolls(run: Run) -> None:
    for number in range(50):
        run.put(b"key%d" % (number % 11), value(number, number * 53 % 500))
        if number == 30:
            run.engine.sync()


def tiny_segments(run: Run) -> None:
    for number in range(12):
        run.put(b"key%d" % number, value(number, 3900))


def sessions(run: Run) -> None:
    for session in range(3):
        run.put(b"session", value(session, 10))
        run.apply(Put(b"a%d" % session, b"1"), Put(b"b%d" % session, b"2"))
        run.close()
        run.open()


def crashed_sessions(run: Run) -> None:
    for session in range(3):
        for number in range(3):
            run.put(b"%d-%d" % (session, number), value(number, 1700))
        run.disk._locks.clear()  # the process dies, the machine does not
        run.open()


def check(run: Run, image: Image, promised: int) -> tuple[int, Content]:
    """Recover an image and compare it with the history."""
    lsn, content = run.recovered(image)
    assert lsn >= promised, f"LSN {promised} was promised, {lsn} is there"
    assert lsn in run.states, f"LSN {lsn} is inside a batch, or was never written"
    assert content == run.states[lsn]
    return lsn, content


def check_recovery(run: Run, image: Image, promised: int) -> None:
    """Crash the recovery of an image at every step: each ends the same."""
    disk = SimDisk(image)
    again = PowerCuts(disk, SEED, IMAGES_PER_STEP)
    disk.on_step = lambda: again.collect(0)
    found = recovered(disk, run.name)
    for second, _ in again.images.values():
        assert run.recovered(second) == found
    # What is written after a crash survives the next one (nothing hides behind a tail).
    disk = SimDisk(image)
    cuts = PowerCuts(disk, SEED, 4)
    lsn = open_engine(disk, run.name).put(b"after the crash", b"x")
    cuts.collect(lsn)
    for third, _ in cuts.images.values():
        at, content = run.recovered(third)
        assert at == lsn
        assert content.pop(b"after the crash").value == b"x"
        assert content == run.states[found[0]]


def check_all(run: Run, recovery_sample: int = RECOVERY_SAMPLE) -> int:
    counts = f"{len(run.disk.trace)} steps, {len(run.cuts.images)} images"
    tell(f"seed {SEED}: {counts}")
    images = list(run.cuts.images.values())
    for image, promised in images:
        check(run, image, promised)
    sample = min(recovery_sample, len(images))
    for image, promised in random.Random(SEED).sample(images, sample):
        check_recovery(run, image, promised)
    return len(images)


def differs(
    image: Image, expected: tuple[int, Content], engine: str = "hybrid"
) -> bool:
    """Tell whether damage changed anything without being reported."""
    try:
        return recovered(SimDisk(image), engine) != expected
    except (CorruptionError, UnsupportedFormatError):
        return False

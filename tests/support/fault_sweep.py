"""Make each single operation of a workload fail, in every way, and go on as users do.

Whoever drives the store here frees space when the disk is full and tries again; closes
and opens the store when its log has failed; and gives up on nothing else. Behind each
fault the power is cut, too.
"""

from __future__ import annotations

import contextlib
import errno
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hypercache.engines.base import Delete, Put
from hypercache.errors import (
    HyperCacheError,
    StorageError,
    StorageFailedError,
)
from hypercache.testing.power_cut import image_id, power_cuts
from hypercache.testing.simulated_disk import Fault, Image, SimDisk
from tests.crash.workloads_swept import SWEPT
from tests.support.crash_oracle import check_copies, check_open, check_use
from tests.support.crash_runs import Run
from tests.support.crashstore import Content, open_engine

SYNC, FULL, NAMES = "sync", "full", "names"
LOOKS = {
    "open": (errno.EMFILE, errno.EACCES, errno.EIO),
    "read": (errno.EIO,),
    "stat": (errno.EACCES, errno.EIO),
    "list": (errno.EMFILE, errno.EIO),
    "lock": (errno.EACCES, errno.EMFILE, errno.EIO),
}
STEPS = {
    "create": (errno.EACCES, errno.EMFILE, errno.EIO),
    "mkdir": (errno.EACCES, errno.EIO),
    "rename": (errno.EACCES, errno.ENOENT, errno.EIO),
    "unlink": (errno.EACCES, errno.EIO),
    "truncate": (errno.EIO,),
    "commit": (errno.EIO,),
    "write": (errno.EIO,),
}
NO_SPACE = ("write", "create", "mkdir", "rename", "commit")
STEPS_BEHIND = 8  # a fault, in which the power is cut, too


class Injected(NamedTuple):
    """One fault: `at` is the number of a step, or of a look."""

    kind: str
    what: str
    at: int
    fault: Fault

    def __str__(self) -> str:
        number, written, for_good = self.fault
        name, how = errno.errorcode[number], "for-good" if for_good else "once"
        return f"{self.kind}:{self.what}:{self.at}:{name}:{written}:{how}"

    @classmethod
    def parse(cls, text: str) -> Injected:
        """Return what `str` has made a text of."""
        kind, what, at, name, written, how = text.split(":")
        fault = Fault(getattr(errno, name), int(written), how == "for-good")
        return cls(kind, what, int(at), fault)


class Swept(NamedTuple):
    """A fault, the images a power cut left behind it, and what is wrong."""

    images: set[bytes]
    problems: list[str]


class Sturdy(Run):
    """A user who goes on after every error that allows it."""

    refused = failed = 0

    def open(self) -> None:
        self._attempt(super().open)

    def close(self) -> None:
        if self.engine is not None:
            with contextlib.suppress(
                StorageError
            ):  # everything is released all the same
                self.engine.close()

    def do(self, batch: Any, write: Callable[[], int]) -> None:
        super_do = super().do
        self._attempt(lambda: super_do(batch, write))

    def clear(self) -> None:
        self._attempt(super().clear)

    def sync(self) -> None:
        self._attempt(super().sync)

    def maintain(self) -> None:
        self._attempt(super().maintain)

    def back_up(self, name: str) -> None:
        self._attempt(lambda: Run.back_up(self, name))

    def end_flush(self) -> None:
        super().end_flush()
        if self.engine._state.failure is not None:
            self.restart()

    def restart(self) -> None:
        """Close a store whose log has failed, and open it again on a sound disk."""
        self.failed += 1
        check_latched(self)
        self.close()
        self.disk.repair()
        self.open()

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except StorageError as error:
            if self.engine is not None and self.engine._state.failure is not None:
                self.restart()
                return
            if isinstance(error, StorageFailedError):
                raise AssertionError(f"not latched: {error}") from error
            self.refused += 1
            if self.engine is not None:
                check_reads(self)
            self.disk.repair()
            action()  # now it must work


def check_reads(run: Run) -> None:
    """Whatever failed, reads show what was acknowledged, and nothing else."""
    content = dict(run.engine.scan())
    shown = [lsn for lsn, found in run.states.items() if found == content]
    assert shown, "reads show what was never the content"
    assert max(shown) >= run.promised, "reads show less than was acknowledged"


def check_latched(run: Run) -> None:
    """Reads answer; everything that writes is refused, and not for the first cause."""
    check_reads(run)
    engine, before = run.engine, len(run.disk.trace)
    run.disk.on_step = None
    for write in (
        lambda: engine.put(b"x", b"y"),
        lambda: engine.apply([Put(b"x", b"y"), Delete(b"z")]),
        engine.clear,
        engine.sync,
        engine.compact if run.name == "memory" else engine.checkpoint,
    ):
        try:
            write()
        except StorageFailedError:
            continue
        except HyperCacheError as error:
            raise AssertionError(f"refused in other words: {error!r}") from error
        assert write == engine.sync, "a write was accepted after a failure"
    assert len(run.disk.trace) == before, "a failed log was touched again"
    run.disk.on_step = run.step


def faults_of(name: str, engine: str) -> Iterator[Injected]:
    """Run a workload once, and yield every fault that can meet it."""
    disk = SimDisk()
    workload = SWEPT[name]
    run = Sturdy(disk, engine, seed=(name, engine), **workload.changes)
    workload.do(run)
    run.close()
    for at, (action, _) in enumerate(disk.trace):
        if action == "sync":
            yield Injected(SYNC, "step", at, Fault(errno.EIO))
            yield Injected(SYNC, "step", at, Fault(errno.EIO, for_good=True))
            yield Injected(SYNC, "step", at, Fault(errno.ENOSPC))
            continue
        numbers = STEPS[action]
        number = numbers[at % len(numbers)]
        yield Injected(NAMES, "step", at, Fault(number, for_good=at % 2 == 0))
        if action in NO_SPACE:
            yield Injected(FULL, "step", at, Fault(errno.ENOSPC))
            yield Injected(FULL, "step", at, Fault(errno.ENOSPC, for_good=True))
            yield Injected(FULL, "step", at, Fault(errno.EDQUOT))
        if action == "write":
            yield Injected(FULL, "step", at, Fault(errno.ENOSPC, written=20))
            yield Injected(FULL, "step", at, Fault(errno.EFBIG, written=1))
            yield Injected(FULL, "step", at, Fault(errno.EFBIG, 40, for_good=True))
            yield Injected(NAMES, "step", at, Fault(errno.EIO, written=33))
    for at, (action, _) in enumerate(disk.looks):
        number = LOOKS[action][at % len(LOOKS[action])]
        yield Injected(NAMES, "look", at, Fault(number, for_good=at % 5 == 0))


def sweep(name: str, engine: str, injected: Injected, limit: int = 4) -> Swept:
    """Run a workload with one fault; cut the power behind it, and recover."""
    workload, disk = SWEPT[name], SimDisk()
    numbered = disk.faults if injected.what == "step" else disk.look_faults
    numbered[injected.at] = injected.fault
    found: dict[bytes, Left] = {}
    rng = random.Random(str(injected))
    began = [0]

    def collect(run: Run) -> None:
        done = len(disk.trace if injected.what == "step" else disk.looks)
        if done <= injected.at or began[0] > STEPS_BEHIND:
            return
        began[0] += 1
        for left in power_cuts(disk, rng, limit):
            known = found.get(key := image_id(left.image))
            if known is None or run.promised > known.promised:
                found[key] = Left(left.image, run.promised, run.states, {**run.copies})

    swept = Swept(set(), [])
    try:
        run = Sturdy(
            disk, engine, on_step=collect, seed=(name, engine), **workload.changes
        )
        workload.do(run)
        _check_end(run)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is a violation)
        swept.problems.append(f"{type(error).__name__}: {error}".strip())
    for key, left in found.items():
        swept.images.add(key)
        problem = _problem(engine, left, {**workload.changes, "sync": "always"})
        if problem:
            swept.problems.append(f"after a power cut: {problem}")
    return swept


class Left(NamedTuple):
    """What a power cut has left, and what must be found there."""

    image: Image
    promised: int
    states: dict[int, Content]
    copies: dict[str, int | None]

    @property
    def history(self) -> dict[int, Content]:
        """Return what a copy may hold."""
        return self.states


def _check_end(run: Sturdy) -> None:
    """Close, open again: all that was acknowledged is there, and nothing is left."""
    run.close()
    run.disk.repair()
    run.open()
    left = Left({}, run.promised, run.states, run.copies)
    lsn, content = check_open(run.name, run.disk, run.engine, left)
    assert lsn == run.last, f"LSN {lsn} after a clean close, not {run.last}"
    run.disk.on_step = None
    changes = {**run.changes, "sync": "always"}
    run.engine.close()
    engine = open_engine(run.disk, run.name, **changes)
    check_use(run.name, run.disk, engine, content, changes)
    check_copies(run.name, run.disk, left)


def _problem(engine: str, left: Left, changes: dict[str, Any]) -> str | None:
    disk = SimDisk(left.image)
    try:
        opened = open_engine(disk, engine, **changes)
        check_open(engine, disk, opened, left)
        check_copies(engine, disk, left)
        opened.close()
    except Exception as error:  # noqa: BLE001  (whatever it is, it is a violation)
        return f"{type(error).__name__}: {error}"
    return None

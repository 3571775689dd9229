"""Let every call below the seam do less than it could, on a real directory."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from hypercache.engines import lmdb_walk
from hypercache.engines.base import Delete, Put
from hypercache.errors import StorageError
from hypercache.options import Options
from tests.support import memory_disk
from tests.support.crashstore import ENGINES
from tests.support.faulty_os import (
    ALWAYS,
    INTERRUPTED,
    SHORT_READ,
    SHORT_WRITE,
    Hitch,
    faulty_os,
)

__all__ = ["Hitch", "hitches_of", "problem_with"]

NONE = Hitch("none", 0)


class Real:
    """A store in a real directory, and what must be in it."""

    def __init__(self, root: str, engine: str) -> None:
        self._root, self._kind = root, ENGINES[engine]
        self.content: dict[bytes, bytes] = {}
        self.errors: list[StorageError] = []
        self.engine: Any = None
        self.open()

    def open(self) -> None:
        """Open the store, and once more if that fails."""
        options = Options.resolve(
            sync="always", log_io="write", segment_bytes=4096, maintenance="inline"
        )
        self.engine = None
        self.engine = self.retried(lambda: self._kind(self._root, options))

    def write(self, *batch: Put | Delete) -> None:
        """Apply a batch; a log that fails is closed and opened again."""
        after = dict(self.content)
        for op in batch:
            after.pop(op.key, None)
            if isinstance(op, Put):
                after[op.key] = op.value
        try:
            self.engine.apply(batch)
        except StorageError as error:
            self.errors.append(error)
            if self.engine._state.failure is None:
                assert self.found() == self.content
                self.engine.apply(batch)
            else:
                self.reopen()
                found = self.found()
                assert found in (self.content, after), "acknowledged writes are gone"
                after = found
        self.content = after
        assert self.found() == after

    def reopen(self) -> None:
        """Close, whatever that says, and open."""
        try:
            self.engine.close()
        except StorageError as error:
            self.errors.append(error)
        self.open()
        if self.engine._state.failure is not None:
            raise AssertionError("a store that was just opened has failed")

    def maintain(self) -> None:
        """Compact, or make a checkpoint; a failed log is opened again."""
        work = getattr(self.engine, "compact", None) or self.engine.checkpoint
        if self._kind is ENGINES["hybrid"]:
            work = self.engine.checkpoint
        try:
            work()
        except StorageError as error:
            self.errors.append(error)
            if self.engine._state.failure is not None:
                self.reopen()

    def found(self) -> dict[bytes, bytes]:
        """Return what reads show."""
        return {key: entry.value for key, entry in self.engine.scan()}

    def retried(self, action: Callable[[], Any]) -> Any:
        """Do something that changes nothing, and once more if it fails."""
        try:
            return action()
        except StorageError as error:
            self.errors.append(error)
            return action()


def _work(store: Real) -> None:
    for number in range(20):
        store.write(Put(b"key%d" % (number % 3), b"%d" % number * 900))
    store.write(Put(b"a", b"1"), Delete(b"key0"), Put(b"b", b"2" * 300))
    store.maintain()
    store.write(Put(b"key1", b"after" * 300))
    store.reopen()
    for number in range(9):
        store.write(Put(b"c", b"%d" % number * 1200), Delete(b"a"))
    store.maintain()
    store.reopen()
    assert store.found() == store.content
    assert store.retried(store.engine.check).ok
    store.engine.close()


def hitches_of(engine: str) -> list[Hitch]:
    """Run the workload once, and return every hitch that can meet it."""
    with _directory() as root, faulty_os(NONE) as fake:
        _work(Real(root, engine))
    kinds = (SHORT_WRITE, SHORT_READ, INTERRUPTED)
    single = [Hitch(kind, at) for kind in kinds for at in range(fake.counts[kind])]
    return [Hitch(SHORT_READ, ALWAYS), Hitch(SHORT_WRITE, ALWAYS), *single]


def problem_with(engine: str, hitch: Hitch) -> str | None:
    """Run the workload with one hitch; return what is wrong then."""
    try:
        with _directory() as root:
            with faulty_os(hitch):
                store = Real(root, engine)
                _work(store)
            if hitch.kind != INTERRUPTED and store.errors:
                return f"a part is no error: {store.errors[0]}"
    except Exception as error:  # noqa: BLE001  (whatever it is, it is a violation)
        return f"{type(error).__name__}: {error}"
    return None


@contextlib.contextmanager
def _directory() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(dir=memory_disk.place()) as root,
        # A process for each open would take all of the time.
        mock.patch.object(lmdb_walk, "verify", return_value=[]),
    ):
        yield f"{root}/store"

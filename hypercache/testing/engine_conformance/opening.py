"""How a suite opens the engine it tests, and how it ends: checked and closed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from hypercache.engines import StorageEngine
from hypercache.storage import Clock, SystemClock
from hypercache.testing.clock import FakeClock
from hypercache.testing.opened import Opened


class OpenEngine(Protocol):
    """Open an engine, in the store of this test if no path is given.

    The clock is the system's unless the test gives its own.
    """

    def __call__(
        self, path: Path = ..., *, clock: Clock | None = None
    ) -> StorageEngine:
        """Return the engine; the test's end checks and closes it."""


class Opening:
    """Open the engine that is tested.

    Attributes:
        durable: whether a store outlives `close`; without it every LSN is 0.
        plain_after: after which calls ("sync", "checkpoint", "close") the bytes of a
            value stand in a file as they are, so that a test can damage them there.
        has_backup: whether `backup` works; without it ConfigError is expected.
    """

    durable: bool = False
    plain_after: tuple[str, ...] = ("sync", "checkpoint", "close")
    has_backup: bool = False

    def open(self, path: Path, clock: Clock) -> StorageEngine:
        """Open the store at a path, which is absent or what an earlier open left.

        Expiry must go by the clock that is given. An engine without files has no use
        for the path.
        """
        raise NotImplementedError(f"{type(self).__name__} must override open()")

    @pytest.fixture
    def opened(self) -> Iterator[Opened]:
        """Collect what is to be checked and closed at the end."""
        everything = Opened()
        yield everything
        everything.check_and_close()

    @pytest.fixture
    def store_path(self, tmp_path: Path) -> Path:
        """Return where the store of this test lies; nothing is there yet."""
        return tmp_path / "store"

    @pytest.fixture
    def clock(self) -> FakeClock:
        """Return the clock of `engine`."""
        return FakeClock()

    @pytest.fixture
    def open_engine(self, opened: Opened, store_path: Path) -> OpenEngine:
        """Return the function that opens an engine, as often as a test wants."""

        def open_one(
            path: Path = store_path, *, clock: Clock | None = None
        ) -> StorageEngine:
            return opened.add(self.open(path, clock or SystemClock()))

        return open_one

    @pytest.fixture
    def engine(self, open_engine: OpenEngine, clock: FakeClock) -> StorageEngine:
        """Return an engine whose time is the test's."""
        return open_engine(clock=clock)

    @pytest.fixture
    def shared(self, open_engine: OpenEngine) -> StorageEngine:
        """Return an engine for several threads, with a clock that runs."""
        return open_engine()

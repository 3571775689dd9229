"""What a benchmark does with a store, and what it knows of one before it is opened."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any


class Durability(Enum):
    """What a write has reached when its call returns. Unlike ones are never mixed."""

    RAM = "in RAM: gone with the process"
    QUEUED = "in a queue: kill -9 loses what is waiting"
    SYSTEM = "in the operating system: survives kill -9"
    SYNCED = "on the medium: survives a power cut"


def _nothing() -> None:
    return None


def _never() -> bool:
    return False


@dataclass
class Store:
    """One open store; None stands for what it cannot do.

    `scan` returns how many entries have a prefix, having read them all. `settle` ends
    the housekeeping that is due, `maintains` tells whether some goes on.
    """

    set: Callable[[bytes, bytes], object]
    get: Callable[[bytes], object]
    close: Callable[[], object] = _nothing
    set_many: Callable[[Mapping[bytes, bytes]], object] | None = None
    get_many: Callable[[Sequence[bytes]], object] | None = None
    scan: Callable[[bytes], int] | None = None
    settle: Callable[[], object] = _nothing
    maintains: Callable[[], bool] = _never


@dataclass(frozen=True)
class Subject:
    """A store that can be opened.

    Attributes:
        setting: how it is set up, as its own documentation names it.
        open: opens it in a directory that is there; the number is how many entries
            must have room.
        module: what must be importable; the distribution has the same name.
        command: what must be on PATH.
        bulk: quick enough for millions of operations.
        slow: takes over 50 us an operation; does a tenth of them.
        limited: evicts what is too much.
    """

    name: str
    durability: Durability
    setting: str
    open: Callable[[Path, int], Store]
    module: str = ""
    command: str = ""
    bulk: bool = False
    slow: bool = False
    limited: bool = False

    def share_of(self, count: int) -> int:
        """Return how many of so many operations are enough to measure it."""
        return max(1, count // 10) if self.slow else count

    def missing(self) -> str | None:
        """Return what is not installed, None if it can run."""
        if self.module and importlib.util.find_spec(self.module) is None:
            return f"{self.module} is not installed"
        if self.command and shutil.which(self.command) is None:
            return f"{self.command} is not on PATH"
        return None

    def version(self) -> str | None:
        """Return the version of the package that is measured, None if it has none."""
        try:
            return importlib.metadata.version(self.module) if self.module else None
        except importlib.metadata.PackageNotFoundError:
            return None


def counted(entries: Iterable[Any]) -> int:
    """Return how many there are."""
    return sum(1 for _ in entries)

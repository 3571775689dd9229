"""Builds the small stores that are damaged, with what every read of them must answer.

Each engine has two: one closed cleanly, and one as a kill leaves it. They are the same
in every run but for the times in them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hypercache.engines import StorageEngine, identity, open_engine
from hypercache.engines.base import Delete, Entry, KeyOp, Put, Touch
from hypercache.frame import Frame
from hypercache.options import Options
from hypercache.segment import SegmentReader

Answers = dict[bytes, Entry]
Files = dict[str, bytes]

ENGINES = ("memory", "hybrid", "persistent")
STATES = ("closed", "killed")
SUFFIXES = (".wal", ".aof")
FAR_MS = 4_000_000_000_000
SETTINGS = {
    "segment_bytes": 4096,
    "checkpoint_bytes": 1 << 20,  # when the builder says so
    "compact_min_bytes": 1 << 20,
    "map_bytes": 65536,
    "memory_bytes": 3000,
    "fold_batch": 1000,
    "maintenance": "inline",
    "sync": "always",
}


@dataclass(frozen=True)
class Store:
    """A store as bytes.

    Attributes:
        files: by path below the store's directory.
        mtimes: the times in nanoseconds that belong to them.
        history: after which LSN which answers were right.
        older, foreign: the same paths a while ago, and in another store.
    """

    engine: str
    state: str
    files: Files
    mtimes: dict[str, int]
    history: dict[int, Answers]
    older: Files = field(repr=False)
    foreign: Files = field(repr=False)

    @property
    def name(self) -> str:
        """Name the store in one word."""
        return f"{self.engine}-{self.state}"

    @property
    def folders(self) -> tuple[str, ...]:
        """Return the directories in it, which may be empty."""
        return {"memory": ("aof",), "hybrid": ("lmdb", "wal"), "persistent": ("lmdb",)}[
            self.engine
        ]

    @property
    def answers(self) -> Answers:
        """Return what is in it."""
        return self.history[max(self.history)]

    @property
    def active(self) -> str | None:
        """Return the segment that a kill left without a footer."""
        if self.state == "closed" or self.engine == "persistent":
            return None
        return max(path for path in self.files if path.endswith(SUFFIXES))

    def frames(self) -> list[Frame]:
        """Return the frames of the active segment."""
        if self.active is None:
            return []
        return list(SegmentReader(self.files[self.active], self.active))


def build(engine: str, state: str, place: Path) -> Store:
    """Build a store in a directory that does not exist yet."""
    foreign = _Builder(engine, state, place / "foreign", b"other")
    mine = _Builder(engine, state, place / "mine", b"value")
    foreign.fill()
    mine.fill()
    return Store(
        engine, state, mine.files, mine.mtimes, mine.history, mine.older, foreign.files
    )


class _Builder:
    def __init__(self, engine: str, state: str, place: Path, word: bytes) -> None:
        self._engine, self._state, self._place, self._word = engine, state, place, word
        # A log is to have three segments; LMDB's file is to have few pages.
        self._repeat_count = 25 if self._ends_in_a_log else 6
        self.history: dict[int, Answers] = {0: {}}
        self.files: Files = {}
        self.mtimes: dict[str, int] = {}
        self.older: Files = {}

    def fill(self) -> None:
        """Write a bit of everything, and keep the files."""
        # Mapped, a log ends in zeros that nobody has written yet.
        log_io = "mmap" if self._engine == "hybrid" else "write"
        options = Options.resolve(engine=self._engine, log_io=log_io, **SETTINGS)  # type: ignore[arg-type]
        with _known_uuid(self._word):
            engine = open_engine(str(self._place), engine=self._engine, options=options)
        for batch in self._batches():
            if batch is not None:
                self._apply(engine, batch)
                continue
            engine.compact()
            if not self.older:
                self.older = files_below(self._place)
        if self._state == "killed":
            self._keep_files()
        engine.close()
        if self._state == "closed":
            self._keep_files()

    @property
    def _ends_in_a_log(self) -> bool:
        return self._engine == "memory" or (
            self._engine == "hybrid" and self._state == "killed"
        )

    def _batches(self) -> Iterator[list[KeyOp] | None]:
        """Yield what `_ops` does, in few commits where each is one of LMDB."""
        if self._engine != "persistent":
            yield from self._ops()
            return
        together: list[KeyOp] = []
        for batch in self._ops():
            if batch is None:
                yield together
                yield None
                together = []
            else:
                together += batch
        yield together

    def _ops(self) -> Iterator[list[KeyOp] | None]:
        """Yield batches, and None where the log is to be rewritten."""
        word = self._word
        yield [
            Put(b"key-%02d" % n, hashlib.blake2b(word + b"%d" % n).digest())
            for n in range(30)
        ]
        yield None
        yield [Put(b"timed-%d" % n, word * 4, FAR_MS + n) for n in range(6)]
        yield [Put(b"p" * 600, word), Put(b"p" * 600 + b"q", word * 2)]
        yield [Delete(b"key-03"), Touch(b"key-04", FAR_MS)]
        yield [Put(b"key-05", word * 600)]
        yield None
        # Three segments of a log, where there is one; the last one of some groups.
        for n in range(20):
            value = b"%s again %d " % (word, n) * self._repeat_count
            yield [Put(b"key-%02d" % (n + n // 3), value)]
        yield [Delete(b"key-06"), Put(b"new", word)]
        yield [Put(b"last", word * 9), Put(b"key-07", b"")]
        yield [Put(b"very last", word)]

    def _keep_files(self) -> None:
        self.files = files_below(self._place)
        for path in self.files:
            self.mtimes[path] = (self._place / path).stat().st_mtime_ns

    def _apply(self, engine: StorageEngine, batch: list[KeyOp]) -> None:
        now = dict(self.history[max(self.history)])
        for op in batch:
            match op:
                case Put(key, value, expires_at_ms):
                    now[key] = Entry(value, expires_at_ms)
                case Delete(key):
                    del now[key]
                case Touch(key, expires_at_ms):
                    now[key] = Entry(now[key].value, expires_at_ms)
        self.history[engine.apply(batch)] = now


class _known_uuid:  # noqa: N801  (a block, not a thing)
    """Give a new store an uuid that does not change from run to run."""

    def __init__(self, word: bytes) -> None:
        self._uuid = hashlib.sha256(word).digest()

    def __enter__(self) -> None:
        self._urandom = identity.os.urandom
        identity.os.urandom = lambda size: self._uuid[:size]

    def __exit__(self, *_: object) -> None:
        identity.os.urandom = self._urandom


def files_below(place: Path) -> Files:
    """Return every file below a directory."""
    found: Files = {}
    _collect(str(place), "", found)
    return dict(sorted(found.items()))


def _collect(folder: str, prefix: str, found: Files) -> None:
    # Of pathlib's rglob a sweep would wait longer than of the stores.
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                _collect(entry.path, f"{prefix}{entry.name}/", found)
                continue
            with open(entry.path, "rb", buffering=0) as file:
                found[prefix + entry.name] = file.read()

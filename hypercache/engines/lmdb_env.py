"""The LMDB environments of this process: each is opened once, for all who use it.

LMDB forbids a second open of the same files: closing it would take away the locks of
the first. So whoever reads beside a writer of the same process uses its environment,
and a writer that comes later takes over that of the readers.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import lmdb

from hypercache import mapped_pages
from hypercache.errors import ForkedStoreError
from hypercache.paths import LMDB_DATA

# As long as a file can get: a map for reading takes nothing but addresses, and must not
# be changed under a reader.
_READER_MAP_BYTES = 1 << 40 if sys.maxsize > 1 << 32 else 1 << 28
_NO_TABLE = "no reader locks"
# A look at a leaf maps its neighbours, too, and so does one at a long value elsewhere.
_LOOK_BYTES = 2 * mapped_pages.FAULT_BYTES
_BEGIN_LIMIT = 100  # the file may be grown again while its size is adopted

_Identity = tuple[int, int]
_lock = threading.RLock()
_open: dict[_Identity, LmdbEnv] = {}
_inherited: set[_Identity] = set()  # open in the parent at the fork


def _pass(env: Any) -> None:
    del env


class Mode(NamedTuple):
    """How an environment is opened.

    `locked`: with LMDB's table of readers, so that a writer spares what they look at.
    """

    writable: bool
    locked: bool
    synced: bool = True


class Moment:
    """A read transaction that lasts, in one environment or in what follows it.

    `txn` is None when the map had to grow under it and the moment was over by then.
    """

    def __init__(self, owner: LmdbEnv) -> None:
        self.txn: Any = owner.begin(None)
        self.id: int = self.txn.id()

    def let_go(self) -> None:
        """End the transaction; `hold_again` may follow."""
        txn, self.txn = self.txn, None
        if txn is not None:
            txn.abort()

    def hold_again(self, owner: LmdbEnv) -> None:
        """Begin it again, if nothing was committed meanwhile."""
        txn = owner.begin(None)
        if txn.id() == self.id:
            self.txn = txn
        else:
            txn.abort()


class LmdbEnv:
    """One environment with its two databases; who has it calls `release` at the end.

    `map_lock` is held while the map is looked at without a `Moment`, because growing it
    unmaps it. Reentrant, for a signal handler that reads while its thread does.
    `keep_bytes`: what may have been looked at before the pages of the map are given
    back, None for any amount.
    `keeps_moments`: writers spare the pages of a moment that is looked at.
    """

    def __init__(
        self,
        path: str,
        map_bytes: int,
        mode: Mode,
        *,
        create: bool,
        examine: Callable[[Any], None],
    ) -> None:
        self._path, self.mode = path, mode
        self.map_lock = threading.RLock()
        self._copying = threading.Lock()
        self._moments: weakref.WeakSet[Moment] = weakref.WeakSet()
        self._user_count = 1
        self.keep_bytes: int | None = None
        self._touched_bytes = 0
        self._mapped: list[mapped_pages.Mapped] | None = None
        self.env: Any = None
        self.data: Any = None
        self.meta: Any = None
        self._open_files(map_bytes, mode, create=create, examine=examine)

    def is_in_place(self) -> bool:
        """Tell whether the file that was opened still has its name."""
        with _lock:
            return _open.get(_maybe_identity(self._path) or (0, 0)) is self

    def begin(self, db: Any, *, write: bool = False, buffers: bool = False) -> Any:
        """Begin a transaction; called under `map_lock`.

        With `buffers` it hands out views of the map, valid until it ends.
        """
        for _ in range(_BEGIN_LIMIT):
            try:
                return self.env.begin(db=db, write=write, buffers=buffers)
            except lmdb.MapResizedError:
                # Another process has grown the file beyond this map: adopt its size.
                self.resize(0)
            except lmdb.ReadersFullError:
                if not self.env.reader_check():
                    break
        return self.env.begin(db=db, write=write, buffers=buffers)

    def resize(self, map_bytes: int) -> None:
        """Change the size of the map; 0 adopts that of the file."""
        with self.map_lock, self._moments_aside():
            self._mapped = None
            self.env.set_mapsize(map_bytes)

    def touched(self, size_bytes: int) -> None:
        """Note that so much of the map was looked at; called under `map_lock`."""
        if self.keep_bytes is None:
            return
        self._touched_bytes += size_bytes + _LOOK_BYTES
        if self._touched_bytes > self.keep_bytes:
            self._give_back()

    def _give_back(self) -> None:
        self._touched_bytes = 0
        if self._mapped is None:
            # Known until the map moves, which takes `map_lock`: see `give_back`.
            self._mapped = mapped_pages.maybe_mapped(f"{self._path}/{LMDB_DATA}")
        if not all(map(mapped_pages.give_back, self._mapped)):
            self.keep_bytes = None

    def moment(self) -> Moment:
        """Hold what is there now, also while others write."""
        with self.map_lock:
            held = Moment(self)
            self._moments.add(held)
            return held

    def copy(self, path: str, moment: Moment) -> None:
        """Write a moment, without free pages, as an environment into a directory.

        Reads go on meanwhile, and writes as long as they need no larger map.
        """
        with self.map_lock:
            self._copying.acquire()
        try:
            if moment.txn is not None:
                self.env.copy(path, compact=True, txn=moment.txn)
        finally:
            self._copying.release()

    def join(self, map_bytes: int, mode: Mode) -> None:
        """Take one more user, and what it needs that the others did not."""
        with self.map_lock:
            enough = self.mode.locked if not mode.writable else self.mode == mode
            if not enough and (mode.writable or mode.locked):
                self._reopen(map_bytes, mode)
            elif mode.writable and self.env.info()["map_size"] < map_bytes:
                self.resize(map_bytes)
            self._user_count += 1

    def release(self) -> None:
        """Let go; the last one closes the files."""
        with _lock, self.map_lock:
            self._user_count -= 1
            if self._user_count:
                return
            for identity in [key for key, value in _open.items() if value is self]:
                del _open[identity]
            with self._copying:
                self._mapped = None
                self.env.close()

    def _reopen(self, map_bytes: int, mode: Mode) -> None:
        before = self.mode
        with self._moments_aside():
            self._mapped = None
            self.env.close()
            try:
                self._open_files(map_bytes, mode)
            except BaseException:
                self._open_files(map_bytes, before)
                raise
        self.mode = mode

    def _open_files(
        self,
        map_bytes: int,
        mode: Mode,
        *,
        create: bool = False,
        examine: Callable[[Any], None] = _pass,
    ) -> None:
        self._mapped = None
        env = _opened(self._path, map_bytes, mode, create=create)
        try:
            examine(env)
            self.data = env.open_db(b"data", create=create)
            self.meta = env.open_db(b"meta", create=create)
        except BaseException:
            env.close()
            raise
        self.env = env
        # LMDB does without its table, and says nothing, where that cannot be written.
        self.keeps_moments = _NO_TABLE not in env.readers()

    @contextlib.contextmanager
    def _moments_aside(self) -> Iterator[None]:
        """Let go of all moments while the map moves."""
        with self._copying:
            held = [moment for moment in self._moments if moment.txn is not None]
            for moment in held:
                moment.let_go()
            yield
            for moment in held:
                moment.hold_again(self)


def open_env(
    path: str,
    map_bytes: int,
    mode: Mode,
    *,
    create: bool,
    examine: Callable[[Any], None] | None = None,
) -> LmdbEnv:
    """Return the environment in a directory, opened now or before.

    `examine` may refuse it before its pages are read.
    """
    examine = examine or _pass
    with _lock:
        identity = _maybe_identity(path)
        if identity in _inherited:
            # Closed here, it would take away the places of the parent's readers.
            raise ForkedStoreError(
                f"{path} was open before the fork, and LMDB opens nothing twice in one "
                "process; close it before the fork, or start the process with spawn"
            )
        found = _open.get(identity) if identity else None
        if found is not None:
            examine(found.env)
            found.join(map_bytes, mode)
            return found
        opened = LmdbEnv(path, map_bytes, mode, create=create, examine=examine)
        identity = _maybe_identity(path)
        assert identity is not None
        _open[identity] = opened
        return opened


def _opened(path: str, map_bytes: int, mode: Mode, *, create: bool) -> Any:
    settings: dict[str, Any] = {
        "max_dbs": 2,
        "max_readers": 512,
        "create": create,
        "mode": 0o600,
        "readahead": False,
        "sync": mode.synced,
        "lock": mode.locked,
    }
    if mode.writable:
        return lmdb.open(path, map_size=map_bytes, **settings)
    try:
        return lmdb.open(path, map_size=_READER_MAP_BYTES, readonly=True, **settings)
    except lmdb.ReadonlyError:  # somebody else's table of readers
        settings["lock"] = False
    except lmdb.MemoryError:
        pass  # the addresses of this process are limited
    return lmdb.open(path, map_size=map_bytes, readonly=True, **settings)


def _maybe_identity(path: str) -> _Identity | None:
    try:
        found = os.stat(f"{path}/{LMDB_DATA}")
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603 - a lock of the parent cannot be reset
    _lock = threading.RLock()  # another thread may have held it at the fork
    _inherited.update(_open)
    _open.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)

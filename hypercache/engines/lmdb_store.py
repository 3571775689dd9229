"""The only module that speaks to LMDB: environment, growth, error mapping.

Values are wrapped (`envelope`) and verified on every read; what a write does is in
`lmdb_batch`. All transactions are short: no reader outlives one call.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import lmdb

from hypercache.engines import envelope, key_runs, lmdb_pages
from hypercache.engines.envelope import SHORT_KEY_BYTES, Head, Stored
from hypercache.engines.lmdb_batch import StoreState, WriteBatch, read_state, verified
from hypercache.engines.lmdb_env import Mode, open_env
from hypercache.engines.lmdb_errors import disk_full, mapped_error
from hypercache.errors import (
    ClosedError,
    CorruptionError,
    StorageError,
)
from hypercache.mapped_pages import FAULT_BYTES
from hypercache.ops import KeyOp
from hypercache.paths import LMDB_DATA
from hypercache.storage import Storage

__all__ = ["LmdbStore", "StoreState", "disk_full", "mapped_error"]

_ResultT = TypeVar("_ResultT")
# An LMDB key, the bytes under it, and what a look-up of the key finds.
Walked = tuple[bytes, bytes, bytes | None]
_PAGE_BYTES = 4096
_STEP_COUNT = 512  # entries, and bytes, that one read transaction of a scan collects
_STEP_BYTES = 4 << 20
# What strerror says; LMDB hands out nothing but the text.
_IO_ERROR = os.strerror(errno.EIO)
_FULL_BYTES = 1 << 20


class LmdbStore:
    """Keep entries in one LMDB environment.

    Reads may come from any thread, writes from one at a time.

    Opened with `read_only` it takes no lock, and nobody may write meanwhile, unless it
    is `shared`. With `whole_file` a file shorter than its pages say is refused before
    it is read. Without `sync_commits` a commit is durable after `sync` only, and a
    power cut before that may destroy the store.

    Raises:
        CorruptionError: the file is damaged.
        UnsupportedFormatError: another LMDB format.
    """

    def __init__(
        self,
        storage: Storage,
        path: str,
        map_bytes: int,
        *,
        create: bool,
        read_only: bool = False,
        shared: bool = False,
        whole_file: bool = False,
        sync_commits: bool = True,
    ) -> None:
        self._storage = storage
        self._data_path = f"{path}/{LMDB_DATA}"
        self._closed = False
        found = storage.info(self._data_path)
        if not create and found is not None and not found.size_bytes:
            raise CorruptionError(self._data_path, "the file is empty")
        mode = Mode(not read_only, shared or not read_only, sync_commits)
        with self._errors():
            self._opened = open_env(
                path,
                map_bytes,
                mode,
                create=create,
                examine=self._refuse_cut if whole_file else None,
            )
            self._map_lock = self._opened.map_lock
            if not read_only:  # a map that readers share may be in a transaction
                self._fit_map()

    @property
    def _env(self) -> Any:
        return self._opened.env

    @property
    def _data(self) -> Any:
        return self._opened.data

    @property
    def _meta(self) -> Any:
        return self._opened.meta

    def get(self, key: bytes) -> Stored | None:
        """Return the verified entry under a key, expired or not."""
        if not key:
            return None
        try:
            with self._map_lock, self._begin(self._data) as txn:
                found = self._look_up(txn, key)
                self._opened.touched(len(found.value) if found else 0)
                return found
        except lmdb.Error as error:
            raise mapped_error(error, self._data_path, key) from error

    def find(self, key: bytes) -> tuple[bytes, int] | None:
        """Return the verified value and expiry under a key, expired or not.

        The same as `get` in half the time, which is what a look-up in LMDB takes: all
        calls that lead there are written out.
        """
        opened = self._opened
        data = None
        if 0 < len(key) <= SHORT_KEY_BYTES and not self._closed:
            try:
                with self._map_lock:
                    txn = opened.env.begin(opened.data)
                    try:
                        data = txn.get(key)
                    finally:
                        txn.abort()
                    if opened.keep_bytes is not None:
                        opened.touched(len(data or b""))
            except lmdb.Error:
                pass
            else:
                if data is None:
                    return None
                value = envelope.maybe_value(key, data)
                if value is not None:
                    return value
        found = self.get(key)  # which knows what else there is, and every error
        return (found.value, found.expires_at_ms) if found else None

    def get_many(self, keys: Sequence[bytes]) -> list[Stored]:
        """Return the verified entries under those keys that have one, in one moment."""
        with self._errors(), self._map_lock, self._begin(self._data) as txn:
            looked_up = (self._look_up(txn, key) for key in keys if key)
            found = [entry for entry in looked_up if entry is not None]
            self._opened.touched(
                len(found) * FAULT_BYTES + sum(len(entry.value) for entry in found)
            )
            return found

    def scan_step(
        self, start: bytes | None, stop: bytes | None, reverse: bool
    ) -> tuple[list[Stored], bool]:
        """Return the next entries of start <= key < stop, and whether more may follow.

        Read in one short transaction; go on behind the last key returned.
        """
        with self._errors(), self._map_lock, self._begin(self._data) as txn:
            walk = key_runs.backward if reverse else key_runs.forward
            found: list[Stored] = []
            size, more = 0, False
            for run in walk(txn.cursor(), start, stop):
                for entry in self._sorted(run, reverse):
                    if _within(entry.key, start, stop):
                        found.append(entry)
                        size += len(entry.value)
                if more := len(found) >= _STEP_COUNT or size >= _STEP_BYTES:
                    break
            self._opened.touched(2 * size)
            return found, more

    def heads(self, start: bytes, count: int) -> list[Head]:
        """Return the heads of the first entries at or behind a key, at most so many."""
        with self._errors(), self._map_lock, self._begin_views() as txn:
            found = key_runs.heads(txn.cursor(), start, count)
            self._opened.touched(len(found) * _PAGE_BYTES)
            return found

    def keep_resident(self, size_bytes: int) -> None:
        """Give the pages of the map back once about so much was looked at."""
        self._opened.keep_bytes = size_bytes

    def last_key(self) -> bytes | None:
        """Return the highest key, None without any."""
        with self._errors(), self._map_lock, self._begin_views() as txn:
            head = key_runs.last_head(txn.cursor())
            return head.key if head is not None else None

    def walk(self) -> Iterator[Walked]:
        """Yield every LMDB key with what a scan and what a look-up find under it."""
        with self.snapshot() as (_, entries):
            yield from entries

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[tuple[StoreState, Iterator[Walked]]]:
        """Give the bookkeeping and all entries of one moment, for verification.

        One long reader: no other thread may write through this object meanwhile.
        """
        with self._errors():
            with self._map_lock:
                txn = self._begin(self._data)
            with txn as shown:
                yield read_state(shown, self._meta, self._data_path), _walked(shown)

    def state(self) -> StoreState:
        """Return the bookkeeping record; zeros for a new store."""
        with self._errors(), self._map_lock, self._begin(self._meta) as txn:
            return read_state(txn, self._meta, self._data_path)

    def count_and_present(self, keys: Iterable[bytes]) -> tuple[StoreState, int]:
        """Return the bookkeeping and how many of `keys` are stored, in one moment."""
        with self._errors(), self._map_lock, self._begin(self._meta) as txn:
            state = read_state(txn, self._meta, self._data_path)
            stored = map(envelope.stored_key, keys)
            present = sum(txn.get(key, db=self._data) is not None for key in stored)
            return state, present

    def fold(self, ops: Sequence[tuple[int, KeyOp]], reached_lsn: int | None) -> None:
        """Apply ops with their LSNs in one synced transaction.

        `reached_lsn` is stored with them when they complete a checkpoint.
        """

        def apply(batch: WriteBatch) -> None:
            batch.apply_all(ops)
            if reached_lsn is not None:
                batch.reach(reached_lsn)

        if reached_lsn is not None:
            self.clear_dead_readers()  # or their pages would never be used again
        self.write(apply)

    def belong_to(self, uuid: bytes) -> None:
        """Note whose store this is, in one synced transaction."""
        self.write(partial(WriteBatch.belong_to, uuid=uuid))

    def clear(self, reached_lsn: int) -> None:
        """Remove every entry and store the LSN, in one synced transaction."""

        def empty(batch: WriteBatch) -> None:
            batch.clear()
            batch.reach(reached_lsn)

        self.write(empty)

    def write(self, change: Callable[[WriteBatch], _ResultT]) -> _ResultT:
        """Commit what `change` does in one transaction, and return what it returns.

        It is called again, on the same entries, when the map had to grow. What it
        raises is passed on, and nothing was written.
        """
        self._refuse_closed()
        if not self._opened.is_in_place():
            # LMDB would go on, into a file that nobody finds again.
            raise StorageError(
                f"{self._data_path} was removed while it was in use, or renamed, or "
                "replaced"
            )
        with self._errors():
            while True:
                try:
                    return self._attempt(change)
                except lmdb.MapFullError:
                    self._grow()
                except lmdb.Error as error:
                    self._raise_if_full(error)
                    raise

    def sync(self) -> None:
        """Bring everything committed to the medium; needed without `sync_commits`."""
        with self._errors():
            self._env.sync(True)

    def clear_dead_readers(self) -> None:
        """Forget the readers of processes that were killed while they read.

        Until then no page that such a reader might look at is used again.
        """
        with self._errors():
            self._env.reader_check()

    def transaction_id(self) -> int:
        """Return the number of the last transaction committed."""
        with self._errors(), self._map_lock:
            self._refuse_closed()
            return int(self._env.info()["last_txnid"])

    def page_problems(self) -> list[str]:
        """Return what is wrong with the pages that reads do not look at.

        Nothing may write meanwhile.
        """
        with self._errors(), self._storage.open_read(self._data_path) as file:
            page_bytes = int(self._env.stat()["psize"])
            return lmdb_pages.problems(file, page_bytes, self.transaction_id())

    def close(self) -> None:
        """Close the environment; everything committed is on the medium."""
        with self._map_lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._opened.release()

    def _attempt(self, change: Callable[[WriteBatch], _ResultT]) -> _ResultT:
        # The map must not move while the transaction begins; then LMDB sees to it.
        with self._map_lock:
            txn = self._begin(self._data, write=True)
        with txn:
            batch = WriteBatch(txn, self._data, self._meta, self._data_path)
            result = change(batch)
            batch.save()
        return result

    def _raise_if_full(self, error: lmdb.Error) -> None:
        # LMDB calls it an input/output error when a full disk cut its write short.
        free = self._storage.free_bytes(self._data_path)
        if _IO_ERROR in str(error) and free < _FULL_BYTES:
            raise disk_full(self._data_path, error) from error

    def _begin(self, db: Any, *, write: bool = False) -> lmdb.Transaction:
        self._refuse_closed()
        found: lmdb.Transaction = self._opened.begin(db, write=write)
        return found

    def _begin_views(self) -> lmdb.Transaction:
        self._refuse_closed()
        found: lmdb.Transaction = self._opened.begin(self._data, buffers=True)
        return found

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ClosedError(f"{self._data_path} was closed during this call")

    def _look_up(self, txn: lmdb.Transaction, key: bytes) -> Stored | None:
        lmdb_key = envelope.stored_key(key)
        data: Any = txn.get(lmdb_key)
        if data is None:
            return None
        found = verified(self._data_path, lmdb_key, data)
        return found if found.key == key else None

    def _grow(self) -> None:
        with self._map_lock:
            self._opened.resize(self._env.info()["map_size"] * 2)

    def missing_bytes(self, env: Any = None) -> int:
        """Return by how much the file is shorter than its pages say.

        Positive after an outside cut, and reading there kills the interpreter
        (SIGBUS); also when the last pages were taken and freed in one transaction.
        """
        env = env or self._env
        needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
        return int(needed) - self._file_bytes()

    def _refuse_cut(self, env: Any) -> None:
        if (missing := self.missing_bytes(env)) > 0:
            reason = f"the file is {missing} bytes too short"
            raise CorruptionError(self._data_path, reason)

    def _file_bytes(self) -> int:
        info = self._storage.info(self._data_path)
        return info.size_bytes if info else 0

    def _fit_map(self) -> None:
        # A map just above the file's own size would be full at the first write.
        size = self._file_bytes()
        while self._env.info()["map_size"] < size * 2:
            self._grow()

    def _sorted(self, run: key_runs.Run, reverse: bool) -> list[Stored]:
        entries = [verified(self._data_path, *item) for item in run]
        return sorted(entries, key=lambda entry: entry.key, reverse=reverse)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            raise mapped_error(error, self._data_path) from error


def _within(key: bytes, start: bytes | None, stop: bytes | None) -> bool:
    return (start is None or start <= key) and (stop is None or key < stop)


def _walked(txn: lmdb.Transaction) -> Iterator[Walked]:
    cursor: Any = txn.cursor()
    for lmdb_key, data in cursor:
        found: Any = txn.get(lmdb_key)
        yield lmdb_key, data, found

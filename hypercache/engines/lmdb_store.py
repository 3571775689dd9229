"""The only module that speaks to LMDB: environment, growth, error mapping.

Values are wrapped (`envelope`) and verified on every read. A record beside them keeps
the LSN reached, the number of entries and an additive digest, changed in the same
transaction. All transactions are short: no reader outlives one call.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import lmdb
import msgpack

from hypercache.engines import envelope, key_runs
from hypercache.engines.envelope import DIGEST_MASK, Stored
from hypercache.errors import (
    ClosedError,
    CorruptionError,
    DiskFullError,
    HyperCacheError,
    StorageError,
    UnsupportedFormatError,
)
from hypercache.ops import Delete, KeyOp, Put, Touch
from hypercache.os_errors import NO_SPACE
from hypercache.paths import LMDB_DATA
from hypercache.storage import Storage

_META = b"state"
_STEP_COUNT = 512  # entries, and bytes, that one read transaction of a scan collects
_STEP_BYTES = 4 << 20

DAMAGE: tuple[type[lmdb.Error], ...] = (
    lmdb.BadChecksumError,
    lmdb.CorruptedError,
    lmdb.CursorFullError,
    lmdb.InvalidError,
    lmdb.PageFullError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.ProblemError,
    lmdb.IncompatibleError,
    lmdb.BadDbiError,
    lmdb.NotFoundError,
)
# What strerror says of ENOSPC, EDQUOT and EFBIG; LMDB hands out nothing but the text.
_IO_ERROR = os.strerror(errno.EIO)
_FULL_BYTES = 1 << 20
NO_SPACE_TEXTS = tuple(os.strerror(code) for code in sorted(NO_SPACE))
FORMAT: tuple[type[lmdb.Error], ...] = (
    lmdb.VersionMismatchError,
    lmdb.EnvEncryptionError,
    lmdb.CryptoFailError,
)


class StoreState(NamedTuple):
    """What the store says of itself."""

    checkpoint_lsn: int = 0
    entry_count: int = 0
    digest: int = 0
    expiring_count: int = 0


class LmdbStore:
    """Keep entries in one LMDB environment.

    Reads may come from any thread; `fold` and `clear` from one at a time.

    Opened with `read_only` it takes no lock: nobody may write meanwhile. With
    `whole_file` a file shorter than its pages say is refused before it is read.

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
        whole_file: bool = False,
    ) -> None:
        self._storage = storage
        self._data_path = f"{path}/{LMDB_DATA}"
        # Growing the map unmaps it, which no reader would survive.
        self._map_lock = threading.Lock()
        self._closed = False
        found = storage.info(self._data_path)
        if not create and found is not None and not found.size_bytes:
            raise CorruptionError(self._data_path, "the file is empty")
        with self._errors():
            self._env = lmdb.open(
                path,
                map_size=map_bytes,
                max_dbs=2,
                max_readers=512,
                create=create,
                mode=0o600,
                readahead=False,
                readonly=read_only,
                lock=not read_only,
            )
            if whole_file and (missing := self.missing_bytes()) > 0:
                reason = f"the file is {missing} bytes too short"
                raise CorruptionError(self._data_path, reason)
            self._fit_map()
            self._data = self._env.open_db(b"data", create=create)
            self._meta = self._env.open_db(b"meta", create=create)

    def get(self, key: bytes) -> Stored | None:
        """Return the verified entry under a key, expired or not."""
        lmdb_key = envelope.stored_key(key)
        if not lmdb_key:
            return None
        try:
            with self._map_lock, self._begin(self._data) as txn:
                data: Any = txn.get(lmdb_key)
        except lmdb.Error as error:
            raise mapped_error(error, self._data_path, key) from error
        if data is None:
            return None
        found = self._unwrap(lmdb_key, data)
        return found if found.key == key else None

    def scan_step(
        self, start: bytes | None, stop: bytes | None, reverse: bool
    ) -> tuple[list[Stored], bool]:
        """Return the next entries of start <= key < stop, and whether more may follow.

        Read in one short transaction; go on behind the last key returned.
        """
        with self._errors(), self._map_lock, self._begin(self._data) as txn:
            walk = key_runs.backward if reverse else key_runs.forward
            found: list[Stored] = []
            size = 0
            for run in walk(txn.cursor(), start, stop):
                for entry in self._sorted(run, reverse):
                    if _within(entry.key, start, stop):
                        found.append(entry)
                        size += len(entry.value)
                if len(found) >= _STEP_COUNT or size >= _STEP_BYTES:
                    return found, True
            return found, False

    def walk(self) -> Iterator[tuple[bytes, bytes, bytes | None]]:
        """Yield every LMDB key with what a scan and what a look-up find under it.

        For verification only: one long reader, so nothing may write meanwhile.
        """
        with self._errors(), self._env.begin(db=self._data) as txn:
            for lmdb_key, data in txn.cursor():
                yield lmdb_key, data, txn.get(lmdb_key)

    def state(self) -> StoreState:
        """Return the bookkeeping record; zeros for a new store."""
        with self._errors(), self._map_lock, self._begin(self._meta) as txn:
            return _read_state(txn, self._meta)

    def count_and_present(self, keys: Iterable[bytes]) -> tuple[StoreState, int]:
        """Return the bookkeeping and how many of `keys` are stored, in one moment."""
        with self._errors(), self._map_lock, self._begin(self._meta) as txn:
            state = _read_state(txn, self._meta)
            stored = map(envelope.stored_key, keys)
            present = sum(txn.get(key, db=self._data) is not None for key in stored)
            return state, present

    def fold(self, ops: Sequence[tuple[int, KeyOp]], reached_lsn: int | None) -> None:
        """Apply ops with their LSNs in one synced transaction.

        `reached_lsn` is stored with them when they complete a checkpoint.
        """

        def apply(txn: lmdb.Transaction) -> None:
            state = self._fold_into(txn, ops, _read_state(txn, self._meta))
            if reached_lsn is not None:
                state = state._replace(checkpoint_lsn=reached_lsn)
            _write_state(txn, self._meta, state)

        self._write(apply)

    def clear(self, reached_lsn: int) -> None:
        """Remove every entry and store the LSN, in one synced transaction."""

        def empty(txn: lmdb.Transaction) -> None:
            txn.drop(self._data, delete=False)
            _write_state(txn, self._meta, StoreState(checkpoint_lsn=reached_lsn))

        self._write(empty)

    def transaction_id(self) -> int:
        """Return the number of the last transaction committed."""
        with self._errors():
            return int(self._env.info()["last_txnid"])

    def close(self) -> None:
        """Close the environment; everything committed is on the medium."""
        with self._map_lock:
            self._closed = True
            self._env.close()

    def _write(self, change: Callable[[lmdb.Transaction], None]) -> None:
        with self._errors():
            while True:
                try:
                    with self._env.begin(write=True, db=self._data) as txn:
                        change(txn)
                    return
                except lmdb.MapFullError:
                    self._grow()
                except lmdb.MapResizedError:
                    with self._map_lock:
                        self._env.set_mapsize(0)
                except lmdb.Error as error:
                    self._raise_if_full(error)
                    raise

    def _raise_if_full(self, error: lmdb.Error) -> None:
        # LMDB calls it an input/output error when a full disk cut its write short.
        free = self._storage.free_bytes(self._data_path)
        if _IO_ERROR in str(error) and free < _FULL_BYTES:
            raise disk_full(self._data_path, error) from error

    def _begin(self, db: Any) -> lmdb.Transaction:
        if self._closed:
            raise ClosedError(f"{self._data_path} was closed during this call")
        try:
            return self._env.begin(db=db)
        except lmdb.MapResizedError:
            # A helper process has grown the file beyond this map: adopt its size.
            self._env.set_mapsize(0)
            return self._env.begin(db=db)

    def _grow(self) -> None:
        with self._map_lock:
            self._env.set_mapsize(self._env.info()["map_size"] * 2)

    def missing_bytes(self) -> int:
        """Return by how much the file is shorter than its pages say.

        Positive after an outside cut, and reading there kills the interpreter
        (SIGBUS); also when the last pages were taken and freed in one transaction.
        """
        needed = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        return int(needed) - self._file_bytes()

    def _file_bytes(self) -> int:
        info = self._storage.info(self._data_path)
        return info.size_bytes if info else 0

    def _fit_map(self) -> None:
        # A map just above the file's own size would be full at the first write.
        size = self._file_bytes()
        while self._env.info()["map_size"] < size * 2:
            self._grow()

    def _fold_into(
        self,
        txn: lmdb.Transaction,
        ops: Iterable[tuple[int, KeyOp]],
        state: StoreState,
    ) -> StoreState:
        lsn, count, digest, expiring = state
        for op_lsn, op in ops:
            lmdb_key = envelope.stored_key(op.key)
            old: Any = txn.get(lmdb_key)  # bytes: no buffers=True here
            new = self._folded(lmdb_key, old, op_lsn, op)
            if old is not None:
                gone = envelope.summarize(old)
                count, digest = count - 1, digest - gone.digest
                expiring -= gone.expires
            if new is not None:
                come = envelope.summarize(new)
                count, digest = count + 1, digest + come.digest
                expiring += come.expires
                txn.put(lmdb_key, new)
            elif old is not None:
                txn.delete(lmdb_key)
        return StoreState(lsn, count, digest & DIGEST_MASK, expiring)

    def _folded(
        self, lmdb_key: bytes, old: bytes | None, lsn: int, op: KeyOp
    ) -> bytes | None:
        match op:
            case Put(key, value, expires_at_ms):
                return envelope.wrap(key, value, expires_at_ms, lsn)
            case Touch(key, expires_at_ms) if old is not None:
                value = self._unwrap(lmdb_key, old).value
                return envelope.wrap(key, value, expires_at_ms, lsn)
            case Delete() | Touch():
                return None

    def _unwrap(self, lmdb_key: bytes, data: bytes) -> Stored:
        found = envelope.unwrap(lmdb_key, data)
        if found is None:
            reason = "the stored value does not match its checksum"
            raise CorruptionError(self._data_path, reason, key=lmdb_key)
        return found

    def _sorted(self, run: key_runs.Run, reverse: bool) -> list[Stored]:
        entries = [self._unwrap(*item) for item in run]
        return sorted(entries, key=lambda entry: entry.key, reverse=reverse)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            raise mapped_error(error, self._data_path) from error


def mapped_error(
    error: lmdb.Error, path: str, key: bytes | None = None
) -> HyperCacheError:
    """Return the error of ours for one of LMDB's."""
    if isinstance(error, DAMAGE):
        return CorruptionError(path, f"LMDB: {error}", key=key)
    if isinstance(error, FORMAT):
        return UnsupportedFormatError(path, f"({error})", "the LMDB 0.9 format")
    if any(text in str(error) for text in NO_SPACE_TEXTS):
        return disk_full(path, error)
    return StorageError(f"{path}: {error}")


def disk_full(path: str, error: lmdb.Error) -> DiskFullError:
    """Return the error of ours for a write that found no space."""
    return DiskFullError(f"{path}: {error}; free some space, then go on")


def _within(key: bytes, start: bytes | None, stop: bytes | None) -> bool:
    return (start is None or start <= key) and (stop is None or key < stop)


def _read_state(txn: lmdb.Transaction, db: Any) -> StoreState:
    data = txn.get(_META, db=db)
    return StoreState(*msgpack.unpackb(data)) if data else StoreState()


def _write_state(txn: lmdb.Transaction, db: Any, state: StoreState) -> None:
    txn.put(_META, msgpack.packb(tuple(state)), db=db)

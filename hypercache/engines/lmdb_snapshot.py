"""Read one moment of an LMDB store, for as long as the reader likes.

Where somebody may write, the reader has a place in LMDB's table of readers, so that no
page of its moment is used again. Where nobody does, or the place cannot be taken (a
read-only mount), nothing at all is written, and a writer that comes later is noticed:
LMDB keeps the pages of a moment through one more commit, and not through two.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from hypercache.engines.lmdb_store import LmdbStore
from hypercache.errors import StorageError
from hypercache.options import MIB
from hypercache.storage import Storage

_COMMITS_SURVIVED = 1


class LmdbSnapshot(LmdbStore):
    """Show the store as of the last `renew`, for reading only.

    `shared`: other processes may write meanwhile.
    """

    def __init__(self, storage: Storage, path: str, *, shared: bool) -> None:
        self._txn: Any = None
        self._guarded = not shared
        super().__init__(
            storage,
            path,
            MIB,
            create=False,
            read_only=True,
            shared=shared,
            whole_file=not shared,
        )
        self.renew()

    def renew(self) -> None:
        """Move to the present."""
        with self._errors(), self._map_lock:
            self._drop()
            self._txn = super()._begin(self._data)

    def copy_to(self, path: str) -> None:
        """Write the moment shown, without free pages, as a store into a directory."""
        with self._errors(), self._map_lock:
            self._refuse_closed()
            self._env.copy(path, compact=True, txn=self._txn)

    def close(self) -> None:
        """Let go of the moment and of the store."""
        with self._map_lock:
            self._drop()
            super().close()

    def _begin(self, db: Any, *, write: bool = False) -> Any:
        assert not write, "a snapshot is for reading"
        self._refuse_closed()
        if self._guarded:
            self._refuse_overwritten()
        return self._shown(db)

    @contextlib.contextmanager
    def _shown(self, db: Any) -> Iterator[_Shown]:
        yield _Shown(self._txn, db)

    def _refuse_overwritten(self) -> None:
        commits = self._env.info()["last_txnid"] - self._txn.id()
        if commits > _COMMITS_SURVIVED:
            raise StorageError(
                f"{self._data_path}: a writer has come, and what this read-only handle "
                "shows may be overwritten; call refresh(), or open it again"
            )

    def _drop(self) -> None:
        txn, self._txn = self._txn, None
        if txn is not None:
            txn.abort()


class _Shown:
    """The pinned transaction, looked at through one of its databases."""

    def __init__(self, txn: Any, db: Any) -> None:
        self._txn, self._db = txn, db

    def get(self, key: bytes, db: Any = None) -> Any:
        """Look a key up."""
        return self._txn.get(key, db=db or self._db)

    def cursor(self) -> Any:
        """Walk the database."""
        return self._txn.cursor(db=self._db)

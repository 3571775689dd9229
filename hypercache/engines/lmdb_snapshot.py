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

from hypercache.engines.lmdb_env import Moment
from hypercache.engines.lmdb_store import LmdbStore
from hypercache.errors import StorageError
from hypercache.options import MIB
from hypercache.storage import Storage

_COMMITS_SURVIVED = 1


class SnapshotLostError(StorageError):
    """Say that the pages of a snapshot may have been used for something else."""


class LmdbSnapshot(LmdbStore):
    """Show the store as of now until `close`, for reading only.

    `shared`: other processes may write meanwhile.

    Raises:
        SnapshotLostError: by any method, see above; a new snapshot helps.
    """

    def __init__(self, storage: Storage, path: str, *, shared: bool) -> None:
        super().__init__(
            storage,
            path,
            MIB,
            create=False,
            read_only=True,
            shared=shared,
            whole_file=not shared,
        )
        try:
            with self._errors():
                self._moment: Moment = self._opened.moment()
        except BaseException:
            super().close()
            raise

    def copy_to(self, path: str) -> None:
        """Write the moment shown, without free pages, as a store into a directory."""
        with self._errors(), self._intact():
            self._refuse_closed()
            self._opened.copy(path, self._moment)

    def close(self) -> None:
        """Let go of the moment and of the store."""
        with self._map_lock:
            self._moment.let_go()
        super().close()

    def _begin(self, db: Any, *, write: bool = False) -> Any:
        assert not write, "a snapshot is for reading"
        self._refuse_closed()
        return self._shown(db)

    @contextlib.contextmanager
    def _shown(self, db: Any) -> Iterator[_Shown]:
        with self._intact():
            yield _Shown(self._moment.txn, db)

    @contextlib.contextmanager
    def _intact(self) -> Iterator[None]:
        """Make sure that nothing was used again before the end of the block."""
        self._refuse_lost()
        try:
            yield
        except Exception as error:
            self._refuse_lost(error)
            raise
        self._refuse_lost()

    def _refuse_lost(self, cause: Exception | None = None) -> None:
        if self._is_lost() and not self._closed:
            raise SnapshotLostError(
                f"{self._data_path}: a writer has come, or needed more room, and what "
                "this read-only handle shows may be overwritten; call refresh(), or "
                "open it again"
            ) from cause

    def _is_lost(self) -> bool:
        if self._moment.txn is None:
            return True
        if self._opened.keeps_moments:
            return False
        last_id = int(self._env.info()["last_txnid"])
        return last_id - self._moment.id > _COMMITS_SURVIVED


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

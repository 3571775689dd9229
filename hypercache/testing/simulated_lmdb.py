"""A stand-in for LMDB on a simulated disk, one that commits atomically.

LMDB does its own I/O, so it cannot run on a `SimDisk`. While `installed` is active,
what opens LMDB opens a `SimStore`. Everything else that runs is the real code:
creation, log, group commit, checkpoints, compactions, recovery.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import SimpleNamespace
from unittest import mock

import msgpack

from hypercache.engines import envelope, identity, lmdb_reader, lmdb_walk, opening
from hypercache.engines.base import Entry, changed_entry
from hypercache.engines.envelope import Head, Stored
from hypercache.engines.lmdb_store import StoreState
from hypercache.errors import ConfigError
from hypercache.ops import KeyOp, Put
from hypercache.paths import LMDB_DATA, StorePaths
from hypercache.recovery import lmdb_source, output
from hypercache.recovery.entries import Item
from hypercache.recovery.lmdb_source import LmdbSource
from hypercache.testing.simulated_disk import SimDisk

_Entries = dict[bytes, tuple[bytes, int, int]]


class SimStore:
    """Do what LmdbStore does, on one file of a SimDisk that changes at once."""

    def __init__(
        self, storage: SimDisk, path: str, map_bytes: int = 0, *, create: bool
    ) -> None:
        del map_bytes
        if not isinstance(storage, SimDisk):
            raise ConfigError(
                f"{path} is not on the simulated disk, and LMDB is replaced for now; "
                "open it before or after"
            )
        self._disk, self._path = storage, f"{path}/{LMDB_DATA}"
        self._txn, self._lsn, self._uuid = 0, 0, b""
        self._entries: _Entries = {}
        if create:
            storage.create(self._path, mapped=False).close()
            self._commit({}, 0)
        else:
            self._txn, self._lsn, self._uuid, self._entries = msgpack.unpackb(
                storage.read(self._path), use_list=False
            )

    def get(self, key: bytes) -> Stored | None:
        """Return an entry."""
        return Stored(key, *self._entries[key]) if key in self._entries else None

    def find(self, key: bytes) -> tuple[bytes, int] | None:
        """Return value and expiry under a key."""
        found = self._entries.get(key)
        return found[:2] if found else None

    def scan_step(
        self, start: bytes | None, stop: bytes | None, reverse: bool
    ) -> tuple[list[Stored], bool]:
        """Return all entries of the range at once, and that there are no more."""
        keys = sorted(self._entries, reverse=reverse)
        wanted = [
            Stored(key, *self._entries[key])
            for key in keys
            if (start is None or key >= start) and (stop is None or key < stop)
        ]
        return wanted, False

    def heads(self, start: bytes, count: int) -> list[Head]:
        """Return the heads of the first entries at or behind a key."""
        keys = sorted(key for key in self._entries if key >= start)[:count]
        return [Head(key, *self._entries[key][:0:-1]) for key in keys]

    def last_key(self) -> bytes | None:
        """Return the highest key, None without any."""
        return max(self._entries, default=None)

    def keep_resident(self, size_bytes: int) -> None:
        """Do nothing: there is no map."""

    def state(self) -> StoreState:
        """Return the LSN reached, and counts."""
        expiring = sum(entry[1] > 0 for entry in self._entries.values())
        size = sum(map(_data_bytes, self._entries.items()))
        return StoreState(self._lsn, len(self._entries), 0, expiring, size, self._uuid)

    def count_and_present(self, keys: Iterable[bytes]) -> tuple[StoreState, int]:
        """Return the state, and how many of the keys are there."""
        return self.state(), sum(key in self._entries for key in keys)

    def fold(self, ops: Sequence[tuple[int, KeyOp]], reached_lsn: int | None) -> None:
        """Apply ops in one transaction."""
        entries = dict(self._entries)
        for lsn, op in ops:
            known = entries.get(op.key)
            entry = changed_entry(Entry(*known[:2]) if known else None, op)
            if entry is None:
                entries.pop(op.key, None)
            else:
                entries[op.key] = (*entry, lsn)
        self._commit(entries, self._lsn if reached_lsn is None else reached_lsn)

    def belong_to(self, uuid: bytes) -> None:
        """Note whose store this is, in one transaction."""
        self._uuid = uuid
        self._commit(self._entries, self._lsn)

    def clear(self, reached_lsn: int) -> None:
        """Remove every entry in one transaction."""
        self._commit({}, reached_lsn)

    def transaction_id(self) -> int:
        """Return the number of the last transaction."""
        return self._txn

    def missing_bytes(self) -> int:
        """Return how much of the file is gone: nothing."""
        return 0

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _commit(self, entries: _Entries, lsn: int) -> None:
        data = msgpack.packb((self._txn + 1, lsn, self._uuid, entries))
        self._disk.commit(self._path, data)
        # Only now: a transaction that failed has changed nothing.
        self._txn, self._lsn, self._entries = self._txn + 1, lsn, entries


class SimSnapshot(SimStore):
    """Do what LmdbSnapshot does: show a SimStore as of one moment."""

    def __init__(self, storage: SimDisk, path: str, *, shared: bool) -> None:
        del shared
        super().__init__(storage, path, create=False)

    def copy_to(self, path: str) -> None:
        """Write the moment shown as a store into a directory, as LMDB does: unsynced.

        LMDB counts its transactions anew in a copy.
        """
        data = msgpack.packb((1, self._lsn, self._uuid, self._entries))
        with contextlib.closing(
            self._disk.create(f"{path}/{LMDB_DATA}", mapped=False)
        ) as file:
            file.write_at(0, data)


class SimSource(LmdbSource):
    """Do what LmdbSource does: hand a recovery the entries of a SimStore."""

    def puts(self, *_arguments: object) -> Iterator[Item]:
        """Yield the entries as puts, each with its own LSN."""
        entries = self.contents()[-1]
        for key, (value, expires_at_ms, lsn) in entries.items():
            yield lsn, Put(key, value, expires_at_ms)

    def contents(self) -> tuple[int, int, bytes, _Entries]:
        """Return transaction, LSN, uuid and entries."""
        data = self.storage.read(self.path)
        txn, lsn, uuid, entries = msgpack.unpackb(data, use_list=False)
        return txn, lsn, uuid, entries


@contextlib.contextmanager
def installed(urandom: Callable[[int], bytes] = os.urandom) -> Iterator[None]:
    """Open SimStore where LMDB would be opened, while the block runs.

    Stores made meanwhile have uuids from `urandom`: one that gives the same bytes each
    time makes the same writes give the same files.
    """
    with contextlib.ExitStack() as patches:
        for module, name, stand_in in (
            (opening, "LmdbStore", SimStore),
            (lmdb_reader, "LmdbSnapshot", SimSnapshot),
            (lmdb_walk, "verify", _no_problems),
            (lmdb_walk, "maybe_verify", _no_problems),
            (output, "LmdbStore", SimStore),
            (lmdb_source, "load", _sim_source),
        ):
            patches.enter_context(mock.patch.object(module, name, stand_in))
        known = SimpleNamespace(path=os.path, urandom=urandom)
        patches.enter_context(mock.patch.object(identity, "os", known))
        yield


def _data_bytes(item: tuple[bytes, tuple[bytes, int, int]]) -> int:
    key, (value, expires_at_ms, lsn) = item
    stored = envelope.wrap(key, value, expires_at_ms, lsn)
    return len(envelope.stored_key(key)) + len(stored)


def _no_problems(*_arguments: object, **_options: object) -> list[object]:
    return []


def _sim_source(storage: SimDisk, paths: StorePaths, *_arguments: object) -> SimSource:
    source = SimSource(storage, paths.lmdb_data)
    source.lsn = source.contents()[1]
    return source

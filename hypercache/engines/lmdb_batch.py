"""What one write transaction of an LMDB store does: entries, and the record of them.

The record (LSN reached, number and size of the entries, digest, whose store it is) is
changed in the transaction that changes the entries, so the two never part.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import msgpack

from hypercache.checksum import crc32c
from hypercache.engines import envelope
from hypercache.engines.envelope import (
    DIGEST_MASK,
    HEAD,
    SHORT_KEY_BYTES,
    Stored,
    pack_crc,
    pack_short,
    unpack_head,
)
from hypercache.errors import CorruptionError
from hypercache.ops import Delete, KeyOp, Put, Touch
from hypercache.options import MAX_LSN

_META = b"state"


class StoreState(NamedTuple):
    """What the store says of itself."""

    checkpoint_lsn: int = 0
    entry_count: int = 0
    digest: int = 0
    expiring_count: int = 0
    data_bytes: int = 0
    uuid: bytes = b""


class Transaction(Protocol):
    """What is used of an LMDB transaction; without `db` the entries are meant."""

    def get(self, key: bytes, /, *, db: Any = ...) -> Any:
        """Return the bytes under a key, or None."""

    def put(self, key: bytes, value: bytes, /, *, db: Any = ...) -> bool:
        """Store bytes."""

    def delete(self, key: bytes, /) -> bool:
        """Remove a key."""

    def cursor(self) -> Any:
        """Return a cursor on the entries."""

    def drop(self, db: Any, /, *, delete: bool) -> None:
        """Empty a database."""

    def id(self) -> int:
        """Return the number under which it will be committed."""


class WriteBatch:
    """Change entries inside one transaction; `save` before it is committed."""

    def __init__(self, txn: Transaction, data: Any, meta: Any, data_path: str) -> None:
        self._txn, self._data, self._meta = txn, data, meta
        self._data_path = data_path
        self._changed = False
        state = read_state(txn, meta, data_path)
        self.lsn, self._count, self._digest, self._expiring = state[:4]
        self._bytes, self._uuid = state.data_bytes, state.uuid

    @property
    def entry_count(self) -> int:
        """Return the number of entries as this transaction has them."""
        return self._count

    @property
    def data_bytes(self) -> int:
        """Return the length of their LMDB keys and envelopes."""
        return self._bytes

    @property
    def transaction_id(self) -> int:
        """Return the number under which this transaction will be committed."""
        return self._txn.id()

    def get(self, key: bytes) -> Stored | None:
        """Return the verified entry under a key as this transaction has it."""
        lmdb_key = envelope.stored_key(key)
        data = self._txn.get(lmdb_key)
        if data is None:
            return None
        found = verified(self._data_path, lmdb_key, data)
        return found if found.key == key else None

    def apply(self, lsn: int, op: KeyOp) -> None:
        """Apply one op under an LSN of its own."""
        lmdb_key = envelope.stored_key(op.key)
        old = self._txn.get(lmdb_key)  # bytes: no buffers=True here
        new = self._made(lmdb_key, old, lsn, op)
        self._changed = True
        if old is not None:
            gone = envelope.summarize(old)
            self._count -= 1
            self._digest -= gone.digest
            self._expiring -= gone.expires
            self._bytes -= len(lmdb_key) + len(old)
        if new is not None:
            come = envelope.summarize(new)
            self._count += 1
            self._digest += come.digest
            self._expiring += come.expires
            self._bytes += len(lmdb_key) + len(new)
            self._txn.put(lmdb_key, new)
        elif old is not None:
            self._txn.delete(lmdb_key)

    def apply_all(self, ops: Iterable[tuple[int, KeyOp]]) -> None:
        """Apply many ops, each under its LSN; fastest in the order of their keys."""
        # One cursor for all: it finds most keys on the page where it is.
        replace = self._txn.cursor().replace
        count = crcs = lsns = expiring = size = 0
        for lsn, op in ops:
            if type(op) is not Put or len(op.key) > SHORT_KEY_BYTES:
                self.apply(lsn, op)
                continue
            # A checkpoint does little else: `wrap` and `summarize`, written out.
            key, value, expires_at_ms = op
            body = pack_short(0, expires_at_ms, lsn) + value
            crc = crc32c(key + body)
            old = replace(key, pack_crc(crc) + body)
            count, crcs, lsns = count + 1, crcs + crc, lsns + lsn
            expiring += expires_at_ms > 0
            size += len(key) + HEAD.size + len(value)
            if old is not None and len(old) >= HEAD.size:
                old_crc, _, old_expires_at_ms, old_lsn = unpack_head(old)
                count, crcs, lsns = count - 1, crcs - old_crc, lsns - old_lsn
                expiring -= old_expires_at_ms > 0
                size -= len(key) + len(old)
        self._changed = True
        self._count += count
        self._digest += envelope.digest_of(crcs, lsns)
        self._expiring += expiring
        self._bytes += size

    def clear(self) -> None:
        """Remove every entry."""
        self._txn.drop(self._data, delete=False)
        self._changed = True
        self._count = self._digest = self._expiring = self._bytes = 0

    def belong_to(self, uuid: bytes) -> None:
        """Note whose store this is."""
        self._changed = True
        self._uuid = uuid

    def reach(self, lsn: int) -> None:
        """Note the last LSN that this transaction contains."""
        self._changed = self._changed or lsn != self.lsn
        self.lsn = lsn

    def save(self) -> None:
        """Write the record; without a change nothing, so that no commit is made."""
        if self._changed:
            digest = self._digest & DIGEST_MASK
            summary = self.lsn, self._count, digest, self._expiring, self._bytes
            state = StoreState(*summary, self._uuid)
            self._txn.put(_META, pack_state(state), db=self._meta)

    def _made(
        self, lmdb_key: bytes, old: bytes | None, lsn: int, op: KeyOp
    ) -> bytes | None:
        match op:
            case Put(key, value, expires_at_ms):
                return envelope.wrap(key, value, expires_at_ms, lsn)
            case Touch(key, expires_at_ms) if old is not None:
                value = verified(self._data_path, lmdb_key, old).value
                return envelope.wrap(key, value, expires_at_ms, lsn)
            case Delete() | Touch():
                return None


def read_state(txn: Transaction, meta: Any, data_path: str) -> StoreState:
    """Return the record; zeros for a new store.

    Raises:
        CorruptionError: it is none.
    """
    data = txn.get(_META, db=meta)
    if not data:
        return StoreState()
    state = maybe_state(data)
    if state is None:
        raise CorruptionError(data_path, "the record of what it holds is damaged")
    return state


def pack_state(state: StoreState) -> bytes:
    """Return the record, with a checksum: its LSN says which ops of a log count."""
    packed: bytes = msgpack.packb((*state, crc32c(msgpack.packb(state))))
    return packed


def maybe_state(data: bytes) -> StoreState | None:
    """Return what a record says, None if `pack_state` did not write it."""
    try:
        *numbers, crc = msgpack.unpackb(data)
        state = StoreState(*numbers)
        sound = state.checkpoint_lsn <= MAX_LSN
        return state if sound and crc == crc32c(msgpack.packb(state)) else None
    except (ValueError, TypeError, msgpack.UnpackException):
        return None


def verified(data_path: str, lmdb_key: bytes, data: bytes) -> Stored:
    """Return what an envelope holds.

    Raises:
        CorruptionError: its checksum does not match.
    """
    found = envelope.unwrap(lmdb_key, data)
    if found is None:
        reason = "the stored value does not match its checksum"
        raise CorruptionError(data_path, reason, key=lmdb_key)
    return found

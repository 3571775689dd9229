"""Leases: of all processes that share a store, one makes a value.

A lease is a record beside the entry, written in one op if nobody has one. It names its
owner by boot, process and start time, so that the death of the owner ends it at once,
and it expires like any entry where nobody can tell. Its token fences: a value is
stored only together with the end of the lease it was made under. After the leases of
Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgpack

from hypercache import liveness
from hypercache.attributes import record
from hypercache.engines.base import Delete, Entry, KeyOp, Put, StorageEngine
from hypercache.reserved import lease_key

_TOKEN_BYTES = 8


class Lease(NamedTuple):
    """The right to make the value of one key."""

    key: bytes
    token: bytes


def maybe_acquire(
    engine: StorageEngine,
    key: bytes,
    ttl_ms: float,
    stored: Callable[[bytes], bytes],
) -> Lease | None:
    """Return a lease of so many milliseconds, None while another has one.

    `stored` makes the stored form of a record.

    Raises:
        LimitError: the key is too long.
    """
    lease = Lease(lease_key(key), os.urandom(_TOKEN_BYTES))
    owner = liveness.myself()
    op = Put(
        lease.key,
        stored(record(msgpack.packb([lease.token, *owner]))),
        int(engine.now_ms() + ttl_ms),
    )
    taken = engine.update(lease.key, lambda entry: op if _is_free(entry) else None)
    return lease if taken is not None else None


def store(
    engine: StorageEngine,
    lease: Lease,
    ops: Sequence[KeyOp],
    is_wanted: Callable[[], bool],
) -> None:
    """End a lease, and apply ops in the same batch if it is still held."""
    with engine.exclusive():
        if _is_held(engine.get_entry(lease.key), lease):
            engine.apply([*(ops if is_wanted() else ()), Delete(lease.key)])


def release(engine: StorageEngine, lease: Lease) -> None:
    """End a lease if it is still held."""
    end = Delete(lease.key)
    engine.update(lease.key, lambda entry: end if _is_held(entry, lease) else None)


def _is_held(entry: Entry | None, lease: Lease) -> bool:
    return entry is not None and _parts(entry)[0] == lease.token


def _is_free(entry: Entry | None) -> bool:
    if entry is None:
        return True
    _, *owner = _parts(entry)
    return liveness.is_gone(liveness.Process(*owner))


def _parts(entry: Entry) -> list[Any]:
    parts: list[Any] = msgpack.unpackb(entry.value[len(record(b"")) :])
    return parts

"""Invariant: a payload is the ops that were written, or ValueError; memory bounded.

Whatever is taken for ops could have been written: limits of keys and expiries hold, and
encoded again they are the same ops.
"""

from __future__ import annotations

import msgpack

from fuzz.feed import Feed
from hypercache import ops
from hypercache.ops import Clear, Delete, Op, Put, Touch


def check(data: bytes) -> None:
    """Decode a payload with the count that it announces."""
    feed = Feed(data)
    count = feed.pick((1, 1, 1, 2, 3, 0, feed.number(2), feed.number(4)))
    payload = feed.rest()
    try:
        found = list(ops.decode(payload, count))
    except ValueError:
        return
    assert len(found) == count
    for op in found:
        _check_limits(op)
    assert list(ops.decode(ops.encode(ops.Packer(), found), count)) == found
    sized = ops.decode_sized(payload, count)
    assert [op for op, _ in sized] == found
    assert sum(size for _, size in sized) == len(payload)
    unpacked = ops.unpack(payload, count)
    for skipped in range(min(count, 4)):
        rest = ops.as_ops(ops.without_first(unpacked, skipped))
        assert list(rest) == found[skipped:]


def _check_limits(op: Op) -> None:
    if isinstance(op, Clear):
        return
    ops.check_key(op.key)
    if isinstance(op, Put):
        ops.check_value(op.key, op.value)
    if not isinstance(op, Delete):
        assert op.expires_at_ms in range(1 << 64)


def seeds() -> dict[str, bytes]:
    """Return batches as they are written, and msgpack that is none."""
    batches: dict[str, list[Op]] = {
        "put": [Put(b"key", b"value")],
        "batch": [Put(b"k", b"v", 1 << 42), Delete(b"k"), Touch(b"k", 0)],
        "puts": [Put(b"a", b"1"), Put(b"b", b"2" * 300)],
        "clear": [Clear()],
        "long-key": [Delete(b"k" * 300)],
    }
    choice = {1: 0, 2: 3, 3: 4}
    found = {
        name: bytes([choice[len(batch)]]) + bytes(6) + ops.encode(ops.Packer(), batch)
        for name, batch in batches.items()
    }
    head = bytes([0]) + bytes(6)
    found |= {
        "map": head + msgpack.packb({b"k": 1}),
        "ext": head + msgpack.packb(msgpack.ExtType(2, b"key")),
        "nested": head + b"\xdd\x00\x00\xff\xff" * 40,
        "wrong-types": head + msgpack.packb([1, "key", None, -1]),
        "timestamp": head + msgpack.packb(msgpack.Timestamp(1, 2)),
    }
    return found

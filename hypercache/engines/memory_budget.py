"""How the memory of a hybrid store is divided, `Options.memory_bytes` in all.

A quarter is kept for what cannot be told exactly: the segments and the pages of LMDB
that are mapped, the ops of the segment in which a memtable becomes full, and what
malloc keeps; an eighth for the keys that an eviction policy knows. One half of the rest
is for the memtable that takes the writes, because the longer a checkpoint waits the
fewer pages of LMDB it writes for each entry; the other half for the read cache, which
lends it to the memtable that is being folded.
"""

from __future__ import annotations

from dataclasses import replace

from hypercache.engines.costs import dict_bytes
from hypercache.options import MIB, Options

LEAST_MEMTABLE_BYTES = 4 * MIB  # below that a store would do little but fold
_LEAST_SEGMENT_BYTES = MIB
_RESERVE_SHARE = 3
_SEGMENT_SHARE = _MAP_SHARE = 16  # the log maps one segment, for a moment two
_POLICY_SHARE = 8  # see `disk_limits`
# Two objects beside what the log has of an entry, less what the frame adds there.
_ENTRY_BYTES = 48


def memtable_bytes(options: Options) -> int:
    """Return what the memtable may take when a checkpoint begins."""
    return max(LEAST_MEMTABLE_BYTES, _half(options))


def read_cache_bytes(options: Options) -> int:
    """Return what the read cache may take, with what is being folded."""
    return _half(options)


def _half(options: Options) -> int:
    """Return half of what entries may take."""
    whole = options.memory_bytes
    limited = options.max_items is not None or options.max_bytes is not None
    policy_bytes = whole // _POLICY_SHARE if limited else 0
    return (whole - whole // _RESERVE_SHARE - policy_bytes) // 2


def mapped_bytes(options: Options) -> int:
    """Return how much of LMDB may be looked at before its pages are given back."""
    return max(MIB, options.memory_bytes // _MAP_SHARE)


def in_short_segments(options: Options, memory_bytes: int) -> Options:
    """Return the options with segments that take little of the memory when mapped."""
    most = max(_LEAST_SEGMENT_BYTES, memory_bytes // _SEGMENT_SHARE)
    return replace(options, segment_bytes=min(options.segment_bytes, most))


def estimate_memtable_bytes(key_count: int, op_count: int, log_bytes: int) -> int:
    """Return what a memtable takes that ops of so many bytes of log have left.

    What a key had before it was written over is gone: the log is counted in proportion.
    """
    kept_bytes = log_bytes * key_count // max(1, op_count)
    return kept_bytes + key_count * _ENTRY_BYTES + dict_bytes(key_count)

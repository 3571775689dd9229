"""Rewrite a base and sealed increments into a new base, step by step.

What the engine, its helper process and the command line run to compact a log is this
same code; it needs nothing of the engine but the files.
"""

from __future__ import annotations

from collections.abc import Generator

from hypercache.aof.base import BaseReader, BaseWriter, Block, BlockSlot
from hypercache.aof.manifest import BaseFacts, Manifest
from hypercache.errors import CorruptionError
from hypercache.net_ops import NetOps, OpsByKey
from hypercache.ops import KeyOp, Put, Touch
from hypercache.paths import TEMP_SUFFIX, StorePaths
from hypercache.storage import Storage

_STEP_COUNT = 2_000  # entries between two pauses


def compact(
    storage: Storage, paths: StorePaths, uuid: bytes, manifest: Manifest
) -> Generator[int, None, BaseFacts]:
    """Write the base that stands for everything the manifest names; return its facts.

    All increments of the manifest must be sealed. The base is complete and on the
    medium on return, but does not count before a manifest names it. Yields now and
    then, so that the caller can pause or stop there; who stops it prunes.

    Memory: the last op of each key in the increments.

    Raises:
        CorruptionError: base or increments are damaged; no base was made.
    """
    net = NetOps(storage, paths.increments, uuid)
    yield from net.read(manifest.extent)
    path = paths.bases.segment(manifest.next_base)
    temporary = path + TEMP_SUFFIX
    storage.unlink(temporary)
    file = storage.create(temporary, mapped=False)
    try:
        writer = BaseWriter(file, uuid, manifest.next_base, net.reached_lsn)
        if not net.cleared_lsn:
            old = storage, paths, uuid, manifest
            for base_bytes in _take_over(*old, net.by_key, writer):
                yield net.read_bytes + base_bytes
        for _ in _add_new(net.by_key, writer):
            yield net.read_bytes
        facts = writer.finish()
    except GeneratorExit:
        raise  # not a step more: this may be a forked child, and the file its parent's
    except BaseException:
        storage.unlink(temporary)
        raise
    finally:
        file.close()
    storage.rename(temporary, path)
    return facts


def _take_over(
    storage: Storage,
    paths: StorePaths,
    uuid: bytes,
    manifest: Manifest,
    net: OpsByKey,
    writer: BaseWriter,
) -> Generator[int, None, None]:
    """Copy what is left of the old base, and take its keys out of `net`."""
    if manifest.base is None:
        return
    path = paths.bases.segment(manifest.base.number)
    if storage.info(path) is None:
        raise CorruptionError(path, "the base is missing")
    with storage.open_read(path) as file:
        reader = BaseReader(file, uuid, manifest.base)
        entry_count = 0
        for found in reader.frames():
            block = reader.decode(found)
            entry_count += len(block)
            if net.keys().isdisjoint(block):
                writer.add_block(bytes(found.payload), len(block))
            else:
                _add_changed(block, net, writer)
            yield found.end
        reader.check_count(entry_count)


def _add_changed(block: Block, net: OpsByKey, writer: BaseWriter) -> None:
    for key, slot in block.items():
        change = net.pop(key, None)
        after = _after(slot, change[1]) if change else slot
        if after is not None:
            writer.add(key, after)


def _add_new(net: OpsByKey, writer: BaseWriter) -> Generator[int, None, None]:
    for index, (key, (_, op)) in enumerate(net.items()):
        slot = _after(None, op)
        if slot is not None:
            writer.add(key, slot)
        if index % _STEP_COUNT == 0:
            yield index


def _after(slot: BlockSlot | None, op: KeyOp) -> BlockSlot | None:
    """Return what an op makes of an entry."""
    if isinstance(op, Put):
        return (op.value, op.expires_at_ms) if op.expires_at_ms else op.value
    if isinstance(op, Touch) and slot is not None:
        value = slot if isinstance(slot, bytes) else slot[0]
        return (value, op.expires_at_ms) if op.expires_at_ms else value
    return None

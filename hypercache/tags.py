"""Tags: a name for many entries, under which all of them are invalidated at once.

A tag has a generation, a random number in a record of its own, and an entry notes the
generations that its tags had when it was written. It is shown as long as these are
still the generations. To invalidate is to remove the record: one write, however many
entries there are; the next entry with the tag makes a new generation.

So a record that is lost to eviction costs misses, and never shows what was invalidated.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from hypercache.arguments import key_bytes
from hypercache.attributes import record
from hypercache.engines.base import Put, StorageEngine
from hypercache.errors import ArgumentTypeError, LimitError
from hypercache.reserved import MAX_TAG_BYTES, tag_key

GENERATION_BYTES = 8
Generations = tuple[tuple[bytes, bytes], ...]


def names(tags: Any) -> tuple[bytes, ...]:
    """Return the bytes of tags, each once and in order.

    Raises:
        ArgumentTypeError: they are no collection of str or bytes.
        LimitError: one is empty or longer than 255 bytes.
    """
    if isinstance(tags, (str, bytes)) or not isinstance(tags, Iterable):
        raise ArgumentTypeError(
            f"tags is a collection of names, such as ('user:7',), not {tags!r:.60}"
        )
    return tuple(sorted({name(tag) for tag in tags}))


def record_key(tag: Any) -> bytes:
    """Return the key of a tag's record; raises as `names` does."""
    return tag_key(name(tag))


def name(tag: Any) -> bytes:
    """Return the bytes of a tag; raises as `names` does."""
    found = key_bytes(tag)
    if not 0 < len(found) <= MAX_TAG_BYTES:
        raise LimitError(f"a tag has 1 to {MAX_TAG_BYTES} bytes, not {tag!r:.60}")
    return found


def generations(
    engine: StorageEngine,
    tags: Iterable[bytes],
    stored: Callable[[bytes], bytes],
) -> tuple[Generations, list[Put]]:
    """Return the generations of tags, and the writes that begin those without one.

    Ask inside `exclusive`; `stored` makes the stored form of a record.
    """
    found, begun = [], []
    for tag in tags:
        key = tag_key(tag)
        data = engine.get(key)
        if data is None:
            data = stored(record(os.urandom(GENERATION_BYTES)))
            begun.append(Put(key, data))
        found.append((tag, bytes(data[-GENERATION_BYTES:])))
    return tuple(found), begun


def are_current(
    engine: StorageEngine,
    noted: Generations,
    note_access: Callable[[bytes], object],
) -> bool:
    """Tell whether the generations that an entry notes are still those of its tags."""
    for tag, generation in noted:
        key = tag_key(tag)
        data = engine.get(key)
        if data is None or data[-GENERATION_BYTES:] != generation:
            return False
        note_access(key)
    return True

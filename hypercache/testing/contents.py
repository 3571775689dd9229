"""What is in an engine."""

from __future__ import annotations

from hypercache.engines import StorageEngine
from hypercache.engines.base import Entry


def entries(engine: StorageEngine) -> dict[bytes, Entry]:
    """Return every live entry."""
    return dict(engine.scan())


def contents(engine: StorageEngine) -> dict[bytes, bytes]:
    """Return every live value."""
    return {key: entry.value for key, entry in engine.scan()}


def fill(engine: StorageEngine, count: int) -> dict[bytes, bytes]:
    """Put values under key-0000 and so on, and return them."""
    written = {b"key-%04d" % n: b"%d " % n * 15 for n in range(count)}
    for key, value in written.items():
        engine.put(key, value)
    return written

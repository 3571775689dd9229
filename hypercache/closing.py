"""Close the engine of a cache that was forgotten instead of closed."""

from __future__ import annotations

import threading

from hypercache.engines.base import StorageEngine


def close_forgotten(engine: StorageEngine) -> None:
    """Close the engine, in another thread where this one is the engine's own.

    Garbage may be collected in any thread, and an engine's own cannot wait for its
    end.
    """
    if threading.current_thread().name.startswith("hypercache-"):
        threading.Thread(target=engine.close, name="closing").start()
    else:
        engine.close()

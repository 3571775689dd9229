"""Why an engine refuses to work, in words that say what to do next."""

from __future__ import annotations

import os

from hypercache.errors import ClosedError, ForkedStoreError, ReentrantCallError


def closed(root: str) -> ClosedError:
    """Return the error of a call on a closed engine."""
    return ClosedError(f"the store {root} is closed; open it again")


def forked(root: str) -> ForkedStoreError:
    """Return the error of a call in a process that inherited the engine."""
    return ForkedStoreError(
        f"the store {root} was opened before the fork, by process {os.getppid()}; "
        "open it after the fork, or start the process with spawn"
    )


def reentrant(root: str) -> ReentrantCallError:
    """Return the error of a write that interrupts a write of the same thread."""
    return ReentrantCallError(
        f"a write to {root} is under way in this thread; let the signal handler or "
        "callback leave a note, and write when it has ended"
    )

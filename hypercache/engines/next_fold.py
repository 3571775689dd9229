"""Let the helper of the next checkpoint read while the present one still runs.

A writer that has to wait for a checkpoint leaves a core idle, and of the next one a
third is reading the log, most of which is sealed by then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from hypercache.engines.fold_helper import FoldHelper
from hypercache.log_reader import Extent


class NextFold:
    """Own a helper that nobody has told to fold yet.

    `start` makes one, and `is_over` tells when none may be made any more: whoever
    discards after that leaves none behind.
    """

    def __init__(
        self,
        start: Callable[[Extent], FoldHelper | None],
        is_over: Callable[[], bool],
    ) -> None:
        self._start, self._is_over = start, is_over
        self._helper: FoldHelper | None = None
        # Reentrant: a signal handler may close the store.
        self._lock = threading.RLock()

    def prepare(self, extent: Extent) -> None:
        """Let a helper begin to read, unless there is one."""
        with self._lock:
            if self._helper is None and not self._is_over():
                self._helper = self._start(extent)

    def take(self, extent: Extent) -> FoldHelper | None:
        """Return the helper, or start one; the caller's to use or to close."""
        return self._taken() or self._start(extent)

    def discard(self) -> None:
        """End the helper, if there is one."""
        found = self._taken()
        if found is not None:
            found.close()

    def forked(self) -> None:
        """Leave the helper to the parent."""
        self._lock, self._helper = threading.RLock(), None

    def _taken(self) -> FoldHelper | None:
        with self._lock:
            found, self._helper = self._helper, None
        return found

"""Callbacks for what a cache does by itself: evict, expire, become full.

They are called behind the write that caused it, by the thread that made it, outside of
all locks and transactions. So a callback may use the cache; what goes because of that
is told behind the next write.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from hypercache.engines.base import Change, KeyOp, StorageEngine
from hypercache.engines.capacity import pressure_percent
from hypercache.engines.departures import Departure
from hypercache.reserved import is_reserved

_log = logging.getLogger(__name__)
_SLACK = 0.01  # a level is left so much below the share at which it is entered


class Hooks(NamedTuple):
    """What to call, with a key; or with a level in percent and the share in use."""

    on_evict: Callable[[bytes], object] | None = None
    on_expire: Callable[[bytes], object] | None = None
    on_pressure: Callable[[int, float], object] | None = None


class ToldEngine:
    """An engine whose departures are told behind each write; else the engine itself."""

    def __init__(self, engine: StorageEngine, hooks: Hooks) -> None:
        self._engine, self._hooks = engine, hooks
        self._waiting: deque[Departure] = deque()
        departures = engine.departures()
        if departures is not None:
            departures.waiting = self._waiting
        self._level = 0
        self._here = threading.local()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def put(self, key: bytes, value: bytes, expires_at_ms: int = 0) -> int:
        """Store a value, see StorageEngine."""
        lsn = self._engine.put(key, value, expires_at_ms)
        self._tell()
        return lsn

    def apply(self, ops: Sequence[KeyOp]) -> int:
        """Apply a batch, see StorageEngine."""
        lsn = self._engine.apply(ops)
        self._tell()
        return lsn

    def update(self, key: bytes, change: Change) -> int | None:
        """Change one key, see StorageEngine."""
        lsn = self._engine.update(key, change)
        self._tell()
        return lsn

    def clear(self) -> int:
        """Remove every key, see StorageEngine."""
        lsn = self._engine.clear()
        self._tell()
        return lsn

    def sweep(self, limit: int | None = None) -> int:
        """Remove what has expired, see StorageEngine."""
        count = self._engine.sweep(limit)
        self._tell()
        return count

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other writers out, see StorageEngine; told is what it did at its end."""
        outer, self._here.busy = self._is_busy(), True
        try:
            with self._engine.exclusive():
                yield
        finally:
            self._here.busy = outer
            self._tell()

    def _tell(self) -> None:
        if self._is_busy():
            return  # in a block of this thread, or called by a hook: told behind that
        self._here.busy = True
        try:
            self._tell_pressure()
            # Not what the hooks cause meanwhile: one that stores what it is told of
            # would never come to an end.
            for _ in range(len(self._waiting)):
                self._tell_departure()
                self._tell_pressure()
        finally:
            self._here.busy = False

    def _is_busy(self) -> bool:
        return getattr(self._here, "busy", False)

    def _tell_departure(self) -> None:
        try:
            key, expired = self._waiting.popleft()
        except IndexError:
            return  # another thread was faster
        hook = self._hooks.on_expire if expired else self._hooks.on_evict
        if hook is not None and not is_reserved(key):
            _call(hook, key)

    def _tell_pressure(self) -> None:
        if self._hooks.on_pressure is None:
            return
        share = self._engine.fill_share()
        level = pressure_percent(share)
        if level < self._level:
            level = min(self._level, pressure_percent(share + _SLACK))
        if level != self._level:
            self._level = level
            _call(self._hooks.on_pressure, level, share)


def _call(hook: Callable[..., object], *arguments: object) -> None:
    try:
        hook(*arguments)
    except Exception:  # noqa: BLE001 - whatever it is, the write was made
        _log.exception("a hook of the cache failed, called with %r", arguments)

"""A Storage around another one that lets a test watch, hold up or fail each call.

Every write, sync, truncation and replacement passes through `Watch.call`, in the order
in which the engine makes them; the real work happens inside. The window of a file that
is mapped passes through it, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from hypercache.storage import File, OsStorage


class Event(NamedTuple):
    """One thing that began or ended; `start` and `end` are offsets of a write."""

    what: str
    path: str
    start: int = 0
    end: int = 0


class Watch:
    """Keep all events in one order, and call `before` with each call that begins.

    `before` may raise in the place of the call, or wait; `events` may be appended to
    by the test itself through `note`.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.before: Callable[[Event], None] = lambda _event: None
        self._lock = threading.Lock()

    def note(self, event: Event) -> None:
        with self._lock:
            self.events.append(event)

    def call(self, event: Event, action: Callable[[], Any]) -> Any:
        self.note(event)
        self.before(event)
        result = action()
        self.note(event._replace(what=f"{event.what} done"))
        return result


class WatchedFile:
    """A File, and its window, around another one."""

    def __init__(self, watch: Watch, file: File) -> None:
        self.path, self._watch, self._file = file.path, watch, file
        self.window = self

    def __setitem__(self, where: slice, data: bytes, /) -> None:
        event = Event("write", self.path, where.start, where.stop)

        def write() -> None:
            self._file.window[where] = data

        self._watch.call(event, write)

    def write_at(self, offset: int, data: bytes) -> None:
        event = Event("write", self.path, offset, offset + len(data))
        self._watch.call(event, lambda: self._file.write_at(offset, data))

    def sync(self) -> None:
        self._watch.call(Event("sync", self.path), self._file.sync)

    def truncate(self, length: int) -> None:
        event = Event("truncate", self.path, length)
        self._watch.call(event, lambda: self._file.truncate(length))

    def is_linked(self) -> bool:
        return self._file.is_linked()

    def close(self) -> None:
        self._watch.call(Event("close", self.path), self._file.close)


class WatchedStorage(OsStorage):
    """The Storage of the operating system, watched."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def create(self, path: str, reserve_bytes: int = 0, *, mapped: bool) -> Any:
        make = super().create
        file = self.watch.call(
            Event("create", path), lambda: make(path, reserve_bytes, mapped=mapped)
        )
        return WatchedFile(self.watch, file)

    def open(self, path: str) -> Any:
        return WatchedFile(self.watch, super().open(path))

    def replace(self, path: str, data: bytes) -> None:
        put = super().replace
        self.watch.call(Event("replace", path), lambda: put(path, data))

    def sync_directory(self, path: str) -> None:
        sync = super().sync_directory
        self.watch.call(Event("sync directory", path), lambda: sync(path))

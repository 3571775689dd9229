"""One owner per store directory, and what becomes of it in a forked child.

Part of the seam. `flock` excludes other processes; it does not exclude a second open
in this one (a new descriptor of the same process would be refused with our own pid),
so a registry of this process is asked first.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable

from hypercache.errors import StoreLockedError

_held: set[tuple[int, int]] = set()
_held_lock = threading.Lock()
_HELPER_ENDS_WITHIN_S = 3.0
_live: weakref.WeakSet[DirectoryLock] = weakref.WeakSet()


class DirectoryLock:
    """Hold the lock of a store directory from construction until `release`.

    Raises:
        StoreLockedError: this or another process holds it; `pid` says which.
    """

    def __init__(self, root: str, path: str) -> None:
        self.on_fork: Callable[[], None] | None = None
        stat = os.stat(root)
        self._identity = (stat.st_dev, stat.st_ino)
        with _held_lock:
            if self._identity in _held:
                raise StoreLockedError(root, os.getpid())
            _held.add(self._identity)
        try:
            self._fd = _acquire(root, path)
        except BaseException:
            with _held_lock:
                _held.discard(self._identity)
            raise
        _live.add(self)

    def fileno(self) -> int:
        """Return the descriptor; a process that inherits it shares the lock."""
        return self._fd

    def release(self) -> None:
        """Give the lock up; the file stays, so that nobody locks an unlinked one."""
        with _held_lock:
            _held.discard(self._identity)
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _forked(self) -> None:
        # Closing our copy of the descriptor leaves the parent's lock in place;
        # LOCK_UN would take it away from the parent.
        self._close()
        if self.on_fork is not None:
            self.on_fork()


def _acquire(root: str, path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o600)
    try:
        if not _flock(fd):
            raise StoreLockedError(root, _read_pid(fd))
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _flock(fd: int) -> bool:
    # A dead owner's helper process still has the lock for the moment it takes to end.
    end = time.monotonic() + _HELPER_ENDS_WITHIN_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if _is_alive(_read_pid(fd)) or time.monotonic() > end:
                return False
        time.sleep(0.01)


def _is_alive(pid: int | None) -> bool:
    if pid is None:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _read_pid(fd: int) -> int | None:
    with contextlib.suppress(ValueError):
        return int(os.pread(fd, 32, 0))
    return None


def _after_fork_in_child() -> None:
    global _held_lock  # noqa: PLW0603 - a lock of the parent cannot be reset
    _held_lock = threading.Lock()  # another thread may have held it at the fork
    _held.clear()
    for lock in list(_live):
        lock._forked()


os.register_at_fork(after_in_child=_after_fork_in_child)

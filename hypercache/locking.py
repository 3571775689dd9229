"""Who owns a store directory, who may write, and what a forked child keeps of it.

Part of the seam. `flock` excludes other processes; it does not exclude a second open
in this one (a new descriptor of the same process would be refused with our own pid),
so a registry of this process is asked first.

LOCK holds the pids of its owners, a line each. An owner alone rewrites it; where
several processes share the store each adds itself behind the line "shared".
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable

from hypercache.errors import StoreLockedError
from hypercache.os_errors import translated

_held: set[tuple[int, int]] = set()
_held_lock = threading.Lock()
_HELPER_ENDS_WITHIN_S = 3.0
# So long may another process create or verify a store that this one wants to share.
_SHARED_WITHIN_S = 60.0
_SHARED = b"shared"
_PIDS_BYTES = 4096
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_live: weakref.WeakSet[DirectoryLock | WriterLock] = weakref.WeakSet()


class DirectoryLock:
    """Hold the lock of a store directory from construction until `release`.

    With `shared`, several processes may hold it: the first one is `alone`, and the
    others wait until it calls `share`.

    Raises:
        StoreLockedError: this or another process holds it; `pid` says which.
    """

    def __init__(self, root: str, path: str, *, shared: bool = False) -> None:
        self.on_fork: Callable[[], None] | None = None
        stat = os.stat(root)
        self._identity = (stat.st_dev, stat.st_ino)
        with _held_lock:
            if self._identity in _held:
                raise StoreLockedError(root, os.getpid())
            _held.add(self._identity)
        try:
            self._fd, self.alone = _acquire(root, path, shared)
        except BaseException:
            with _held_lock:
                _held.discard(self._identity)
            raise
        _live.add(self)

    def fileno(self) -> int:
        """Return the descriptor; a process that inherits it shares the lock."""
        return self._fd

    def share(self) -> bool:
        """Let other processes in; False if the lock was lost to one of them."""
        os.write(self._fd, _SHARED + b"\n")
        # The kernel lets go of one lock before it takes the other.
        self.alone = False
        return _try_flock(self._fd, fcntl.LOCK_SH)

    def try_alone(self) -> bool:
        """Tell whether no other process has the lock; if one has, it is lost."""
        self.alone = _try_flock(self._fd, fcntl.LOCK_EX)
        return self.alone

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


class WriterLock:
    """Let one process at a time write, each in its turn.

    One thread at a time may use it. The death of the holder frees it.

    Raises:
        StorageError: the files cannot be opened, or not be locked.
    """

    def __init__(self, path: str, turn_path: str) -> None:
        self._path = path
        with translated("open", turn_path):
            self._turn_fd = os.open(turn_path, _FLAGS, 0o600)
        try:
            with translated("open", path):
                self._fd = os.open(path, _FLAGS, 0o600)
        except BaseException:
            os.close(self._turn_fd)
            raise
        _live.add(self)

    def acquire(self) -> None:
        """Wait for the turn of this process; after an error `release` is due, too."""
        # Whoever has just written must queue here behind those who wait already;
        # on one lock alone it would be back before they have woken up.
        with translated("lock", self._path):
            try:
                fcntl.flock(self._turn_fd, fcntl.LOCK_EX)
                fcntl.flock(self._fd, fcntl.LOCK_EX)
            finally:
                fcntl.flock(self._turn_fd, fcntl.LOCK_UN)

    def release(self) -> None:
        """Let the next process write; repeatable."""
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the files; they stay."""
        for fd in (self._fd, self._turn_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._turn_fd = -1

    def _forked(self) -> None:
        # Kept open here, the lock would outlive the death of a parent that holds it.
        self.close()


def _acquire(root: str, path: str, shared: bool) -> tuple[int, bool]:
    fd = os.open(path, _FLAGS | os.O_APPEND, 0o600)
    try:
        alone = _join(fd) if shared else _flock(fd)
        # A namespace that was dropped meanwhile took its LOCK with it.
        if alone is None or not _is_at(fd, path):
            raise StoreLockedError(root, _owner(fd))
        if alone:
            os.ftruncate(fd, 0)
        os.write(fd, b"%d\n" % os.getpid())
    except BaseException:
        os.close(fd)
        raise
    return fd, alone


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _flock(fd: int) -> bool | None:
    # A dead owner's helper process still has the lock for the moment it takes to end.
    end = time.monotonic() + _HELPER_ENDS_WITHIN_S
    while not _try_flock(fd, fcntl.LOCK_EX):
        if _is_alive(_owner(fd)) or time.monotonic() > end:
            return None
        time.sleep(0.01)
    return True


def _join(fd: int) -> bool | None:
    """Return whether the lock was taken alone or with others, None for not at all."""
    end = time.monotonic() + _SHARED_WITHIN_S
    while True:
        if _try_flock(fd, fcntl.LOCK_EX):
            return True
        if _try_flock(fd, fcntl.LOCK_SH):
            if _SHARED in _lines(fd):
                return False
            # Whoever had it alone has ended without saying that the store is ready.
            fcntl.flock(fd, fcntl.LOCK_UN)
        if time.monotonic() > end:
            return None
        time.sleep(0.01)


def _try_flock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: int | None) -> bool:
    if pid is None:
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _owner(fd: int) -> int | None:
    """Return the pid of an owner who lives, or at least of the last one."""
    pids = [int(line) for line in _lines(fd) if line.isdigit()]
    alive = filter(_is_alive, reversed(pids))
    return next(alive, pids[-1] if pids else None)


def _lines(fd: int) -> list[bytes]:
    start = max(0, os.fstat(fd).st_size - _PIDS_BYTES)
    lines = os.pread(fd, _PIDS_BYTES, start).splitlines()
    if start:  # the first one may be cut, and none of this many came without sharing
        lines[0] = _SHARED
    return lines


def _after_fork_in_child() -> None:
    global _held_lock  # noqa: PLW0603 - a lock of the parent cannot be reset
    _held_lock = threading.Lock()  # another thread may have held it at the fork
    _held.clear()
    for lock in list(_live):
        lock._forked()


os.register_at_fork(after_in_child=_after_fork_in_child)

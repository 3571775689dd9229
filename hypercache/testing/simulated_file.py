"""Open files and locks of a simulated disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from hypercache.errors import ConfigError, StorageError, StoreLockedError
from hypercache.locking import DirectoryLock
from hypercache.os_errors import mapped_error
from hypercache.os_file import Window
from hypercache.testing.disk_state import Cut, Inode, Write

if TYPE_CHECKING:
    from hypercache.testing.simulated_disk import Fault, SimDisk


class SimFile:
    """A File, and its own window as one that is not mapped."""

    def __init__(self, disk: SimDisk, path: str, inode: Inode) -> None:
        self.path, self.inode, self._disk = path, inode, disk
        self.window: Window = self
        self._open = True

    def __setitem__(self, where: slice, data: bytes, /) -> None:
        if where.stop - where.start != len(data):
            raise ValueError(f"{len(data)} bytes do not fit {where}")
        self.write_at(where.start, data)

    def write_at(self, offset: int, data: bytes) -> None:
        """Write; a planned fault may let a part through."""
        self._refuse_closed("write")

        def write_some(fault: Fault) -> None:
            if fault.written:
                self.inode.change(Write(offset, bytes(data[: fault.written])))

        with self._disk.step("write", self.path, write_some):
            self.inode.change(Write(offset, bytes(data)))

    def sync(self) -> None:
        """Bring what was written to the medium, or lose it when that fails."""
        self._refuse_closed("sync")
        with self._disk.step("sync", self.path, lambda _: self.inode.sync_failed()):
            self.inode.synced()

    def truncate(self, length: int) -> None:
        """Cut or extend the file."""
        self._refuse_closed("truncate")
        with self._disk.step("truncate", self.path):
            self.inode.change(Cut(length))

    def is_linked(self) -> bool:
        """Tell whether the file still has a name."""
        return self._disk.has_name(self.inode)

    def close(self) -> None:
        """Refuse every later call."""
        self._open = False

    def _refuse_closed(self, action: str) -> None:
        if not self._open:
            error = OSError(errno.EBADF, os.strerror(errno.EBADF))
            raise mapped_error(error, action, self.path) from error


class SimReadFile:
    """A ReadFile that goes on seeing what is written to the file, as on POSIX."""

    def __init__(self, disk: SimDisk, path: str, inode: Inode) -> None:
        self.path, self._inode, self._disk = path, inode, disk
        self.size_bytes = len(inode.seen)
        self._open = True

    def read_at(self, offset: int, length: int) -> bytes:
        """Return what is there, up to the end of the file."""
        if not self._open:
            error = OSError(errno.EBADF, os.strerror(errno.EBADF))
            raise mapped_error(error, "read", self.path) from error
        self._disk.look("read", self.path)
        return self._inode.seen[offset : offset + length]

    def close(self) -> None:
        """Refuse every later call."""
        self._open = False

    def __enter__(self) -> SimReadFile:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class SimLock(DirectoryLock):
    """The lock of one directory of one disk; it ends with the process that has it."""

    def __init__(self, held: set[str], root: str) -> None:
        # Not that of DirectoryLock, which would lock a directory of this machine.
        self.on_fork: Callable[[], None] | None = None
        self.alone = True
        self._held, self._root = held, root
        if root in held:
            raise StoreLockedError(root, os.getpid())
        held.add(root)

    def fileno(self) -> int:
        """Refuse: no other process can share it."""
        raise StorageError("a simulated lock has no descriptor; do it in this process")

    def share(self) -> bool:
        """Refuse to let others in."""
        raise not_shared(self._root)

    def try_alone(self) -> bool:
        """Tell that nobody else has it."""
        return True

    def release(self) -> None:
        """Give it up."""
        self._held.discard(self._root)


def not_shared(path: str) -> ConfigError:
    """Return the error for a store that several processes would share."""
    return ConfigError(
        f"{path} is on a simulated disk, where processes cannot share a store; use "
        'engine="hybrid" or engine="memory"'
    )

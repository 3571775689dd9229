"""The seam: the only code that touches files, directories, locks and clocks.

Everything above speaks to the `Storage`, `File` and `Clock` protocols, so that a test
can put a simulated disk and a clock of its own underneath. LMDB does its own I/O and
is the one exception (`hypercache/engines/lmdb_store.py`).

Every OSError leaves the seam as a StorageError or one of its subclasses, chained.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from typing import NamedTuple, Protocol

from hypercache.errors import StorageError
from hypercache.liveness import is_locked
from hypercache.locking import DirectoryLock, WriterLock
from hypercache.mounts import mount_type_in
from hypercache.os_errors import translated
from hypercache.os_file import (
    MappedFile,
    OsFile,
    Window,
    open_file,
    reserve,
    sync_full,
)
from hypercache.read_file import OsReadFile, ReadFile


class Clock(Protocol):
    """Tell the time, twice over."""

    def wall_ms(self) -> int:
        """Return milliseconds since the Unix epoch; may jump."""

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""


class FileInfo(NamedTuple):
    """What the directory says about a file."""

    size_bytes: int
    mtime_ns: int


class File(Protocol):
    """An open file that is written at offsets and synced.

    `window[start:end] = data` is `write_at(start, data)` without the cost of a call
    where the file is mapped.
    """

    path: str
    window: Window

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of `data`; a failure may have written a part."""

    def sync(self) -> None:
        """Return once everything written so far is on the medium."""

    def truncate(self, length: int) -> None:
        """Cut or extend to `length`; reserved space behind it is given up."""

    def is_linked(self) -> bool:
        """Tell whether the file still has its name."""

    def close(self) -> None:
        """Release the descriptor; nothing is synced."""


class Storage(Protocol):
    """The file system as HyperCache needs it."""

    def create(self, path: str, reserve_bytes: int = 0, *, mapped: bool) -> File:
        """Create a file, which must not exist, with that many zeros reserved."""

    def open(self, path: str) -> File:
        """Open an existing file for writing at offsets."""

    def open_read(self, path: str) -> ReadFile:
        """Open an existing file for reading at offsets."""

    def read(self, path: str) -> bytes:
        """Return the whole content."""

    def info(self, path: str) -> FileInfo | None:
        """Return size and time of a regular file, None where there is none."""

    def is_directory(self, path: str) -> bool:
        """Tell whether the path is a directory."""

    def real_path(self, path: str) -> str:
        """Return the path without symbolic links, whether it exists or not."""

    def list(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""

    def make_directory(self, path: str) -> None:
        """Create the directory and its parents if absent; synced."""

    def replace(self, path: str, data: bytes) -> None:
        """Put `data` in the place of `path`: on the medium on return, never half."""

    def rename(self, source: str, path: str) -> None:
        """Give a synced file the name `path`, in the place of what has it; durable."""

    def unlink(self, path: str) -> None:
        """Remove the name, present or not; not synced."""

    def remove_tree(self, path: str) -> None:
        """Remove a directory with all that is in it, present or not; not synced."""

    def sync_directory(self, path: str) -> None:
        """Return once the names in the directory are on the medium."""

    def free_bytes(self, path: str) -> int:
        """Return how much may still be written on the disk of `path`."""

    def mount_type(self, path: str) -> str:
        """Return the file system type below `path`, "" where it is not known."""

    def lock(self, root: str, path: str, *, shared: bool = False) -> DirectoryLock:
        """Take the lock file `path` of the directory `root` at once, or raise.

        With `shared`, together with other processes, and not before they are ready.
        """

    def may_be_written(self, lock_path: str) -> bool:
        """Tell whether a process holds that lock; takes none itself."""

    def writer_lock(self, path: str, turn_path: str) -> WriterLock:
        """Open the lock that the processes that share a store write under."""


# For measuring what a call takes; nothing is decided by it.
ticks_ns = time.perf_counter_ns


class SystemClock:
    """The clock of the operating system."""

    def wall_ms(self) -> int:
        """Return milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return the monotonic clock in seconds."""
        return time.monotonic()


class OsStorage:
    """The Storage of the operating system: directories 0700, files 0600."""

    def create(self, path: str, reserve_bytes: int = 0, *, mapped: bool) -> File:
        """Create the file exclusively; leave nothing behind on failure."""
        with translated("create", path):
            fd = open_file(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                if reserve_bytes:
                    reserve(fd, reserve_bytes)
                return (
                    MappedFile(path, fd, reserve_bytes) if mapped else OsFile(path, fd)
                )
            except BaseException:
                os.close(fd)
                os.unlink(path)
                raise

    def open(self, path: str) -> File:
        """Open the file for writing."""
        with translated("open", path):
            return OsFile(path, open_file(path, os.O_RDWR))

    def open_read(self, path: str) -> ReadFile:
        """Open the file for reading."""
        with translated("open", path):
            fd = open_file(path, os.O_RDONLY)
            try:
                return OsReadFile(path, fd)
            except BaseException:
                os.close(fd)
                raise

    def read(self, path: str) -> bytes:
        """Read the whole file."""
        with translated("read", path):
            fd = open_file(path, os.O_RDONLY)
            with os.fdopen(fd, "rb") as file:
                return file.read()

    def info(self, path: str) -> FileInfo | None:
        """Look at a regular file."""
        try:
            with translated("stat", path):
                stat = os.stat(path, follow_symlinks=False)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        return FileInfo(stat.st_size, stat.st_mtime_ns)

    def is_directory(self, path: str) -> bool:
        """Tell whether there is a directory."""
        return os.path.isdir(path)

    def real_path(self, path: str) -> str:
        """Resolve symbolic links."""
        return os.path.realpath(path)

    def list(self, path: str) -> list[str]:
        """List a directory."""
        with translated("list", path):
            return sorted(os.listdir(path))

    def make_directory(self, path: str) -> None:
        """Create what is missing, from the top, and sync each parent."""
        if os.path.isdir(path):
            return
        parent = os.path.dirname(os.path.abspath(path))
        self.make_directory(parent)
        with translated("create directory", path), contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        self.sync_directory(parent)

    def replace(self, path: str, data: bytes) -> None:
        """Write a temporary file, sync, rename, sync the directory."""
        temporary = f"{path}.tmp"
        with translated("replace", path):
            fd = open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            file = OsFile(temporary, fd)
            try:
                file.write_at(0, data)
                file.sync()
            finally:
                file.close()
        self.rename(temporary, path)

    def rename(self, source: str, path: str) -> None:
        """Rename, then sync the directory."""
        with translated("replace", path):
            os.replace(source, path)
        self.sync_directory(os.path.dirname(path))

    def unlink(self, path: str) -> None:
        """Remove the name if it is there."""
        with translated("remove", path), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def remove_tree(self, path: str) -> None:
        """Remove a directory and what is in it."""
        with translated("remove", path), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)

    def sync_directory(self, path: str) -> None:
        """Flush the directory's entries to the medium."""
        with translated("sync", path):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sync_full(fd)
            finally:
                os.close(fd)

    def free_bytes(self, path: str) -> int:
        """Ask the file system what is left for this user."""
        with translated("stat", path):
            stat = os.statvfs(path)
        return stat.f_bavail * stat.f_frsize

    def mount_type(self, path: str) -> str:
        """Look the path up in the kernel's mount table; Linux only."""
        try:
            with open("/proc/self/mountinfo", errors="surrogateescape") as table:
                return mount_type_in(table.read(), os.path.realpath(path))
        except OSError:
            return ""

    def lock(self, root: str, path: str, *, shared: bool = False) -> DirectoryLock:
        """Take the lock of a store directory at once, or raise StoreLockedError."""
        with translated("lock", path):
            return DirectoryLock(root, path, shared=shared)

    def may_be_written(self, lock_path: str) -> bool:
        """Look the lock up in the kernel's table."""
        with translated("read", lock_path):
            return is_locked(lock_path)

    def writer_lock(self, path: str, turn_path: str) -> WriterLock:
        """Open the lock of those who write."""
        return WriterLock(path, turn_path)

"""The part of the seam that writes a file: by system calls, or through a map."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from typing import Protocol

from hypercache.errors import StorageError
from hypercache.os_errors import mapped_error, translated

_NOT_SUPPORTED = frozenset({errno.ENOTSUP, errno.EINVAL, errno.ENOTTY})
_F_FULLFSYNC = getattr(fcntl, "F_FULLFSYNC", None)  # macOS only
_WRITE_LIMIT = 1 << 30  # Linux moves at most 2 GiB - 4 KiB per call


class Window(Protocol):
    """A file seen as an array of bytes, for writing only."""

    def __setitem__(self, where: slice, data: bytes, /) -> None:
        """Write all of `data`, whose length is that of the slice."""


class OsFile:
    """A File that uses pwrite, and is its own window."""

    def __init__(self, path: str, fd: int) -> None:
        self.path, self._fd = path, fd
        self._written_bytes = 0  # what the file must be as long as
        self.window: Window = self

    def __setitem__(self, where: slice, data: bytes, /) -> None:
        self.write_at(where.start, data)

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of `data`, however short the single writes are."""
        left = memoryview(data)
        end = offset + len(data)
        try:
            while left:
                # Python repeats the call by itself after EINTR (PEP 475).
                written = os.pwrite(self._fd, left[:_WRITE_LIMIT], offset)
                left, offset = left[written:], offset + written
        except OSError as error:
            raise mapped_error(error, "write", self.path) from error
        # Only now: what a failed write leaves may be cut away beside a sync.
        self._written_bytes = max(self._written_bytes, end)

    def sync(self) -> None:
        """Flush data and size to the medium; fail if somebody has cut the file."""
        expected_bytes = self._written_bytes
        try:
            sync_data(self._fd)
            # No fstat: it asks for the times, and the kernel then writes new ones with
            # the next frame, half as much again for each sync (Linux 6.13).
            found_bytes = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            raise mapped_error(error, "sync", self.path) from error
        if found_bytes < expected_bytes:
            raise StorageError(
                f"{self.path} was cut to {found_bytes} bytes while it was in use"
            )

    def truncate(self, length: int) -> None:
        """Set the length of the file."""
        self._written_bytes = min(self._written_bytes, length)
        with translated("truncate", self.path):
            os.ftruncate(self._fd, length)

    def is_linked(self) -> bool:
        """Tell whether the open file still has its name."""
        with translated("stat", self.path):
            mine = os.fstat(self._fd)
            try:
                named = os.stat(self.path, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                return False
            return os.path.samestat(mine, named)

    def close(self) -> None:
        """Close the descriptor once."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with translated("close", self.path):
                os.close(fd)


class MappedFile(OsFile):
    """A File whose reserved part is written through a shared map.

    A store into the page cache costs a tenth of a system call and survives the death
    of the process just as well.
    """

    def __init__(self, path: str, fd: int, length: int) -> None:
        super().__init__(path, fd)
        self.window = self._map = mmap.mmap(fd, length)
        self._written_bytes = length
        self._link = f"/proc/self/fd/{fd}"
        self._name = self._maybe_name()

    def is_linked(self) -> bool:
        """Tell whether the open file still has its name.

        Asked of the descriptor where the system can tell, because a stat costs the next
        sync what `sync` says. Maps are of local files, whose names it knows.
        """
        if self._name is None:
            return super().is_linked()
        return self._maybe_name() == self._name

    def _maybe_name(self) -> str | None:
        try:
            return os.readlink(self._link)
        except OSError:
            return None

    def write_at(self, offset: int, data: bytes) -> None:
        """Copy `data` into the map; it must fit the reserved length."""
        self._map[offset : offset + len(data)] = data

    def truncate(self, length: int) -> None:
        """Give up the map, then cut."""
        self._map.close()
        super().truncate(length)

    def close(self) -> None:
        """Close the map and the descriptor."""
        self._map.close()
        super().close()


def sync_data(fd: int) -> None:
    """Bring a file's data and size to the medium, and through its write cache."""
    if not hasattr(os, "fdatasync"):  # macOS
        sync_full(fd)
    else:
        os.fdatasync(fd)


def sync_full(fd: int) -> None:
    """Bring a file or directory with all its metadata to the medium."""
    if not _full_fsync(fd):
        os.fsync(fd)


def _full_fsync(fd: int) -> bool:
    # On macOS fsync stops at the drive's cache; not every file system there knows more.
    if _F_FULLFSYNC is None:
        return False
    try:
        fcntl.fcntl(fd, _F_FULLFSYNC)
    except OSError as error:
        if error.errno in _NOT_SUPPORTED:
            return False
        raise
    return True


def reserve(fd: int, length: int) -> None:
    """Give a file that many zeros, and their blocks where that can be had."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, length)
    else:  # macOS; only when asked for by name, because nothing is reserved there
        os.ftruncate(fd, length)


def open_file(path: str, flags: int) -> int:
    """Open a file for us alone, and never through a symbolic link."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

"""The seam: the only code that touches files, directories, locks and clocks.

Everything above speaks to the `Storage`, `File` and `Clock` protocols, so that a test
can put a simulated disk and a clock of its own underneath. LMDB does its own I/O and
is the one exception (`hypercache/engines/lmdb_store.py`).

Every OSError leaves the seam as a StorageError or one of its subclasses, chained.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import re
import time
from typing import NamedTuple, Protocol

from hypercache.errors import StorageError
from hypercache.locking import DirectoryLock
from hypercache.os_errors import mapped_error, translated
from hypercache.read_file import OsReadFile, ReadFile

# Where posix_fallocate really reserves blocks, so that a store into the map cannot
# meet a full disk, which the kernel reports as SIGBUS.
RESERVING_MOUNTS = frozenset({"ext4", "xfs", "tmpfs"})
NETWORK_MOUNTS = frozenset(
    "nfs nfs4 cifs smb3 smbfs 9p ceph afs lustre gpfs glusterfs fuse.glusterfs "
    "fuse.sshfs beegfs ocfs2 gfs2 virtiofs".split()
)
_NOT_SUPPORTED = frozenset({errno.ENOTSUP, errno.EINVAL, errno.ENOTTY})
_F_FULLFSYNC = getattr(fcntl, "F_FULLFSYNC", None)  # macOS only
_OCTAL = re.compile(r"\\([0-7]{3})")  # how the mount table writes a space
_WRITE_LIMIT = 1 << 30  # Linux moves at most 2 GiB - 4 KiB per call


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


class Window(Protocol):
    """A file seen as an array of bytes, for writing only."""

    def __setitem__(self, where: slice, data: bytes, /) -> None:
        """Write all of `data`, whose length is that of the slice."""


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
        """Tell whether the file still has a name."""

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

    def sync_directory(self, path: str) -> None:
        """Return once the names in the directory are on the medium."""

    def free_bytes(self, path: str) -> int:
        """Return how much may still be written on the disk of `path`."""

    def mount_type(self, path: str) -> str:
        """Return the file system type below `path`, "" where it is not known."""

    def lock(self, root: str, path: str) -> DirectoryLock:
        """Take the lock file `path` of the directory `root` at once, or raise."""


class SystemClock:
    """The clock of the operating system."""

    def wall_ms(self) -> int:
        """Return milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return the monotonic clock in seconds."""
        return time.monotonic()


class OsFile:
    """A File that uses pwrite, and is its own window."""

    def __init__(self, path: str, fd: int) -> None:
        self.path, self._fd = path, fd
        self.window: Window = self

    def __setitem__(self, where: slice, data: bytes, /) -> None:
        self.write_at(where.start, data)

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of `data`, however short the single writes are."""
        left = memoryview(data)
        try:
            while left:
                # Python repeats the call by itself after EINTR (PEP 475).
                written = os.pwrite(self._fd, left[:_WRITE_LIMIT], offset)
                left, offset = left[written:], offset + written
        except OSError as error:
            raise mapped_error(error, "write", self.path) from error

    def sync(self) -> None:
        """Flush data and size to the medium."""
        with translated("sync", self.path):
            sync_data(self._fd)

    def truncate(self, length: int) -> None:
        """Set the length of the file."""
        with translated("truncate", self.path):
            os.ftruncate(self._fd, length)

    def is_linked(self) -> bool:
        """Tell whether the open file still has a name."""
        with translated("stat", self.path):
            return os.fstat(self._fd).st_nlink > 0

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


class OsStorage:
    """The Storage of the operating system: directories 0700, files 0600."""

    def create(self, path: str, reserve_bytes: int = 0, *, mapped: bool) -> File:
        """Create the file exclusively; leave nothing behind on failure."""
        with translated("create", path):
            fd = _open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                if reserve_bytes:
                    _reserve(fd, reserve_bytes)
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
            return OsFile(path, _open(path, os.O_RDWR))

    def open_read(self, path: str) -> ReadFile:
        """Open the file for reading."""
        with translated("open", path):
            fd = _open(path, os.O_RDONLY)
            try:
                return OsReadFile(path, fd)
            except BaseException:
                os.close(fd)
                raise

    def read(self, path: str) -> bytes:
        """Read the whole file."""
        with translated("read", path):
            fd = _open(path, os.O_RDONLY)
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
            fd = _open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
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

    def lock(self, root: str, path: str) -> DirectoryLock:
        """Take the lock of a store directory at once, or raise StoreLockedError."""
        with translated("lock", path):
            return DirectoryLock(root, path)


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


def mount_type_in(table: str, path: str) -> str:
    """Return the type of the innermost mount that holds `path`.

    The table is in the format of proc(5), /proc/pid/mountinfo.
    """
    best, kind = "", ""
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        point = _OCTAL.sub(lambda code: chr(int(code[1], 8)), left.split(" ")[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split(" ")[0]
    return kind


def _reserve(fd: int, length: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, length)
    else:  # macOS; only when asked for by name, because nothing is reserved there
        os.ftruncate(fd, length)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

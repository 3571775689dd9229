"""A disk in memory that knows what is on the medium and what is only on its way.

`SimDisk` implements `hypercache.storage.Storage`. What is written is pending until its
file is synced, a name until its directory is: the sync of a new file does not bring its
name to the medium. Every operation is one step. `on_step` is called after each, so that
a test can ask for the images a power cut would leave at that moment; `faults` makes
chosen steps fail. There are no threads, no clock and no randomness in here.

An image maps paths to contents, and directories to None. `SimDisk(image)` is the disk
a machine finds when it starts again. `tests/support/powercut.py` enumerates images.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from crc32c import crc32c

from hypercache.errors import StorageError, StoreLockedError
from hypercache.os_errors import mapped_error
from hypercache.storage import FileInfo

Image = Mapping[str, bytes | None]


class Write(NamedTuple):
    """Bytes at an offset, not on the medium yet."""

    offset: int
    data: bytes


class Cut(NamedTuple):
    """A new length, not on the medium yet; a longer one adds zeros."""

    length: int


Change = Write | Cut


def content_after(content: bytes, changes: list[Change]) -> bytes:
    """Return what changes make of a content; holes are zeros."""
    data = bytearray(content)
    for change in changes:
        end = change.length if isinstance(change, Cut) else change.offset
        data += bytes(max(0, end - len(data)))
        if isinstance(change, Cut):
            del data[end:]
        else:
            data[end : end + len(change.data)] = change.data
    return bytes(data)


class Inode:
    """A file: what readers see, what is on the medium, and the changes in between."""

    def __init__(self, content: bytes = b"") -> None:
        self.seen = self.durable = content
        self.pending: list[Change] = []

    def change(self, change: Change) -> None:
        self.pending.append(change)
        self.seen = content_after(self.seen, [change])

    def synced(self) -> None:
        self.durable, self.pending = content_after(self.durable, self.pending), []

    def sync_failed(self) -> None:
        # As Linux does: readers go on seeing what will never reach the medium.
        self.pending = []


FOLDER = Inode()  # stands for every directory among the names of its parent
Names = dict[str, Inode]
# Names that change together, None for one that goes away.
Entry = tuple[tuple[str, Inode | None], ...]


def names_after(names: Names, entries: list[Entry]) -> Names:
    """Return what changes of entries make of the names in a directory."""
    after: dict[str, Inode | None] = {**names}
    for entry in entries:
        after.update(entry)
    return {name: inode for name, inode in after.items() if inode is not None}


class Directory:
    """The same for the names in a directory."""

    def __init__(self) -> None:
        self.seen: Names = {}
        self.durable: Names = {}
        self.pending: list[Entry] = []

    def change(self, entry: Entry) -> None:
        self.pending.append(entry)
        self.seen = names_after(self.seen, [entry])

    def synced(self) -> None:
        self.durable, self.pending = names_after(self.durable, self.pending), []

    def sync_failed(self) -> None:
        self.pending = []


class Fault(NamedTuple):
    """How a step fails; of a write, the first `written` bytes get through."""

    number: int = errno.EIO
    written: int = 0


class SimFile:
    """A File, and its own window as one that is not mapped."""

    def __init__(self, disk: SimDisk, path: str, inode: Inode) -> None:
        self.path, self.inode, self._disk = path, inode, disk
        self.window = self
        self._open = True

    def __setitem__(self, where: slice, data: bytes, /) -> None:
        assert where.stop - where.start == len(data), "a window keeps its length"
        self.write_at(where.start, data)

    def write_at(self, offset: int, data: bytes) -> None:
        assert self._open, f"{self.path} is closed"
        fault = self._disk.planned_fault()
        if fault is not None and fault.written:
            self.inode.change(Write(offset, bytes(data[: fault.written])))
        with self._disk.step("write", self.path):
            self.inode.change(Write(offset, bytes(data)))

    def sync(self) -> None:
        assert self._open, f"{self.path} is closed"
        if self._disk.planned_fault() is not None:
            self.inode.sync_failed()
        with self._disk.step("sync", self.path):
            self.inode.synced()

    def truncate(self, length: int) -> None:
        assert self._open, f"{self.path} is closed"
        with self._disk.step("truncate", self.path):
            self.inode.change(Cut(length))

    def is_linked(self) -> bool:
        return any(
            inode is self.inode
            for directory in self._disk.directories.values()
            for inode in directory.seen.values()
        )

    def close(self) -> None:
        self._open = False


class SimReadFile:
    """A ReadFile that goes on seeing what is written to the file, as on POSIX."""

    def __init__(self, path: str, inode: Inode) -> None:
        self.path, self._inode = path, inode
        self.size_bytes = len(inode.seen)
        self._open = True

    def read_at(self, offset: int, length: int) -> bytes:
        assert self._open, f"{self.path} is closed"
        return self._inode.seen[offset : offset + length]

    def close(self) -> None:
        self._open = False

    def __enter__(self) -> SimReadFile:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class SimLock:
    """The lock of one directory of one disk."""

    def __init__(self, held: set[str], root: str) -> None:
        self.on_fork: Callable[[], None] | None = None
        self._held, self._root = held, root
        if root in held:
            raise StoreLockedError(root, os.getpid())
        held.add(root)

    def release(self) -> None:
        self._held.discard(self._root)


class SimDisk:
    """Implement Storage in memory; `trace` names the steps taken."""

    def __init__(self, image: Image | None = None) -> None:
        self.directories = {"/": Directory()}
        self.trace: list[tuple[str, str]] = []
        self.faults: dict[int, Fault] = {}
        self.on_step: Callable[[], None] | None = None
        self._locks: set[str] = set()
        for path, data in sorted((image or {}).items()):
            inode = FOLDER if data is None else Inode(data)
            self._names(path).change(((os.path.basename(path), inode),))
            if data is None:
                self.directories[path] = Directory()
        for directory in self.directories.values():
            directory.synced()

    @contextlib.contextmanager
    def step(self, action: str, path: str) -> Iterator[None]:
        """Take one step, or fail in its place as planned."""
        fault = self.planned_fault()
        self.trace.append((action, path))
        if fault is not None:
            error = OSError(fault.number, os.strerror(fault.number))
            raise mapped_error(error, action, path) from error
        yield
        if self.on_step is not None:
            self.on_step()

    def planned_fault(self) -> Fault | None:
        return self.faults.get(len(self.trace))

    # Files

    def create(self, path: str, reserve_bytes: int = 0, *, mapped: bool) -> SimFile:
        if self._find(path) is not None:
            raise StorageError(f"cannot create {path}: it exists")
        inode = Inode()
        if reserve_bytes:
            inode.change(Cut(reserve_bytes))
        with self.step("create", path):
            self._rename((path, inode))
        return SimFile(self, path, inode)

    def open(self, path: str) -> SimFile:
        return SimFile(self, path, self._file(path))

    def open_read(self, path: str) -> SimReadFile:
        return SimReadFile(path, self._file(path))

    def read(self, path: str) -> bytes:
        return self._file(path).seen

    def info(self, path: str) -> FileInfo | None:
        inode = FOLDER if path in self.directories else self._find(path)
        # Same content, same time: so an untouched file keeps it through a restart.
        return FileInfo(len(inode.seen), crc32c(inode.seen)) if inode else None

    def replace(self, path: str, data: bytes) -> None:
        temporary = f"{path}.tmp"
        if self._find(temporary) is None:
            file = self.create(temporary, mapped=False)
        else:
            file = self.open(temporary)
            file.truncate(0)
        file.write_at(0, data)
        file.sync()
        file.close()
        self.rename(temporary, path)

    def rename(self, source: str, path: str) -> None:
        inode = self._file(source)
        with self.step("rename", path):
            self._rename((source, None), (path, inode))
        self.sync_directory(os.path.dirname(path))

    def commit(self, path: str, data: bytes) -> None:
        """Change a whole file at once and durably, as a database promises to."""
        with self.step("commit", path):
            inode = self._file(path)
            inode.seen = inode.durable = data

    def unlink(self, path: str) -> None:
        if self._find(path) is not None:
            with self.step("unlink", path):
                self._rename((path, None))

    # Directories

    def is_directory(self, path: str) -> bool:
        return path in self.directories

    def list(self, path: str) -> list[str]:
        return sorted(self.directories[path].seen)

    def make_directory(self, path: str) -> None:
        if path in self.directories:
            return
        parent = os.path.dirname(path)
        self.make_directory(parent)
        with self.step("mkdir", path):
            self.directories[path] = Directory()
            self._rename((path, FOLDER))
        self.sync_directory(parent)

    def sync_directory(self, path: str) -> None:
        directory = self.directories[path]
        if self.planned_fault() is not None:
            directory.sync_failed()
        with self.step("sync", path):
            directory.synced()

    def mount_type(self, path: str) -> str:
        return "simulated"

    def lock(self, root: str, path: str) -> SimLock:
        return SimLock(self._locks, root)

    def _names(self, path: str) -> Directory:
        return self.directories[os.path.dirname(path)]

    def _find(self, path: str) -> Inode | None:
        return self._names(path).seen.get(os.path.basename(path))

    def _file(self, path: str) -> Inode:
        inode = self._find(path)
        if inode is None:
            raise StorageError(f"{path} is missing") from FileNotFoundError(path)
        return inode

    def _rename(self, *changes: tuple[str, Inode | None]) -> None:
        entry = tuple((os.path.basename(path), inode) for path, inode in changes)
        self._names(changes[0][0]).change(entry)

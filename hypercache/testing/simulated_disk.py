"""A disk in memory that knows what is on the medium and what is only on its way.

`SimDisk` implements `hypercache.storage.Storage`. What is written is pending until its
file is synced, a name until its directory is: the sync of a new file does not bring its
name to the medium. There are no threads, no clock and no randomness in here.

Every operation that changes the disk is a step, and `trace` names the steps taken.
`on_step` is called after each, so that a test can ask for the images that a power cut
would leave at that moment. What only looks at the disk is in `looks`. `faults` and
`look_faults` make the ones with the given numbers fail; `choose_fault` is asked before
each step, with its action and path, whether and how it fails.

An image maps paths to contents, and directories to None. `SimDisk(image)` is the disk
that a machine finds when it starts again. `power_cut.py` enumerates images.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple, NoReturn

from hypercache.checksum import crc32c
from hypercache.errors import StorageError
from hypercache.locking import WriterLock
from hypercache.os_errors import mapped_error
from hypercache.storage import FileInfo
from hypercache.testing.disk_state import (
    Cut,
    Directory,
    Image,
    Inode,
    Node,
    clone,
    tree_of,
)
from hypercache.testing.simulated_file import SimFile, SimLock, SimReadFile, not_shared

__all__ = ["Fault", "Image", "SimDisk"]

_FREE_BYTES = 1 << 40


class Fault(NamedTuple):
    """How an operation fails.

    Attributes:
        number: the errno.
        written: of a write, so many bytes get through all the same.
        for_good: every later operation of the same kind fails, too.
    """

    number: int = errno.EIO
    written: int = 0
    for_good: bool = False


class SimDisk:
    """Implement Storage in memory, for one process and one thread."""

    def __init__(self, image: Image | None = None) -> None:
        self.root = tree_of(image or {})
        self.trace: list[tuple[str, str]] = []
        self.looks: list[tuple[str, str]] = []
        self.faults: dict[int, Fault] = {}
        self.look_faults: dict[int, Fault] = {}
        self.choose_fault: Callable[[str, str], Fault | None] | None = None
        self.on_step: Callable[[], None] | None = None
        self._locks: set[str] = set()
        self._broken: dict[str, Fault] = {}

    def detached(self) -> SimDisk:
        """Return a copy of the disk as the next process finds it.

        What was pending still is; locks, faults, traces and `on_step` are gone. What
        has a file of this disk open changes nothing in the copy.
        """
        disk = SimDisk()
        copied = clone(self.root, {})
        if isinstance(copied, Directory):  # it is
            disk.root = copied
        return disk

    def let_go(self) -> None:
        """Forget all locks, as when the processes that hold them are killed."""
        self._locks.clear()

    @contextlib.contextmanager
    def step(
        self,
        action: str,
        path: str,
        on_fault: Callable[[Fault], None] | None = None,
    ) -> Iterator[None]:
        """Take one step, or fail in its place as planned, with what `on_fault` does."""
        fault = self.faults.get(len(self.trace)) or self._broken.get(action)
        if fault is None and self.choose_fault is not None:
            fault = self.choose_fault(action, path)
        self.trace.append((action, path))
        if fault is not None:
            if on_fault is not None:
                on_fault(fault)
            self._fail(fault, action, path)
        yield
        if self.on_step is not None:
            self.on_step()

    def look(self, action: str, path: str) -> None:
        """Look at something, or fail to as planned."""
        fault = self.look_faults.get(len(self.looks)) or self._broken.get(action)
        self.looks.append((action, path))
        if fault is not None:
            self._fail(fault, action, path)

    def repair(self) -> None:
        """Let nothing fail from now on."""
        self.faults, self.look_faults, self._broken = {}, {}, {}
        self.choose_fault = None

    def has_name(self, inode: Inode) -> bool:
        """Tell whether a file has a name that readers see."""
        return inode in _files(self.root)

    # Files

    def create(self, path: str, reserve_bytes: int = 0, *, mapped: bool) -> SimFile:
        """Create a file; `mapped` makes no difference."""
        del mapped
        if self._find(path) is not None:
            raise StorageError(f"cannot create {path}: it exists")
        inode = Inode()
        if reserve_bytes:
            inode.change(Cut(reserve_bytes))
        with self.step("create", path):
            self._name((path, inode))
        return SimFile(self, path, inode)

    def open(self, path: str) -> SimFile:
        """Open a file for writing."""
        self.look("open", path)
        return SimFile(self, path, self._file(path))

    def open_read(self, path: str) -> SimReadFile:
        """Open a file for reading."""
        self.look("open", path)
        return SimReadFile(self, path, self._file(path))

    def read(self, path: str) -> bytes:
        """Return what readers see of a file."""
        self.look("open", path)
        self.look("read", path)
        return self._file(path).seen

    def info(self, path: str) -> FileInfo | None:
        """Return size and time; the same content has the same time."""
        self.look("stat", path)
        node = self._find(path)
        if node is None:
            return None
        seen = node.seen if isinstance(node, Inode) else b""
        # So an untouched file keeps it through a restart.
        return FileInfo(len(seen), crc32c(seen))

    def real_path(self, path: str) -> str:
        """Return the path: there are no links."""
        return os.path.normpath(path)

    def replace(self, path: str, data: bytes) -> None:
        """Write a temporary file, sync, rename, sync the directory."""
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
        """Rename a file or directory, then sync the directory it lies in."""
        if os.path.dirname(source) != os.path.dirname(path):
            raise StorageError(f"cannot rename {source} into another directory")
        node = self._find(source)
        if node is None:
            raise _missing(source, "rename")
        with self.step("rename", path):
            self._name((source, None), (path, node))
        self.sync_directory(os.path.dirname(path))

    def commit(self, path: str, data: bytes) -> None:
        """Change a whole file at once and durably, as a database promises to."""
        with self.step("commit", path):
            inode = self._file(path)
            inode.seen = inode.durable = data
            inode.pending = []

    def unlink(self, path: str) -> None:
        """Remove a name if it is there; not synced."""
        if self._find(path) is not None:
            with self.step("unlink", path):
                self._name((path, None))

    def remove_tree(self, path: str) -> None:
        """Remove a directory with all that is in it, from the leaves; not synced."""
        if not self.is_directory(path):
            return
        for name in self.list(path):
            inner = f"{path}/{name}"
            if self.is_directory(inner):
                self.remove_tree(inner)
            else:
                self.unlink(inner)
        self.unlink(path)

    # Directories

    def is_directory(self, path: str) -> bool:
        """Tell whether readers see a directory there."""
        return isinstance(self._find(path), Directory)

    def list(self, path: str) -> list[str]:
        """Return the names that readers see, sorted."""
        self.look("list", path)
        return sorted(self._folder(path).seen)

    def make_directory(self, path: str) -> None:
        """Create what is missing, from the top, and sync each parent."""
        if self.is_directory(path):
            return
        parent = os.path.dirname(path)
        self.make_directory(parent)
        with self.step("mkdir", path):
            self._name((path, Directory()))
        self.sync_directory(parent)

    def sync_directory(self, path: str) -> None:
        """Bring the names to the medium; if that fails they are still on their way."""
        directory = self._folder(path)
        with self.step("sync", path):
            directory.synced()

    def free_bytes(self, path: str) -> int:
        """Return more than anybody needs; `faults` make a disk full."""
        del path
        return _FREE_BYTES

    def mount_type(self, path: str) -> str:
        """Return a type on which nothing is mapped unless asked for."""
        del path
        return "simulated"

    # Locks

    def lock(self, root: str, path: str, *, shared: bool = False) -> SimLock:
        """Take the lock of a directory, which nobody can share."""
        if shared:
            raise not_shared(root)
        self.look("lock", path)
        return SimLock(self._locks, root)

    def may_be_written(self, lock_path: str) -> bool:
        """Tell whether the lock is taken."""
        return os.path.dirname(lock_path) in self._locks

    def writer_lock(self, path: str, turn_path: str) -> WriterLock:
        """Refuse: only stores that processes share need it."""
        del turn_path
        raise not_shared(path)

    def _fail(self, fault: Fault, action: str, path: str) -> NoReturn:
        if fault.for_good:
            self._broken[action] = fault
        error = OSError(fault.number, os.strerror(fault.number))
        raise mapped_error(error, action, path) from error

    def _find(self, path: str) -> Node | None:
        node: Node | None = self.root
        for name in path.split("/"):
            if name:
                if not isinstance(node, Directory):
                    return None
                node = node.seen.get(name)
        return node

    def _file(self, path: str) -> Inode:
        node = self._find(path)
        if node is None:
            raise _missing(path, "open")
        if isinstance(node, Directory):
            raise StorageError(f"cannot open {path}: it is a directory")
        return node

    def _folder(self, path: str) -> Directory:
        node = self._find(path)
        if not isinstance(node, Directory):
            raise _missing(path, "list")
        return node

    def _name(self, *changes: tuple[str, Node | None]) -> None:
        entry = tuple((os.path.basename(path), node) for path, node in changes)
        self._folder(os.path.dirname(changes[0][0])).change(entry)


def _files(directory: Directory) -> Iterator[Inode]:
    for node in directory.seen.values():
        if isinstance(node, Inode):
            yield node
        else:
            yield from _files(node)


def _missing(path: str, action: str) -> StorageError:
    error = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    mapped = mapped_error(error, action, path)
    mapped.__cause__ = error
    return mapped

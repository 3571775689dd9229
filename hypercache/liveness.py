"""Tell whether somebody holds a lock, without touching it.

Part of the seam. Trying the lock would tell as well, but whoever tries it holds it for
a moment, and would turn away a writer that opens the store just then.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_LOCK_TABLE = "/proc/locks"


def is_locked(path: str) -> bool:
    """Tell whether some process has the file under `flock`.

    Where the kernel's table of locks cannot be read, the process whose number is in
    the file stands for it.
    """
    try:
        with open(path, "rb") as file:
            inode, pid = os.fstat(file.fileno()).st_ino, file.read(32)
    except FileNotFoundError:
        return False
    try:
        with open(_LOCK_TABLE) as table:
            return inode in flocked_inodes(table.read())
    except OSError:
        return pid.strip().isdigit() and is_alive(int(pid))


def flocked_inodes(table: str) -> Iterator[int]:
    """Yield the inodes in the kernel's table of locks, see proc_locks(5)."""
    for line in table.splitlines():
        words = line.split()
        if words[1:2] == ["FLOCK"]:  # not one that somebody still waits for
            with contextlib.suppress(ValueError, IndexError):
                yield int(words[5].rpartition(":")[2])


def is_alive(pid: int) -> bool:
    """Tell whether there is a process with this number."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OverflowError, ProcessLookupError):
        return False
    return True

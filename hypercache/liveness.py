"""Tell whether somebody holds a lock, and whether a process is still there.

Part of the seam. Asks without touching the lock: trying it would tell as well, but
whoever tries it holds it for a moment, and would turn away a writer that opens the
store just then.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

_LOCK_TABLE = "/proc/locks"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_START_FIELD = 19  # of /proc/PID/stat behind the name, see proc_pid_stat(5)


class Process(NamedTuple):
    """One process for good: no other has all of this, not after a reboot either.

    What the system does not tell is empty, and equal to nothing.
    """

    boot: str
    namespace: str
    pid: int
    started: str


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


def myself() -> Process:
    """Name this process."""
    pid = os.getpid()
    return Process(_boot(), _namespace(), pid, _started(pid))


def is_gone(process: Process) -> bool:
    """Tell whether a process has certainly ended; False if nobody can tell."""
    boot, namespace = _boot(), _namespace()
    if not boot or not process.boot:
        return False
    if process.boot != boot:
        return True
    if process.namespace != namespace or not process.started:
        return False  # its number means another process here
    return _started(process.pid) != process.started


def _boot() -> str:
    with contextlib.suppress(OSError), open(_BOOT_ID) as file:
        return file.read().strip()
    return ""


def _namespace() -> str:
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def _started(pid: int) -> str:
    """Return when a process began, in ticks since the boot; a zombie has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[_START_FIELD]
    except (OSError, IndexError):
        return ""

"""The functions of `os` that the seam calls, one of which does less than it could.

Below the seam the system may write or read a part only, and a call may be interrupted.
Python repeats an interrupted call by itself (PEP 475), so what gets through of that is
a part; a plain EINTR comes from wrappers that do not, and from a few file systems.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest import mock

from hypercache import locking, os_file, read_file, storage

SHORT_WRITE, SHORT_READ, INTERRUPTED = "short-write", "short-read", "EINTR"
ALWAYS = -1
# Calls that may be interrupted, and have no effect then.
_CALLS = (
    "pwrite pread fsync fdatasync ftruncate open replace unlink mkdir listdir "
    "posix_fallocate statvfs"
).split()
_WRITES, _READS = ("pwrite",), ("pread",)


class Hitch(NamedTuple):
    """What happens at the n-th call of its kind, or at every one."""

    kind: str
    at: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.at}"

    @classmethod
    def parse(cls, text: str) -> Hitch:
        """Return what `str` has made a text of."""
        kind, _, at = text.partition(":")
        return cls(kind, int(at))


class FaultyOs:
    """Stand for the module `os`; `counts` tells how many calls of a kind there were."""

    def __init__(self, hitch: Hitch) -> None:
        self._hitch = hitch
        self.counts = dict.fromkeys((SHORT_WRITE, SHORT_READ, INTERRUPTED), 0)

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in _CALLS:
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            if self._meets(INTERRUPTED):
                raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
            if name in _WRITES and self._meets(SHORT_WRITE):
                fd, data, *where = arguments
                return real(fd, bytes(data)[:1], *where)
            if name in _READS and self._meets(SHORT_READ):
                fd, _length, *where = arguments
                return real(fd, 1, *where)
            return real(*arguments, **options)

        return call

    def _meets(self, kind: str) -> bool:
        at, self.counts[kind] = self.counts[kind], self.counts[kind] + 1
        return self._hitch.kind == kind and self._hitch.at in (at, ALWAYS)


@contextlib.contextmanager
def faulty_os(hitch: Hitch) -> Iterator[FaultyOs]:
    """Put it in the place of `os` in the seam while the block runs."""
    fake = FaultyOs(hitch)
    with contextlib.ExitStack() as patches:
        for module in (storage, os_file, read_file, locking):
            patches.enter_context(mock.patch.object(module, "os", fake))
        yield fake

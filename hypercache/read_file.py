"""The part of the seam that reads a file piece by piece."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Protocol

from hypercache.os_errors import mapped_error, translated

_READ_LIMIT = 1 << 30  # Linux moves at most 2 GiB - 4 KiB per call


class ReadFile(Protocol):
    """An open file that is read at offsets.

    `size_bytes` is what the file had when it was opened. A writer may make it longer
    or shorter meanwhile, and may take its name away; reading goes on working.
    """

    path: str
    size_bytes: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes, fewer only where the file ends."""

    def close(self) -> None:
        """Release the descriptor."""

    def __enter__(self) -> ReadFile: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class OsReadFile:
    """A ReadFile that uses pread, never a map.

    A writer may cut the file while it is read: through a map that is a SIGBUS.
    """

    def __init__(self, path: str, fd: int) -> None:
        self.path, self._fd = path, fd
        self.size_bytes = os.fstat(fd).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        """Read with as many calls as it takes."""
        try:
            data = os.pread(self._fd, min(length, _READ_LIMIT), offset)
            if len(data) == length or not data:
                return data
            pieces = [data]
            done = len(data)
            while done < length and data:
                left = min(length - done, _READ_LIMIT)
                data = os.pread(self._fd, left, offset + done)
                pieces.append(data)
                done += len(data)
        except OSError as error:
            raise mapped_error(error, "read", self.path) from error
        return b"".join(pieces)

    def close(self) -> None:
        """Close the descriptor once."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with translated("close", self.path):
                os.close(fd)

    def __enter__(self) -> OsReadFile:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

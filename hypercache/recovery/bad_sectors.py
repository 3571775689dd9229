"""Read on where the disk cannot: zeros stand for what no read returns.

A block that the disk refuses once is not asked for again. Each try may take seconds,
and the two passes of a recovery must see the same bytes.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, cast

from hypercache.errors import StorageError
from hypercache.read_file import ReadFile
from hypercache.recovery.findings import Finding, Kind, Loss
from hypercache.storage import Storage

_BLOCK_BYTES = 4096  # what Linux reads at once at least; a bad sector takes all of it
# EIO is what most file systems say; the others name a checksum or a medium.
_NAMES = ("EIO", "EBADMSG", "EUCLEAN", "EREMOTEIO", "ENODATA")
_UNREADABLE = {getattr(errno, name) for name in _NAMES if hasattr(errno, name)}


class BadSectors:
    """The bytes that could not be read, by file."""

    def __init__(self) -> None:
        self._ranges: dict[str, list[range]] = {}

    def over(self, storage: Storage) -> Storage:
        """Return a storage that gives zeros for what cannot be read, noted here."""
        return cast(Storage, _ReadingOn(storage, self))

    def note(self, path: str, start: int, end: int) -> None:
        """Remember that bytes cannot be read."""
        known = self._ranges.setdefault(path, [])
        if known and known[-1].stop == start:
            start = known.pop().start
        known.append(range(start, end))

    def meets(self, path: str, start: int, end: int) -> bool:
        """Tell whether some of these bytes are known to be unreadable."""
        known = self._ranges.get(path, ())
        return any(bad.start < end and start < bad.stop for bad in known)

    def findings(self, root: str) -> list[Finding]:
        """Return a finding for each run of bytes in the files below a directory."""
        return [
            Finding(
                Kind.UNREADABLE,
                path.removeprefix(f"{root}/"),
                "the disk cannot read it; zeros are taken for it",
                offset=bad.start,
                length_bytes=len(bad),
                loss=Loss.POSSIBLE,
            )
            for path, known in sorted(self._ranges.items())
            for bad in sorted(known, key=lambda bad: bad.start)
        ]


@dataclass
class _ReadingOn:
    """A Storage whose reads do not fail; all else is the other's."""

    inner: Storage
    bad: BadSectors

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def open_read(self, path: str) -> ReadFile:
        return _ReadingOnFile(self.inner.open_read(path), self.bad)

    def read(self, path: str) -> bytes:
        with self.open_read(path) as file:
            return file.read_at(0, file.size_bytes)


@dataclass
class _ReadingOnFile:
    inner: ReadFile
    bad: BadSectors
    path: str = field(init=False)
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.path, self.size_bytes = self.inner.path, self.inner.size_bytes

    def read_at(self, offset: int, length: int) -> bytes:
        if not self.bad.meets(self.path, offset, offset + length):
            try:
                return self.inner.read_at(offset, length)
            except StorageError as error:
                if not _is_unreadable(error):
                    raise
        end = min(offset + length, self.size_bytes)
        return b"".join(
            self._block(max(start, offset), min(start + _BLOCK_BYTES, end))
            for start in range(offset - offset % _BLOCK_BYTES, end, _BLOCK_BYTES)
        )

    def _block(self, start: int, end: int) -> bytes:
        if self.bad.meets(self.path, start, end):
            return bytes(end - start)
        try:
            return self.inner.read_at(start, end - start)
        except StorageError as error:
            if not _is_unreadable(error):
                raise
        first = start - start % _BLOCK_BYTES
        self.bad.note(self.path, first, min(first + _BLOCK_BYTES, self.size_bytes))
        return bytes(end - start)

    def close(self) -> None:
        self.inner.close()

    def __enter__(self) -> ReadFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _is_unreadable(error: StorageError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in _UNREADABLE

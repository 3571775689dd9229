"""Which error of ours stands for which of LMDB's."""

from __future__ import annotations

import os

import lmdb

from hypercache.errors import (
    CorruptionError,
    DiskFullError,
    HyperCacheError,
    StorageError,
    UnsupportedFormatError,
)
from hypercache.os_errors import NO_SPACE

DAMAGE: tuple[type[lmdb.Error], ...] = (
    lmdb.BadChecksumError,
    lmdb.CorruptedError,
    lmdb.CursorFullError,
    lmdb.InvalidError,
    lmdb.PageFullError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.ProblemError,
    lmdb.IncompatibleError,
    lmdb.BadDbiError,
    lmdb.NotFoundError,
)
# What strerror says of ENOSPC, EDQUOT and EFBIG; LMDB hands out nothing but the text.
NO_SPACE_TEXTS = tuple(os.strerror(code) for code in sorted(NO_SPACE))
FORMAT: tuple[type[lmdb.Error], ...] = (
    lmdb.VersionMismatchError,
    lmdb.EnvEncryptionError,
    lmdb.CryptoFailError,
)


def mapped_error(
    error: lmdb.Error, path: str, key: bytes | None = None
) -> HyperCacheError:
    """Return the error of ours for one of LMDB's."""
    if isinstance(error, DAMAGE):
        return CorruptionError(path, f"LMDB: {error}", key=key)
    if isinstance(error, FORMAT):
        return UnsupportedFormatError(path, f"({error})", "the LMDB 0.9 format")
    if any(text in str(error) for text in NO_SPACE_TEXTS):
        return disk_full(path, error)
    return StorageError(f"{path}: {error}")


def disk_full(path: str, error: lmdb.Error) -> DiskFullError:
    """Return the error of ours for a write that found no space."""
    return DiskFullError(f"{path}: {error}; free some space, then go on")

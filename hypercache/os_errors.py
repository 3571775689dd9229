"""Turn an OSError into the error of ours that says what failed and where."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from hypercache.errors import DiskFullError, StorageError

# EFBIG is what RLIMIT_FSIZE answers: a limit that may be lifted, like a full disk.
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextlib.contextmanager
def translated(action: str, path: str) -> Iterator[None]:
    """Turn an OSError of the block into the StorageError that says what and where."""
    try:
        yield
    except OSError as error:
        raise mapped_error(error, action, path) from error


def mapped_error(error: OSError, action: str, path: str) -> StorageError:
    """Return the error of ours for one of the operating system's."""
    text = f"cannot {action} {path}: {error.strerror or error}"
    # A failed sync may have dropped what was written, whatever the reason: it never
    # counts as a full disk, after which one may simply go on.
    if error.errno in NO_SPACE and action != "sync":
        return DiskFullError(f"{text}; free some space, then go on: nothing was lost")
    return StorageError(text)

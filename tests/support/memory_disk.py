"""A directory in RAM, for tests of behaviour that sync all the time.

What survives a power cut is tested elsewhere, on the simulated disk and a real one.
"""

from __future__ import annotations

import os
import shutil

_PLACE = "/dev/shm"  # noqa: S108 - the directory made there is new and private
_ENOUGH_BYTES = 1 << 30


def place() -> str | None:
    """Return where to make a directory, None for the usual place."""
    if not os.access(_PLACE, os.W_OK) or not os.path.isdir(_PLACE):
        return None
    return _PLACE if shutil.disk_usage(_PLACE).free > _ENOUGH_BYTES else None

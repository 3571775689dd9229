"""Name every file of a store directory, here only.

Pure text: nothing in this module touches the file system.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LOCK = "LOCK"
STORE = "STORE"
CHECKPOINT = "CHECKPOINT"
WAL = "wal"
LMDB = "lmdb"
LMDB_DATA = "data.mdb"
TEMP_SUFFIX = ".tmp"

OWN_NAMES = frozenset(
    {LOCK, STORE, CHECKPOINT, WAL, LMDB, STORE + TEMP_SUFFIX, CHECKPOINT + TEMP_SUFFIX}
)
_SEGMENT = re.compile(r"([0-9]{16})\.wal")


@dataclass(frozen=True, slots=True)
class StorePaths:
    """Build the paths of one store from its root directory."""

    root: str

    @property
    def lock(self) -> str:
        """Name the flock target."""
        return f"{self.root}/{LOCK}"

    @property
    def store(self) -> str:
        """Name the identity metafile."""
        return f"{self.root}/{STORE}"

    @property
    def checkpoint(self) -> str:
        """Name the checkpoint marker."""
        return f"{self.root}/{CHECKPOINT}"

    @property
    def wal(self) -> str:
        """Name the directory of segments."""
        return f"{self.root}/{WAL}"

    @property
    def lmdb(self) -> str:
        """Name the directory of the LMDB environment."""
        return f"{self.root}/{LMDB}"

    @property
    def lmdb_data(self) -> str:
        """Name the file LMDB keeps its pages in."""
        return f"{self.root}/{LMDB}/{LMDB_DATA}"

    def segment(self, number: int) -> str:
        """Name the segment with this number."""
        return f"{self.wal}/{number:016d}.wal"


def maybe_segment_number(name: str) -> int | None:
    """Return the number in a segment's file name, None for any other name."""
    match = _SEGMENT.fullmatch(name)
    return int(match[1]) if match else None

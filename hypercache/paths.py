"""Name every file of a store directory, here only.

Pure text: nothing in this module touches the file system.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LOCK = "LOCK"
STORE = "STORE"
CHECKPOINT = "CHECKPOINT"
WRITER = "WRITER"
TURN = "TURN"
WAL = "wal"
AOF = "aof"
MANIFEST = "MANIFEST"
LMDB = "lmdb"
LMDB_DATA = "data.mdb"
LMDB_LOCK = "lock.mdb"
QUARANTINE = "quarantine"  # what a recovery could not use
NAMESPACES = "namespaces"
TEMP_SUFFIX = ".tmp"

# What is only ever there beside a STORE.
STORE_PARTS = (WAL, AOF, LMDB, CHECKPOINT, NAMESPACES)
OWN_NAMES = frozenset(
    {
        LOCK,
        STORE,
        WRITER,
        TURN,
        QUARANTINE,
        *STORE_PARTS,
        STORE + TEMP_SUFFIX,
        CHECKPOINT + TEMP_SUFFIX,
    }
)


# Of the name of a namespace; each may take three in the name of its directory.
MAX_NAME_BYTES = 80
_ESCAPED = re.compile(rb"%([0-9a-f]{2})")
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")
_DROPPED = re.compile(r"\.dropped-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class LogPaths:
    """Build the paths of the segments in one directory."""

    directory: str
    suffix: str
    prefix: str = ""

    def segment(self, number: int) -> str:
        """Name the segment with this number."""
        return f"{self.directory}/{self.prefix}{number:016d}.{self.suffix}"

    def maybe_number(self, name: str) -> int | None:
        """Return the number in a segment's file name, None for any other name."""
        pattern = rf"{self.prefix}([0-9]{{16}})\.{self.suffix}"
        match = re.fullmatch(pattern, name)
        return int(match[1]) if match else None


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
    def writer(self) -> str:
        """Name the flock target of whoever writes, where processes share a store."""
        return f"{self.root}/{WRITER}"

    @property
    def turn(self) -> str:
        """Name the flock target of whoever writes next."""
        return f"{self.root}/{TURN}"

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

    @property
    def lmdb_lock(self) -> str:
        """Name the file LMDB keeps its readers in."""
        return f"{self.root}/{LMDB}/{LMDB_LOCK}"

    @property
    def quarantine(self) -> str:
        """Name the directory of the bytes that a recovery could not use."""
        return f"{self.root}/{QUARANTINE}"

    @property
    def aof(self) -> str:
        """Name the directory of the append-only log."""
        return f"{self.root}/{AOF}"

    @property
    def manifest(self) -> str:
        """Name the manifest of the append-only log."""
        return f"{self.aof}/{MANIFEST}"

    @property
    def wal_log(self) -> LogPaths:
        """Name the segments of the write-ahead log."""
        return LogPaths(self.wal, "wal")

    @property
    def increments(self) -> LogPaths:
        """Name the segments of the append-only log."""
        return LogPaths(self.aof, "aof")

    @property
    def bases(self) -> LogPaths:
        """Name the bases of the append-only log."""
        return LogPaths(self.aof, "base", "base-")

    @property
    def namespaces(self) -> str:
        """Name the directory of the namespaces."""
        return f"{self.root}/{NAMESPACES}"

    def namespace(self, name: str) -> StorePaths:
        """Return the paths of a namespace; see docs/namespaces.md for the names."""
        return StorePaths(f"{self.namespaces}/{_encoded(name)}")

    def dropped(self, number: int) -> str:
        """Name what a namespace is called while it is removed."""
        return f"{self.namespaces}/.dropped-{number:016x}"


def is_dropped(directory_name: str) -> bool:
    """Tell whether a directory is what `StorePaths.dropped` names."""
    return _DROPPED.fullmatch(directory_name) is not None


def maybe_namespace(directory_name: str) -> str | None:
    """Return the namespace that is in a directory, None for any other directory."""
    text = directory_name.encode(errors="surrogateescape")
    try:
        name = _ESCAPED.sub(lambda two: bytes([int(two[1], 16)]), text).decode()
    except UnicodeDecodeError:
        return None
    return name if name and _encoded(name) == directory_name else None


def _encoded(name: str) -> str:
    return "".join(
        chr(byte) if byte in _PLAIN else f"%{byte:02x}" for byte in name.encode()
    )

"""Choices a caller makes once, when a store is opened."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, TypeVar

from hypercache.errors import ConfigError

KIB = 1024
MIB = 1024 * KIB

MAX_KEY_BYTES = 65_535
# So that no LSN counted on from one that was read leaves its 64 bits.
MAX_LSN = (1 << 62) - 1
MAX_VALUE_BYTES = 512 * MIB


class SyncPolicy(enum.StrEnum):
    """When a write counts as acknowledged, and when it is fsynced."""

    ALWAYS = "always"  # acknowledged = fsynced
    EVERYSEC = "everysec"  # acknowledged = in the operating system, fsynced within 1 s
    NO = "no"  # fsynced when a segment is sealed, and at close


class LogIO(enum.StrEnum):
    """How frames reach the active segment; the bytes are the same."""

    AUTO = "auto"  # mmap where the mount really reserves blocks, else write
    MMAP = "mmap"
    WRITE = "write"


class Maintenance(enum.StrEnum):
    """Where the log is folded while the program goes on."""

    AUTO = "auto"  # in a helper process where one can be started, else inline
    PROCESS = "process"
    INLINE = "inline"  # by the writer that comes across it


class Verify(enum.StrEnum):
    """How much of LMDB is read back before it is trusted at open."""

    AUTO = "auto"  # everything, unless the last close was clean and nothing moved
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Options:
    """Hold the settings of one open store; `resolve` makes a checked one.

    Attributes:
        segment_bytes: largest size of a log segment; the first is 1 MiB and each
            next one twice its predecessor, so that a small store stays small.
        checkpoint_bytes: log length at which a checkpoint starts by itself; with a
            large store a quarter of its size, up to four times as long. 32 MiB
            replays in well under a second.
        compact_min_bytes: length below which an append-only log is never compacted
            by itself.
        memory_bytes: what the hybrid engine may hold in RAM: what the log still has,
            what is being folded, the read cache, and what it maps of its files.
        gives_pages_back: whether pages of LMDB's file that were read count as memory;
            they are the page cache's, so they do where `memory_bytes` was given.
        map_bytes: first size of the LMDB map; it doubles whenever it is full.
        fold_batch: entries per LMDB transaction of a checkpoint; a helper process
            takes ten times as many.
        max_items, max_bytes: how much the store may hold, None for any amount; bytes
            are what keys, values and their bookkeeping take.
        eviction: what goes when a limit is reached: the name of a policy, or an
            EvictionPolicy.
        read_only: show a store as of the open, changing nothing.
        allow_unsafe_sync: let the persistent engine take sync="no", where a power cut
            may destroy the whole store.
    """

    sync: SyncPolicy = SyncPolicy.EVERYSEC
    log_io: LogIO = LogIO.AUTO
    verify: Verify = Verify.AUTO
    maintenance: Maintenance = Maintenance.AUTO
    segment_bytes: int = 64 * MIB
    checkpoint_bytes: int = 32 * MIB
    compact_min_bytes: int = 64 * MIB
    memory_bytes: int = 256 * MIB
    gives_pages_back: bool = False
    map_bytes: int = 1024 * MIB
    fold_batch: int = 2_000
    read_only: bool = False
    allow_network_fs: bool = False
    allow_unsafe_sync: bool = False
    serializer: str | None = None
    max_items: int | None = None
    max_bytes: int | None = None
    eviction: Any = "s3fifo"

    @classmethod
    def resolve(
        cls,
        *,
        sync: str | None = None,
        log_io: str = "auto",
        verify: str = "auto",
        maintenance: str = "auto",
        memory_bytes: int | None = None,
        segment_bytes: int = 64 * MIB,
        checkpoint_bytes: int = 32 * MIB,
        compact_min_bytes: int = 64 * MIB,
        map_bytes: int = 1024 * MIB,
        fold_batch: int = 2_000,
        read_only: bool = False,
        allow_network_fs: bool = False,
        allow_unsafe_sync: bool = False,
        serializer: str | None = None,
        engine: str | None = None,
        max_items: int | None = None,
        max_bytes: int | None = None,
        eviction: Any = "s3fifo",
    ) -> Options:
        """Check what a caller passed and return it with the defaults filled in.

        `engine` decides what `sync` is by default: "always" for "persistent".

        Raises:
            ConfigError: an option has a value that cannot work; it is named.
        """
        default_sync = "always" if engine == "persistent" else "everysec"
        return cls(
            sync=choice("sync", SyncPolicy, default_sync if sync is None else sync),
            log_io=choice("log_io", LogIO, log_io),
            verify=choice("verify", Verify, verify),
            maintenance=choice("maintenance", Maintenance, maintenance),
            segment_bytes=at_least("segment_bytes", segment_bytes, 4 * KIB),
            checkpoint_bytes=at_least("checkpoint_bytes", checkpoint_bytes, 4 * KIB),
            compact_min_bytes=at_least("compact_min_bytes", compact_min_bytes, 4 * KIB),
            memory_bytes=at_least(
                "memory_bytes", 256 * MIB if memory_bytes is None else memory_bytes, 0
            ),
            gives_pages_back=memory_bytes is not None,
            map_bytes=at_least("map_bytes", map_bytes, 64 * KIB),
            fold_batch=at_least("fold_batch", fold_batch, 1),
            read_only=bool(read_only),
            allow_network_fs=bool(allow_network_fs),
            allow_unsafe_sync=bool(allow_unsafe_sync),
            serializer=serializer,
            max_items=limit("max_items", max_items),
            max_bytes=limit("max_bytes", max_bytes),
            eviction=eviction,
        )


_EnumT = TypeVar("_EnumT", bound=enum.StrEnum)


def choice(name: str, kind: type[_EnumT], value: str) -> _EnumT:
    """Return `value` as a member of `kind`, or say what is allowed."""
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(repr(member.value) for member in kind)
        raise ConfigError(
            f"{name}={value!r} is unknown; use one of {allowed}"
        ) from None


def limit(name: str, value: int | None) -> int | None:
    """Return `value` if it is None or an int above 0."""
    return None if value is None else at_least(name, value, 1)


def at_least(name: str, value: int, lowest: int) -> int:
    """Return `value` if it is an int of at least `lowest`."""
    if type(value) is not int or value < lowest:
        raise ConfigError(f"{name}={value!r} must be an int of at least {lowest}")
    return value

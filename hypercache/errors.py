"""Every exception HyperCache raises on purpose.

HyperCacheError
    ConfigError (ValueError)          an option or a path that cannot work
    LimitError (ValueError)           a key, value, batch or ttl out of range
    ArgumentTypeError (TypeError)     an argument of the wrong type
        SerializationError            the serializer cannot encode the value
    DeserializationError              stored bytes the serializer cannot decode
    CacheFullError                    no room within the limits, nothing to evict
    FilterFullError                   a filter has no room for one more item
    ClosedError                       the cache was closed
    ForkedStoreError                  the handle was inherited through fork
    ReentrantCallError (RuntimeError)  called from inside a write of this thread
    ReadOnlyError                     a write to what was opened with read_only=True
    TransactionError                  not possible inside a transaction
    WaitTimeoutError (TimeoutError)   wait_durable gave up; the write stands
    UnsupportedFormatError            written by another version
    CorruptionError                   damage to data that should be there
    StorageError                      the operating system refused
        StoreLockedError              another process, or this one, has it open
        DiskFullError                 no space; heals when there is some
        StorageFailedError            a log failed; nothing more is accepted

A missing key is no error except for ``cache[key]``, which raises KeyError. A torn
tail is no error either: it is cut at open and reported in ``stats()``.
"""

from __future__ import annotations


class HyperCacheError(Exception):
    """Stand at the root of everything HyperCache raises on purpose."""


class ConfigError(HyperCacheError, ValueError):
    """Say which option, path or combination of them cannot work, and why."""


class LimitError(HyperCacheError, ValueError):
    """Refuse a key, value, batch or ttl out of range; nothing was written."""


class ArgumentTypeError(HyperCacheError, TypeError):
    """Refuse an argument of the wrong type; nothing was written."""


class SerializationError(ArgumentTypeError):
    """Refuse a value the serializer cannot encode; nothing was written."""


class DeserializationError(HyperCacheError):
    """Report stored bytes that the serializer cannot decode."""


class CacheFullError(HyperCacheError):
    """Refuse a write for which the limits leave no room; nothing was written."""


class FilterFullError(HyperCacheError):
    """Refuse an item that a filter has no room for; the filter is as it was."""


class ClosedError(HyperCacheError):
    """Refuse an operation on a closed cache or engine."""


class ForkedStoreError(HyperCacheError):
    """Refuse a handle that came through fork; open the store again instead."""


class ReentrantCallError(HyperCacheError, RuntimeError):
    """Refuse a call from a signal handler or callback inside one it would wait for."""


class ReadOnlyError(HyperCacheError):
    """Refuse a write to a store that was opened for reading only."""


class TransactionError(HyperCacheError):
    """Refuse what cannot be done inside a transaction."""


class WaitTimeoutError(HyperCacheError, TimeoutError):
    """Say that a write was not durable in time; it stands and may become so."""


class UnsupportedFormatError(HyperCacheError):
    """Refuse files of a format this version does not know; nothing was touched."""

    def __init__(self, path: str, found: object, supported: str) -> None:
        self.path, self.found, self.supported = path, found, supported
        super().__init__(
            f"{path}: format {found} is not supported (this version reads "
            f"{supported}); open it with the version that wrote it"
        )


_ADVICE = (
    "nothing was changed: keep a copy of the directory, then run `hypercache check` "
    "or `hypercache-recover` on it"
)


class CorruptionError(HyperCacheError):
    """Report damage to data that should be there; nothing was changed.

    ``offset`` (bytes), ``lsn`` and ``key`` are None where they are not known;
    ``advice`` is what to do next, for what is no store.
    """

    def __init__(
        self,
        path: str,
        reason: str,
        *,
        offset: int | None = None,
        lsn: int | None = None,
        key: bytes | None = None,
        advice: str = _ADVICE,
    ) -> None:
        self.path, self.reason = path, reason
        self.offset, self.lsn, self.key = offset, lsn, key
        where = [path]
        where += [f"offset {offset}"] if offset is not None else []
        where += [f"LSN {lsn}"] if lsn is not None else []
        where += [f"key {key!r}"] if key is not None else []
        super().__init__(f"{', '.join(where)}: {reason}; {advice}")


class StorageError(HyperCacheError):
    """Report what the operating system refused; the cause is chained."""


class StoreLockedError(StorageError):
    """Name the process that has the store open."""

    def __init__(self, path: str, pid: int | None) -> None:
        self.path, self.pid = path, pid
        holder = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{path} is open in {holder}; close it there, or use one Cache for all"
        )


class DiskFullError(StorageError):
    """Refuse a write for want of space; it works again when there is some."""


class StorageFailedError(StorageError):
    """Refuse every write after a log failed; reads go on, reopen to recover."""

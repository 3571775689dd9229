"""The Cache: typed values, ttl and atomic operations over a storage engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, Unpack, cast, overload

from hypercache import arguments
from hypercache.codec import Codec
from hypercache.engines import open_engine
from hypercache.engines.reports import CheckReport, merged
from hypercache.entries import Settings, Ttl
from hypercache.errors import ConfigError
from hypercache.eviction import EvictionPolicy
from hypercache.hooks import Hooks
from hypercache.makers import Making
from hypercache.mapping import CacheMapping
from hypercache.namespaces import Namespaces, NamespaceSettings
from hypercache.options import Maintenance, Options
from hypercache.reading import V
from hypercache.serializers import Serializer


class Cache(Making[V]):
    """Open a cache in RAM, or a durable one in a directory.

    Keys are str or bytes; a str is its UTF-8 bytes, the same key. A ttl is in seconds
    or a timedelta; None stands for the default of the cache, `math.inf` for never.
    Any number of threads may use one Cache. Only a persistent store may be open in
    several processes; read-only any store may.

    Args:
        path: a directory, created if absent; None keeps everything in RAM.
        engine: "memory" (all of it in RAM; with a path also in a log), "hybrid" (RAM
            in front of LMDB), "persistent" (LMDB, shared by processes), or a name that
            a package has registered; None chooses "hybrid" with a path.
        sync: "always" (a call returns when its write is on the medium), "everysec"
            (default: within a second; `kill -9` loses nothing, a power cut at most
            the last second), or "no" (when the operating system likes). "persistent"
            has "always", and "no" with `allow_unsafe_sync=True` at the store's risk.
        memory_bytes: what a hybrid store may hold in RAM, 256 MiB by default. Where it
            is given, pages of LMDB's file count, too, and reads from it are slower.
        default_ttl: for writes without a ttl.
        ttl_jitter: shortens each ttl by a random share of up to this, 0 to 1, so that
            what was written together does not expire together.
        serializer: "msgpack", "json", "bytes", or an object with dumps and loads.
        compress_min_bytes: size from which on encoded values are compressed.
        verify: "auto" reads a store back after an unclean close, "full" always.
        log_io: "mmap", "write", or "auto" for what the mount allows.
        maintenance: where the log is folded: "process", "inline", or "auto".
        read_only: show the store as of now, without a lock and without changing a
            byte, also beside a writer; `refresh` moves on.
        allow_network_fs: open on a network file system, where locks and syncs may lie.
        on_evict, on_expire: called with each key that goes for want of room, or because
            its time is over, behind the write that caused it, in its thread.
        on_pressure: called with 85, 90 or 95 when so many percent of a limit are used,
            and with the lower level, or 0, when they are not any more; and the share.
        tuning: what else `hypercache.options.Options` has.

    Raises:
        ConfigError: an argument or the path cannot work; nothing was changed.
        StoreLockedError: it is open already.
        CorruptionError, UnsupportedFormatError, StorageError: nothing was changed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        engine: str | None = None,
        sync: str | None = None,
        max_bytes: int | None = None,
        max_items: int | None = None,
        memory_bytes: int | None = None,
        eviction: str | EvictionPolicy = "s3fifo",
        default_ttl: Ttl = None,
        ttl_jitter: float = 0.0,
        serializer: str | Serializer = "msgpack",
        compress_min_bytes: int | None = None,
        verify: str = "auto",
        log_io: str = "auto",
        maintenance: str = "auto",
        read_only: bool = False,
        allow_network_fs: bool = False,
        on_evict: Callable[[bytes], object] | None = None,
        on_expire: Callable[[bytes], object] | None = None,
        on_pressure: Callable[[int, float], object] | None = None,
        **tuning: int,
    ) -> None:
        codec = Codec(serializer, compress_min_bytes)
        settings = Settings(
            codec,
            arguments.ttl_ms(default_ttl),
            arguments.share("ttl_jitter", ttl_jitter),
            hooks=Hooks(on_evict, on_expire, on_pressure),
            max_items=max_items,
            max_bytes=max_bytes,
            eviction=eviction if isinstance(eviction, str) else type(eviction).__name__,
            sweeps=maintenance != Maintenance.INLINE.value and not read_only,
        )
        if path is None:
            _refuse_without_path(sync, read_only=read_only)
        common: dict[str, Any] = {
            "sync": sync,
            "memory_bytes": memory_bytes,
            "verify": verify,
            "log_io": log_io,
            "maintenance": maintenance,
            "read_only": read_only,
            "allow_network_fs": allow_network_fs,
            **arguments.known_tuning(tuning),
        }
        options = Options.resolve(
            engine=engine,
            max_bytes=max_bytes,
            max_items=max_items,
            eviction=eviction,
            serializer=codec.serializer_name,
            **common,
        )
        root = None if path is None else arguments.absolute(path)
        super().__init__(open_engine(root, engine=engine, options=options), settings)
        values = default_ttl, ttl_jitter, serializer, compress_min_bytes
        inherited = _inherited(common, engine, eviction, values)
        self._namespaces = _namespaces(root, inherited)

    def namespace(self, name: str, **settings: Unpack[NamespaceSettings]) -> Cache[Any]:
        """Return a cache inside this one, with keys, limits and numbers of its own.

        It is made if there is none of that name, and kept like the cache itself, in
        its directory. What is not given is as in the cache; limits and callbacks are
        not. While it is open it is one object for all who ask. Closed with the cache.

        Args:
            name: 1 to 80 bytes of UTF-8.
            settings: those of `NamespaceSettings`, which mean what they do for `Cache`.

        Raises:
            ConfigError: a setting cannot work, or is not that of the one that is open;
                the cache is a namespace, or is read-only and has none of that name.
            LimitError: the name is empty or too long.
            StoreLockedError, CorruptionError, ...: as `Cache`.
        """
        return cast("Cache[Any]", self._namespaces.open(name, settings))

    def namespaces(self) -> list[str]:
        """Return the names of all namespaces, open or not, sorted."""
        return self._namespaces.names()

    def drop_namespace(self, name: str) -> bool:
        """Close and remove a namespace with all that is in it; tell if there was one.

        On return it is gone from the medium; a crash leaves it whole or not at all.

        Raises:
            StoreLockedError: another process has it open; it stays.
            ReadOnlyError: the cache is read-only.
        """
        return self._namespaces.drop(name)

    def sync(self) -> int:
        """Return when everything acknowledged so far is on the medium, and its LSN.

        In the namespaces that are open here, too; the LSN is the cache's own.
        """
        lsn = super().sync()
        self._namespaces.sync()
        return lsn

    def check(self) -> CheckReport:
        """Read everything back, all namespaces, too; `report.ok`: nothing is wrong."""
        return merged([super().check(), *self._namespaces.check()])

    def backup(self, destination: str | os.PathLike[str]) -> int:
        """Copy the store into a new directory; return the LSN that the copy is of.

        Reads and writes go on meanwhile. On return the copy is on the medium and was
        read back; on an error there is none. It opens like any store. Namespaces are
        copied, too, each as of one moment.

        Raises:
            ConfigError: the destination is the store itself, lies in it or around it,
                or is not empty; or the cache is volatile.
            DiskFullError, StorageError, CorruptionError: there is no copy.
        """
        target = arguments.absolute(destination)
        return self._namespaces.back_up(target, super().backup)

    def close(self) -> None:
        """Bring everything to the medium and let go of all files; repeatable.

        The namespaces are closed, too.
        """
        try:
            if not self._in_transaction():  # which is refused below
                self._namespaces.close()
        finally:
            super().close()

    @overload
    def mapping(
        self, keys: type[bytes] | Literal["bytes"] = bytes
    ) -> CacheMapping[bytes, V]: ...

    @overload
    def mapping(self, keys: type[str] | Literal["str"]) -> CacheMapping[str, V]: ...

    def mapping(self, keys: Any = bytes) -> Any:
        """Return the cache as a MutableMapping whose keys are `bytes`, or `str`.

        Raises:
            ConfigError: `keys` is something else.
        """
        if keys not in (str, bytes, "str", "bytes"):
            raise ConfigError(f"keys={keys!r} must be str or bytes")
        return CacheMapping(self, as_text=keys in (str, "str"))


def _refuse_without_path(sync: str | None, *, read_only: bool) -> None:
    if read_only:
        raise ConfigError("read_only=True needs a path: there is nothing to read")
    if sync is not None:
        raise ConfigError(f"sync={sync!r} needs a path: there is nothing to sync")


def _inherited(
    common: Mapping[str, Any],
    engine: str | None,
    eviction: str | EvictionPolicy,
    values: tuple[Ttl, float, str | Serializer, int | None],
) -> dict[str, Any]:
    """Return the arguments of a namespace for which nothing is given."""
    names = "default_ttl", "ttl_jitter", "serializer", "compress_min_bytes"
    # A policy of the user's own holds the keys of one cache.
    policy = eviction if isinstance(eviction, str) else "s3fifo"
    own = {"engine": engine, "eviction": policy}
    return {**common, **own, **dict(zip(names, values, strict=True))}


def _namespaces(root: str | None, inherited: Mapping[str, Any]) -> Namespaces:
    if root is None:
        return Namespaces(inherited, _inner)
    # Imported only with a path: it takes what reads stores.
    from hypercache.stored_namespaces import StoredNamespaces

    return StoredNamespaces(root, inherited, _inner)


def _inner(path: str | None, **settings: Any) -> Cache[Any]:
    cache: Cache[Any] = Cache(path, **settings)
    cache._namespaces.is_inside = True
    return cache

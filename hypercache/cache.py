"""The Cache: typed values, ttl and atomic operations over a storage engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, overload

from hypercache import arguments
from hypercache.codec import Codec
from hypercache.engines import open_engine
from hypercache.entries import Settings, Ttl
from hypercache.errors import ConfigError
from hypercache.eviction import EvictionPolicy
from hypercache.hooks import Hooks
from hypercache.key_value import V
from hypercache.makers import Making
from hypercache.mapping import CacheMapping
from hypercache.options import Maintenance, Options
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
        memory_bytes: what a hybrid store may hold in RAM, 256 MiB by default.
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
        if path is None and read_only:
            raise ConfigError("read_only=True needs a path: there is nothing to read")
        if path is None and sync is not None:
            raise ConfigError(f"sync={sync!r} needs a path: there is nothing to sync")
        options = Options.resolve(
            engine=engine,
            sync=sync,
            max_bytes=max_bytes,
            max_items=max_items,
            memory_bytes=memory_bytes,
            eviction=eviction,
            verify=verify,
            log_io=log_io,
            maintenance=maintenance,
            read_only=read_only,
            allow_network_fs=allow_network_fs,
            serializer=codec.serializer_name,
            **arguments.known_tuning(tuning),
        )
        root = None if path is None else arguments.absolute(path)
        opened = open_engine(root, engine=engine, options=options)
        super().__init__(opened, settings)

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

"""The Cache: typed values, ttl and atomic operations over a storage engine."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from itertools import islice
from typing import Any

from hypercache import arguments, sweeper
from hypercache.arguments import key_bytes
from hypercache.codec import Codec
from hypercache.engines import open_engine
from hypercache.engines.base import (
    Delete,
    Entry,
    KeyOp,
    Put,
    StorageEngine,
    Touch,
)
from hypercache.errors import ConfigError, DeserializationError
from hypercache.eviction import EvictionPolicy
from hypercache.handle import StoreHandle
from hypercache.ops import check_key
from hypercache.options import Maintenance, Options
from hypercache.serializers import Serializer
from hypercache.transaction import TransactionView

Key = str | bytes
Ttl = float | timedelta | None
_MISSING: Any = object()
_SLACK = 100  # a ttl is refreshed where the expiry moves by one in so many


class Cache(StoreHandle):
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
        memory_bytes: budget of the read cache of a durable store.
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
        **tuning: int,
    ) -> None:
        self._default_ttl_ms = arguments.ttl_ms(default_ttl)
        self._ttl_jitter = arguments.share("ttl_jitter", ttl_jitter)
        self._codec = codec = Codec(serializer, compress_min_bytes)
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
        super().__init__(open_engine(root, engine=engine, options=options))
        self._hits = self._misses = 0
        self._is_swept = options.maintenance is Maintenance.INLINE or read_only
        self._serve(self._engine)

    # One key

    def set(self, key: Key, value: Any, ttl: Ttl = None) -> int:
        """Store a value and return its LSN, a receipt for `wait_durable`.

        On return it is acknowledged as the sync policy says. On a volatile cache and
        inside a transaction the LSN is 0.

        Raises:
            SerializationError: the serializer cannot encode the value.
            LimitError: key, value or ttl out of range.
            DiskFullError: no space; it works again when there is some.
            StorageFailedError: the log failed; the write may be lost.
        """
        encode = self._encode
        data = encode(value)
        if type(key) is not bytes:
            key = key_bytes(key)
        if ttl is None and not self._default_ttl_ms:
            return self._engine.put(key, data)
        return self._engine.put(key, data, self._expires_at_ms(ttl))

    def get(self, key: Key, default: Any = None, *, refresh_ttl: Ttl = None) -> Any:
        """Return the value, or `default` for a key that is absent or expired.

        With `refresh_ttl` it lives on for so long from now; a write, made only where
        the expiry moves by a hundredth of that or more.

        Raises:
            CorruptionError: the stored value is damaged.
            DeserializationError: another serializer wrote it.
        """
        if refresh_ttl is None:
            # As few calls as can be: they are what a hit in RAM costs.
            try:
                name: Any = key.encode() if type(key) is str else key
                data = self._find(name)
            except (UnicodeEncodeError, TypeError):
                data = None  # said what is wrong with the key below
            if type(data) in self._kept:
                if self._note_access is not None:
                    self._note_access(name)
                # No thread gets its turn inside this line, where there is a GIL.
                self._hits += 1
                return data
        return self._get(key, default, refresh_ttl)

    def _get(self, key: Key, default: Any, refresh_ttl: Ttl) -> Any:
        name = key_bytes(key)
        if refresh_ttl is not None:
            self._refresh(name, refresh_ttl)
        data: Any = self._engine.get(name)
        if data is None:
            check_key(name)
            self._misses += 1
            return default
        if self._note_access is not None:
            self._note_access(name)
        self._hits += 1
        try:
            return self._decode_bytes(data)
        except DeserializationError as error:
            error.add_note(f"key: {name!r}")
            raise

    def _refresh(self, key: Key, ttl: Ttl) -> None:
        op = Touch(key_bytes(key), self._expires_at_ms(ttl))
        entry = self._engine.get_entry(op.key)
        if entry is None or entry.expires_at_ms == op.expires_at_ms:
            return
        moved_ms = abs(op.expires_at_ms - entry.expires_at_ms)
        ends = entry.expires_at_ms and op.expires_at_ms
        if not ends or moved_ms * _SLACK >= arguments.ttl_ms(ttl):
            self._update(op.key, lambda entry: op if entry else None)

    def expire(self) -> int:
        """Remove all entries that have expired by now, and return how many.

        It goes on by itself, too, in small steps; nothing that has expired is ever
        shown.
        """
        return self._engine.sweep()

    def add(self, key: Key, value: Any, ttl: Ttl = None) -> bool:
        """Store a value only if the key is absent; tell whether it was stored."""
        put = self._put(key, value, ttl)
        return self._update(put.key, lambda entry: None if entry else put)

    def replace(self, key: Key, value: Any, ttl: Ttl = None) -> bool:
        """Store a value only if the key is present; tell whether it was stored."""
        put = self._put(key, value, ttl)
        return self._update(put.key, lambda entry: put if entry else None)

    def cas(self, key: Key, expected: Any, value: Any, ttl: Ttl = None) -> bool:
        """Store a value only if the present one equals `expected`."""
        put = self._put(key, value, ttl)

        def change(entry: Entry | None) -> KeyOp | None:
            same = entry is not None and self._decode(put.key, entry) == expected
            return put if same else None

        return self._update(put.key, change)

    def incr(self, key: Key, delta: int = 1, initial: int = 0, ttl: Ttl = None) -> int:
        """Add to an int and return the sum; an absent key counts as `initial`.

        Without a ttl a present key keeps its expiry.

        Raises:
            ArgumentTypeError: the value, `delta` or `initial` is not an int.
        """
        name = key_bytes(key)
        result = 0

        def change(entry: Entry | None) -> KeyOp:
            nonlocal result
            current = self._decode(name, entry) if entry else initial
            result = arguments.integer(current, name) + arguments.integer(delta)
            if entry is not None and ttl is None:
                return Put(name, self._encode(result), entry.expires_at_ms)
            return self._put(name, result, ttl)

        self._update(name, change)
        return result

    def decr(self, key: Key, delta: int = 1, initial: int = 0, ttl: Ttl = None) -> int:
        """Subtract from an int and return the difference; see `incr`."""
        return self.incr(key, -arguments.integer(delta), initial, ttl)

    def delete(self, key: Key) -> bool:
        """Remove a key; tell whether it was present."""
        op = Delete(key_bytes(key))
        return self._update(op.key, lambda entry: op if entry else None)

    def pop(self, key: Key, default: Any = None) -> Any:
        """Remove a key and return its value, or `default` if it was absent."""
        name = key_bytes(key)
        value = default

        def change(entry: Entry | None) -> KeyOp | None:
            nonlocal value
            if entry is None:
                return None
            value = self._decode(name, entry)
            return Delete(name)

        self._update(name, change)
        return value

    def touch(self, key: Key, ttl: Ttl = None) -> bool:
        """Give a present key a new ttl; tell whether it was present."""
        op = Touch(key_bytes(key), self._expires_at_ms(ttl))
        return self._update(op.key, lambda entry: op if entry else None)

    def ttl(self, key: Key) -> float | None:
        """Return the seconds left, None for a key that is absent or never expires."""
        name = key_bytes(key)
        check_key(name)
        entry = self._engine.get_entry(name)
        if entry is None or not entry.expires_at_ms:
            return None
        return max(0.0, entry.expires_at_ms - self._engine.now_ms()) / 1000

    def get_or_set(self, key: Key, factory: Callable[[], Any], ttl: Ttl = None) -> Any:
        """Return the value; if absent, store and return what `factory` makes."""
        value = self.get(key, _MISSING)
        if value is _MISSING:
            value = factory()
            self.set(key, value, ttl)
        return value

    # Many keys

    def get_many(self, keys: Iterable[Key]) -> dict[Key, Any]:
        """Return the values of the keys that are present, under the keys as passed.

        They are as of one moment: a batch is seen whole or not at all.
        """
        names = {key: key_bytes(key) for key in keys}
        for name in names.values():
            check_key(name)
        found = self._engine.get_many(names.values())
        return {
            key: self._decode(name, Entry(found[name]))
            for key, name in names.items()
            if name in found
        }

    def set_many(self, mapping: Mapping[Any, Any], ttl: Ttl = None) -> int:
        """Store all values, or none, and return the LSN of the last."""
        puts = [self._put(key, value, ttl) for key, value in mapping.items()]
        return self._engine.apply(puts)

    def delete_many(self, keys: Iterable[Key]) -> int:
        """Remove all keys at once and return how many were present."""
        ops = {name: Delete(name) for name in map(key_bytes, keys)}
        for name in ops:
            check_key(name)
        with self._engine.exclusive():
            present = [op for op in ops.values() if self._engine.get_entry(op.key)]
            self._engine.apply(present)
        return len(present)

    def clear(self) -> None:
        """Remove every key."""
        self._engine.clear()

    def scan(
        self,
        prefix: Key | None = None,
        start: Key | None = None,
        stop: Key | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[bytes, Any]]:
        """Yield key and value of start <= key < stop in key order.

        Each value is current when it is yielded; keys written meanwhile may or may
        not be seen. An open iterator costs nothing.
        """
        low, high = arguments.key_range(prefix, start, stop)
        found = self._engine.scan(low, high, reverse=reverse)
        wanted = islice(found, arguments.limit(limit))
        return ((key, self._decode(key, entry)) for key, entry in wanted)

    def __getitem__(self, key: Key) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def __setitem__(self, key: Key, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: Key) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def __contains__(self, key: Key) -> bool:
        name = key_bytes(key)
        check_key(name)
        return self._engine.get_entry(name) is not None

    def __len__(self) -> int:
        return self._engine.count()

    def __iter__(self) -> Iterator[bytes]:
        for key, _ in self._engine.scan():
            yield key

    # All or nothing

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Cache]:
        """Make the writes of the block one batch: all of them, or on error none.

        Inside, this thread sees its own writes; others see them when the block has
        ended, and their writes wait until then. Blocks may be nested: an inner one that
        fails takes back only its own writes. An LSN inside the block is 0.

        Raises:
            TransactionError: sync, checkpoint, check or close inside the block.
        """
        with self._engine.exclusive():
            below = self._engine
            view = TransactionView(below)
            self._engine, self._find = view, view.fast_find()
            try:
                yield self
                self._engine, self._find = below, below.fast_find()
                view.commit()
            finally:
                self._engine, self._find = below, below.fast_find()
                view.end()

    def _put(self, key: Key, value: Any, ttl: Ttl) -> Put:
        return Put(key_bytes(key), self._encode(value), self._expires_at_ms(ttl))

    def _update(
        self, key: bytes, change: Callable[[Entry | None], KeyOp | None]
    ) -> bool:
        return self._engine.update(key, change) is not None

    def _decode(self, key: bytes, entry: Entry) -> Any:
        try:
            return self._decode_bytes(entry.value)
        except DeserializationError as error:
            error.add_note(f"key: {key!r}")
            raise

    def _expires_at_ms(self, ttl: Ttl) -> int:
        left_ms = self._default_ttl_ms if ttl is None else arguments.ttl_ms(ttl)
        if not left_ms:
            return 0
        if not self._is_swept:
            self._begin_to_sweep()
        if self._ttl_jitter:
            left_ms -= left_ms * self._ttl_jitter * random.random()  # noqa: S311
        return int(self._engine.now_ms() + left_ms)

    def _serve(self, engine: StorageEngine) -> None:
        """Keep at hand what each call needs of an engine."""
        self._engine = self._whole = engine  # a transaction takes the place of one
        codec = self._codec.in_ram() if engine.keeps_objects else self._codec
        self._encode, self._decode_bytes = codec.encode, codec.decode
        self._kept = codec.kept
        self._note_access, self._find = engine.access_hook(), engine.fast_find()
        if not self._is_swept and engine.may_expire:
            self._begin_to_sweep()

    def _begin_to_sweep(self) -> None:
        self._is_swept = True
        sweeper.watch(self._whole)

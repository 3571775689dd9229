"""Measure where the time of `Cache.set` and `Cache.get` goes, layer by layer.

Each layer is called by itself with what the one above passes to it, so that the
difference of two lines is what a layer adds. Below them is the floor: the calls of C
that no durable set can do without. Medians of interleaved rounds; only the shares mean
anything. The table of docs/performance.md is made by this.
"""

from __future__ import annotations

import gc
import random
import statistics
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any

import msgpack

from hypercache import Cache
from hypercache.checksum import crc32c

COUNT, ROUNDS = 20_000, 31
GIB = 1 << 30
Part = tuple[str, Callable[..., object], Sequence[tuple[Any, ...]]]


def entries() -> tuple[list[bytes], list[bytes]]:
    """Return keys of 16 bytes and values of 100, in random order."""
    rng = random.Random(1)
    pool = [b"v" + rng.randbytes(99) for _ in range(1000)]
    keys = [rng.randbytes(16) for _ in range(COUNT)]
    return keys, [bytes(memoryview(value)) for value in islice(cycle(pool), COUNT)]


def parts_of_set(cache: Any, keys: list[bytes], values: list[bytes]) -> list[Part]:
    """Return the layers of a set, and the calls of the floor."""
    engine = cache._engine
    log = engine._log
    pack = msgpack.Packer().pack
    head = struct.Struct("<IQQIBBH").pack
    pairs = list(zip(keys, values, strict=True))
    payloads = [pack((1, *pair)) for pair in pairs]
    rests = [head(len(each), 1, 0, 1, 1, 0, 5) + each for each in payloads]
    lock, table, window = threading.RLock(), dict[bytes, bytes](), bytearray(1 << 22)

    def with_lock() -> None:
        with lock:
            pass

    def copy(place: slice, frame: bytes) -> None:
        window[place] = frame

    places = [slice(at, at + len(rest)) for at, rest in enumerate(rests)]
    return [
        ("Cache.set", cache.set, pairs),
        ("HybridEngine.put", engine.put, pairs),
        ("LogWriter.append", log.append, [(each, 1) for each in payloads]),
        ("  one pack", pack, [((1, *pair),) for pair in pairs]),
        ("  one header", head, [(116, n, 0, 1, 1, 0, 5) for n in range(COUNT)]),
        ("  one CRC", crc32c, [(rest, 77) for rest in rests]),
        ("  one copy (and a call)", copy, list(zip(places, rests, strict=True))),
        ("  one lock (and a call)", with_lock, [()] * COUNT),
        ("  one dict store", table.__setitem__, pairs),
    ]


def parts_of_get(cache: Any, keys: list[bytes]) -> list[Part]:
    """Return the layers of a hit in RAM."""
    engine = cache._engine
    one = [(key,) for key in keys]
    slots = [(key, None) for key in keys]
    return [
        ("Cache.get", cache.get, one),
        ("HybridEngine.get", engine.get, one),
        ("  one dict look-up", dict(zip(keys, keys, strict=True)).get, slots),
    ]


def took_us(call: Callable[..., object], arguments: Sequence[tuple[Any, ...]]) -> float:
    """Return what one call takes, without the loop around it."""
    began = perf_counter()
    for _ in arguments:
        pass
    looped = perf_counter()
    for each in arguments:
        call(*each)
    return (perf_counter() - looped - (looped - began)) / len(arguments) * 1e6


def main() -> None:
    """Print both tables."""
    keys, values = entries()
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as name:
        room = {"checkpoint_bytes": GIB, "memory_bytes": GIB, "sync": "no"}
        cache = Cache(Path(name) / "store", serializer="bytes", **room)
        parts = parts_of_set(cache, keys, values) + parts_of_get(cache, keys)
        times: dict[str, list[float]] = {part[0]: [] for part in parts}
        gc.disable()
        for _ in range(ROUNDS):
            for label, call, arguments in parts:
                times[label].append(took_us(call, arguments))
        cache.close()
    for label, found in times.items():
        print(f"{label:26}{statistics.median(found):6.2f} us")


if __name__ == "__main__":
    main()

"""Approximate membership: which items were seen, in about a byte or two for each."""

from __future__ import annotations

import math
import threading

from hypercache import filter_format
from hypercache.arguments import absolute, integer, key_bytes
from hypercache.cuckoo import CODES, PLACE_COUNT, Table
from hypercache.errors import ConfigError, FilterFullError
from hypercache.filter_format import Saved
from hypercache.storage import OsStorage, Storage

__all__ = ["CuckooFilter"]

MAX_CAPACITY = 1 << 30
_MAX_SEED = (1 << 32) - 1
_LOAD = 0.95  # of the places, when all that a filter has capacity for is in it
_SPARE_BUCKETS = 4  # chance fills a small table unevenly


class CuckooFilter:
    """Remember items, str or bytes, and forget them again, approximately.

    What was added is found until it is removed, always. What was not is found with a
    probability of at most `fp_rate`. An item may be added more than once, up to eight
    times, and then is in until it was removed as often.

    A fingerprint takes one byte down to an fp_rate of 0.03, two down to 0.00012 and
    four down to 2e-9: 8.4, 17 or 34 bits for each item of the capacity, all of it from
    the start. Every operation is O(1) and may be called from any thread, but not from
    a signal handler.

    The hash is made of CRCs, the same in every process: who chooses keys can choose
    keys that collide, and thereby make false positives and a filter that is full early.

    After Fan et al., "Cuckoo Filter: Practically Better Than Bloom" (CoNEXT 2014).

    Args:
        capacity: how many items may be in it at a time, 1 to 2**30.
        fp_rate: above 0 and below 1; what a full filter keeps to.
        seed: 0 to 2**32 - 1; filters of different seeds have different false positives.

    Raises:
        ConfigError: an argument is out of its range.
        ArgumentTypeError: one is of the wrong type.
    """

    def __init__(self, capacity: int, fp_rate: float = 0.01, *, seed: int = 0) -> None:
        _check("capacity", capacity, 1, MAX_CAPACITY)
        _check("seed", seed, 0, _MAX_SEED)
        width = _width(fp_rate)
        bucket_count = math.ceil(capacity / (PLACE_COUNT * _LOAD)) + _SPARE_BUCKETS
        bucket_count += bucket_count % 2
        self._set(Saved(capacity, float(fp_rate), Table(bucket_count, width, seed)))

    def _set(self, saved: Saved) -> None:
        self._capacity, self._fp_rate, self._table = saved
        self._lock = threading.Lock()

    @property
    def capacity(self) -> int:
        """Return how many items may be in the filter at a time."""
        return self._capacity

    @property
    def fp_rate(self) -> float:
        """Return the configured upper limit of the false positive rate."""
        return self._fp_rate

    @property
    def load_factor(self) -> float:
        """Return the share of its places that are taken, 0 to 0.95."""
        return self._table.count / (PLACE_COUNT * self._table.bucket_count)

    @property
    def table_bytes(self) -> int:
        """Return the memory of the table."""
        table = self._table
        return PLACE_COUNT * table.bucket_count * table.width

    def __len__(self) -> int:
        """Return how many items are in the filter, each as often as it was added."""
        return self._table.count

    def contains(self, item: str | bytes) -> bool:
        """Tell whether an item is in; True for others with a probability of fp_rate.

        Raises:
            ArgumentTypeError: it is neither str nor bytes.
        """
        key = item if type(item) is bytes else key_bytes(item)
        table = self._table
        erased_count = table.erased_count
        if table.holds(key):
            return True
        if table.erased_count == erased_count:
            return False
        # It may have been moved behind our back, from where we looked last.
        with self._lock:
            return table.holds(key)

    __contains__ = contains

    def add(self, item: str | bytes) -> None:
        """Add an item, once more if it is in already.

        Raises:
            FilterFullError: no room; the filter is as it was.
            ArgumentTypeError: it is neither str nor bytes.
        """
        key = key_bytes(item)
        with self._lock:
            self._add(key)

    def add_if_absent(self, item: str | bytes) -> bool:
        """Add an item unless it seems to be in; tell whether it was added.

        So False says "seen before": wrongly with a probability of fp_rate, while True
        is never wrong. Of threads that add one item at a time one gets True.

        Raises:
            FilterFullError: no room; the filter is as it was.
            ArgumentTypeError: it is neither str nor bytes.
        """
        key = key_bytes(item)
        with self._lock:
            if self._table.holds(key):
                return False
            self._add(key)
            return True

    def remove(self, item: str | bytes) -> bool:
        """Remove an item once; tell whether there was something to remove.

        Remove only what was added, and not what `add_if_absent` refused. To remove
        another item may take away one with the same fingerprint, which then is not
        found although it was added: no cuckoo filter can tell them apart.

        Raises:
            ArgumentTypeError: it is neither str nor bytes.
        """
        key = key_bytes(item)
        with self._lock:
            return self._table.remove(key)

    def to_bytes(self) -> bytes:
        """Return the filter in the format of docs/filter_format.md, with a checksum."""
        with self._lock:
            saved = Saved(self._capacity, self._fp_rate, self._table)
            return filter_format.dump(saved)

    @classmethod
    def from_bytes(cls, data: bytes) -> CuckooFilter:
        """Return the filter of which `to_bytes` returned `data`.

        Raises:
            CorruptionError: the bytes are damaged, cut or something else.
            UnsupportedFormatError: another version of the format.
        """
        return cls._loaded(data, "the saved filter")

    def save(self, path: str, *, storage: Storage | None = None) -> None:
        """Write the filter to a file, in the place of what is there.

        On return it is on the medium; after a crash the file is the old or the new one.

        Raises:
            StorageError: the operating system refused.
        """
        (storage or OsStorage()).replace(absolute(path), self.to_bytes())

    @classmethod
    def load(cls, path: str, *, storage: Storage | None = None) -> CuckooFilter:
        """Return the filter that was saved in a file.

        Raises:
            CorruptionError, UnsupportedFormatError: as `from_bytes`.
            StorageError: there is no such file, or the operating system refused.
        """
        where = absolute(path)
        return cls._loaded((storage or OsStorage()).read(where), where)

    @classmethod
    def _loaded(cls, data: bytes, path: str) -> CuckooFilter:
        found = cls.__new__(cls)
        found._set(filter_format.load(bytes(data), path))
        return found

    def _add(self, key: bytes) -> None:
        if self._table.count < self._capacity and self._table.add(key):
            return
        raise FilterFullError(
            f"the filter has no room for {key!r:.60}: it holds {len(self)} of "
            f"{self._capacity} items, and one item up to {2 * PLACE_COUNT} times; "
            "remove items, or make a filter of a larger capacity and add all again"
        )


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= integer(value) <= high:
        raise ConfigError(f"{name}={value} must be {low} to {high}")


def _width(fp_rate: float) -> int:
    """Return the bytes that a fingerprint needs for a rate of false positives."""
    if isinstance(fp_rate, bool) or not isinstance(fp_rate, (int, float)):
        raise ConfigError(f"fp_rate={fp_rate!r} must be a number above 0 and below 1")
    if not 0 < fp_rate < 1:
        raise ConfigError(f"fp_rate={fp_rate!r} must be above 0 and below 1")
    compared = 2 * PLACE_COUNT * _LOAD  # fingerprints that a look-up meets
    for width in CODES:
        if compared / (256**width - 1) <= fp_rate:
            return width
    raise ConfigError(f"fp_rate={fp_rate!r} is too low: the lowest is 2e-9")

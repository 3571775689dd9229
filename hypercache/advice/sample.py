"""Record what is asked of a cache, of a part of its keys and for a part of the time.

Which keys is decided by their hashes, so that all references of a key are seen or none:
Waldspurger et al., "Efficient MRC construction with SHARDS", FAST 2015. A cache with
1/64 of the room, asked for 1/64 of the keys, has about the hit ratio of the whole. The
part is chosen for each window, so that a full cache has a thousand sampled keys.

A window is short, and before each one the cache rests, when recording costs nothing:
reads call what they would call without it. The first rest ends with some misses, or
with the first question; the window behind it ends when there are none any more.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import NamedTuple

from hypercache.advice.window import HASH_BITS, Totals, Window

SAMPLED_COUNT = 768  # at most so many keys of a full cache are sampled
LAST_WORD = 65_536  # a window ends behind so many
MARKS = 32  # in a window
RESTS = 31  # times as many reads as a window took, at most; see `_rest`
FIRST_REST = RESTS * LAST_WORD
FIRST_MISSES = 512  # end the first rest, too: then there is something to advise on
_LEAST_WORDS = LAST_WORD // 8  # of a window that hits alone have ended
_FEW = 100  # one miss in so many reads
_MOST_PARTS = 1 << 20

Note = Callable[[bytes], object]


class Source(NamedTuple):
    """What is asked of the cache; none of it may keep the cache alive.

    Attributes:
        totals: how much it was asked for by now.
        room_count: how many entries fit in, or if that is not known, are in.
        now_ms: the time by which entries expire.
        access: what the policy is told of a hit with.
        switch: takes what is to be called with the key of each hit from now on; it
            calls `access`.
    """

    totals: Callable[[], Totals]
    room_count: Callable[[], int]
    now_ms: Callable[[], float]
    access: Note
    switch: Callable[[Note], None]


class ReferenceSample:
    """Record windows of references; holds the one under way and the last whole one.

    Any thread may call anything. The memory is 1 MB at most.

    Attributes:
        recording: whether misses and writes are to be noted; without, it is wasted.
    """

    def __init__(self, source: Source, hash_of: Callable[[bytes], int] = hash) -> None:
        self._source, self._hash_of = source, hash_of
        self._lock = threading.Lock()
        self._last: Window | None = None
        self._rest_until = FIRST_REST  # reads
        self._begin_at_misses: float = FIRST_MISSES
        self._ends_with_hits = True
        self._window = Window(0, source.totals())
        self._next_mark = 0
        self.recording = False

    def tick(self, read_count: int, miss_count: int = 0) -> None:
        """Begin or end a window if it is time; to be called every some hundred reads.

        Hits are too many to look at each time. The counts are those of `Totals`; that
        of misses may be left out where there was a hit.
        """
        if self.recording:
            self._go_on(self._window)
            return
        is_time = read_count >= self._rest_until or miss_count >= self._begin_at_misses
        if is_time and self._lock.acquire(blocking=False):
            try:
                if not self.recording:
                    self._begin(self._source.totals())
            finally:
                self._lock.release()

    def missed(self, key: bytes) -> None:
        """Note a read in vain, while `recording`."""
        window, key_hash = self._window, self._hash_of(key)
        if not key_hash & window.mask:
            window.note_miss(key_hash)
            self._go_on(window)

    def stored(self, key: bytes, size_bytes: int, expires_at_ms: int = 0) -> None:
        """Note what was stored, while `recording`: what it takes, and until when."""
        window, key_hash = self._window, self._hash_of(key)
        if not key_hash & window.mask:
            if expires_at_ms:
                now_ms = self._source.now_ms()
                window.note_expiring(key_hash, size_bytes, expires_at_ms, now_ms)
            else:
                window.note_set(key_hash, size_bytes)
            self._go_on(window)

    def deleted(self, key: bytes) -> None:
        """Note that a caller deleted a key, while `recording`."""
        window, key_hash = self._window, self._hash_of(key)
        if not key_hash & window.mask:
            window.note_delete(key_hash)
            self._go_on(window)

    def window(self) -> Window:
        """Return the last window that tells enough, which may be the one under way.

        The first one begins now, if it has not yet.
        """
        with self._lock:
            is_enough = self.recording and len(self._window) >= LAST_WORD // 2
            if self._last is not None and not is_enough:
                return self._last
            self._ends_with_hits = False  # somebody waits for it
            totals = self._source.totals()
            if not self.recording:
                self._begin(totals)
            self._window.mark(totals)
            return self._window

    def _begin(self, totals: Totals) -> None:
        window = self._window = Window(_mask(self._source.room_count()), totals)
        self._next_mark = LAST_WORD // MARKS
        self._begin_at_misses = math.inf
        self.recording = True
        self._source.switch(self._recorder(window))

    def _recorder(self, window: Window) -> Note:
        access, hash_of = self._source.access, self._hash_of
        mask, note_hit = window.mask, window.note_hit

        def record(key: bytes) -> None:
            access(key)
            key_hash = hash_of(key)
            if not key_hash & mask:
                note_hit(key_hash & HASH_BITS)

        return record

    def _go_on(self, window: Window) -> None:
        if len(window) < self._next_mark or not self._lock.acquire(blocking=False):
            return
        try:
            if window is self._window and self.recording:
                self._mark(window)
        finally:
            self._lock.release()

    def _mark(self, window: Window) -> None:
        totals, before = self._source.totals(), window.marks[-1].totals
        window.mark(totals)
        self._next_mark = len(window) + LAST_WORD // MARKS
        misses, reads = totals.misses - before.misses, totals.reads - before.reads
        if len(window) >= LAST_WORD:
            self._rest_until = totals.reads + _rest(window)
            self._end(window)
        elif self._ends_with_hits and misses * _FEW < reads:
            self._end(window if len(window) >= _LEAST_WORDS else None)

    def _end(self, whole: Window | None) -> None:
        self._source.switch(self._source.access)
        self.recording, self._last = False, whole
        self._ends_with_hits = False


def _mask(room_count: int) -> int:
    """Return a mask that so many of the hashes have no bit of, a power of two."""
    parts = -(-room_count // SAMPLED_COUNT)
    return min(1 << max(0, parts - 1).bit_length(), _MOST_PARTS) - 1


def _rest(window: Window) -> int:
    """Return how many reads to rest for behind a whole window.

    A miss, with the write and the eviction that follow, takes as long as the recording
    of some fifty references. So the more misses there are, the less is gained by rests,
    and the more by fresh windows.
    """
    before, behind = window.marks[0].totals, window.marks[-1].totals
    reads, misses = behind.reads - before.reads, behind.misses - before.misses
    return int(min(RESTS, reads / max(1, misses) - 1) * reads)

"""S3-FIFO that learns how long a newcomer is to be watched, and which ghosts to trust.

Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023: a newcomer
enters a small queue, and moves to the main one if it is asked for again before it comes
out; the main queue gives its keys another round for each time they were asked for. A
ghost, a key evicted lately, goes to the main queue at once.

The paper's small queue holds a tenth. What is best is another share on each load: a
scan wants it short, bursts want it long. So each miss of a key that was evicted only
just now, which a slightly longer queue would have kept, moves the border between the
queues by one key: as ARC does (Megiddo and Modha, FAST 2003), but a vote fades with the
distance of the ghost from the border, because what counts is what a small move brings.

And a ghost enters the main queue only if it came back sooner than that queue turns
round: it could not be hit there otherwise, and in a loop longer than the cache each
ghost would push out a key that was. LIRS compares the same (Jiang and Zhang, 2002).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable

from hypercache.eviction.ghosts import Ghosts
from hypercache.eviction.moments import History, Turn
from hypercache.eviction.policy import EvictionPolicy
from hypercache.eviction.queues import Queues

SMALL, MAIN = 0, 1
MOST_ROUNDS = 3  # the paper's two bits a key
FIRST_SHARE, LEAST_SHARE, LARGEST_SHARE = 0.1, 0.005, 0.9
AT_BORDER = 0.05  # of all keys: ghosts of so many evictions have a full vote
REACH = 1.5  # ghosts are known for so many evictions, as a share of all keys
IN_TIME = 0.8  # of a turn of the main queue: a ghost that took longer is a newcomer
UNREAD = 1 << 14  # hits that wait to be counted; with more the oldest are forgotten


class S3Fifo(EvictionPolicy):
    """Evict what was not asked for again soon, nor often; adapts, scans do no harm."""

    def __init__(self) -> None:
        self._unread: deque[bytes] = deque(maxlen=UNREAD)
        self._empty()

    def access(self, key: bytes) -> None:
        """Note a hit; counting is left to whoever evicts."""
        self._unread.append(key)

    def fast_access(self) -> Callable[[bytes], None]:
        """Return what costs one call in C."""
        return self._unread.append

    def set(
        self, key: bytes, *, new: bool, size_bytes: int, expires_at_ms: int
    ) -> None:
        """Let a newcomer in, one that was evicted lately by the main entrance."""
        del size_bytes, expires_at_ms
        if not new:
            self._unread.append(key)
            return
        ghost = self._ghosts.take(key)
        if ghost is None:
            self._queues.append(SMALL, key)
            return
        self._vote(*ghost)
        if self._is_in_time(*ghost):
            self._enter_main(key)
        else:
            self._queues.append(SMALL, key)

    def delete(self, key: bytes) -> None:
        """Take a key out of its queue; it leaves no ghost."""
        self._queues.discard(key)
        self._rounds.pop(key, None)

    def candidate(self) -> bytes | None:
        """Return the key to evict next; it leaves a ghost."""
        self._count_hits()
        queues, rounds = self._queues, self._rounds
        room = len(queues)
        if not self._evicts:
            self._divide(room)
        small_room = max(1.0, self._share * room)
        while True:
            source = SMALL
            if queues.length(SMALL) < small_room and queues.length(MAIN):
                source = MAIN
            key = queues.pop(source)
            if key is None:
                if not len(queues):
                    return None
            elif key not in rounds:
                self._mourn(key, source, room)
                return key
            else:
                self._go_on(key, source)

    def clear(self) -> None:
        """Forget every key, and what was learned."""
        self._unread.clear()
        self._empty()

    def __len__(self) -> int:
        return len(self._queues)

    def overhead_bytes(self) -> int:
        """Return the memory of queues, counters and ghosts."""
        # The keys of hits are the readers' own; and a dict that is made anew is there
        # twice.
        key_count = len(self._rounds) + len(self._unread)
        hits = key_count * self._key_bytes + 2 * sys.getsizeof(self._rounds)
        # With what the ghosts take once there are any: the first eviction is too late
        # to make room for them.
        ghosts = self._ghosts.overhead_bytes(int(REACH * len(self._queues)))
        own = self._queues.overhead_bytes() + ghosts
        return own + hits + sys.getsizeof(self._unread)

    def _empty(self) -> None:
        self._queues, self._ghosts = Queues(2), Ghosts()
        self._rounds: dict[bytes, int] = {}
        self._share = FIRST_SHARE
        self._evicts = False
        self._key_bytes = 0  # of one of the last hits, for all
        self._turn = Turn()
        self._history = History()

    def _count_hits(self) -> None:
        unread, rounds = self._unread, self._rounds
        if unread:
            self._key_bytes = sys.getsizeof(unread[0])
        for _ in range(len(unread)):
            key = unread.popleft()
            count = rounds.get(key, 0)
            if count < MOST_ROUNDS:
                rounds[key] = count + 1
        if len(rounds) > len(self._queues):
            rounds.clear()  # hits that were counted behind a delete have piled up

    def _divide(self, room: int) -> None:
        """Before the first eviction everything is new: let the older part stay."""
        self._evicts = True
        while self._queues.length(SMALL) > self._share * room:
            key = self._queues.pop(SMALL)
            if key is not None:
                self._enter_main(key)

    def _go_on(self, key: bytes, source: int) -> None:
        left = self._rounds.pop(key)
        if source == MAIN and left > 1:
            self._rounds[key] = left - 1
        self._enter_main(key)

    def _enter_main(self, key: bytes) -> None:
        self._turn.note(self._ghosts.count, len(self._queues))
        self._queues.append(MAIN, key)

    def _mourn(self, key: bytes, source: int, room: int) -> None:
        self._ghosts.reach = int(REACH * room) + 1
        self._ghosts.add(key, source)
        self._history.note(self._ghosts.count, source, room)

    def _is_in_time(self, source: int, age: int) -> bool:
        watched = self._queues.length(SMALL) if source == SMALL else 0
        main_count = self._queues.length(MAIN)
        return age + watched <= IN_TIME * self._turn.age(self._ghosts.count, main_count)

    def _vote(self, source: int, age: int) -> None:
        room = max(1, len(self._queues))
        depth = self._history.depth(self._ghosts.count, source, age)
        step = min(1.0, (AT_BORDER * room / depth) ** 2) / room
        if source == SMALL:
            self._share = min(LARGEST_SHARE, self._share + step)
        else:
            self._share = max(LEAST_SHARE, self._share - step)

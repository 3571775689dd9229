"""Run the maintenance of an engine: by itself, when asked, and at close.

What is to be done is the subclass's: fold the log into LMDB, or compact it. It is a
sequence of steps. With a helper process a thread of its own waits for all of them.
Without one, each write that comes by does one step, so that none waits for long.

Back-pressure: when maintenance is due again while the last one is still running, the
writer that finds that waits for its end, because a log that outruns its maintenance
would fill the disk.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TypeAlias

from hypercache.engines import helper
from hypercache.errors import HyperCacheError, ReentrantCallError
from hypercache.group_commit import CommitState
from hypercache.options import Maintenance
from hypercache.storage import Clock

_log = logging.getLogger(__name__)
# A block in which the engine is not written to, not even by a signal handler.
Alone: TypeAlias = Callable[[], AbstractContextManager[None]]


class Upkeep(ABC):
    """Own when maintenance runs, and what it costs writers.

    `turn` keeps maintenance, check, backup and close apart; it is taken before the
    engine's lock. `due` is the one attribute that a writer tests.
    """

    name = "maintenance"

    def __init__(
        self, state: CommitState, clock: Clock, maintenance: Maintenance
    ) -> None:
        self._state, self._clock = state, clock
        self.in_process = maintenance is not Maintenance.INLINE and helper.can_start()
        self._lock = threading.Lock()
        self._holder: int | None = None  # the thread whose turn it is
        self._starting = threading.Lock()
        self._starter: int | None = None  # the thread that holds `_starting`
        self._background: threading.Thread | None = None
        self._pending: Generator[int, None, None] | None = None
        self.running = False
        # Called before a writer waits for the end of the work.
        self.on_wait: Callable[[], None] = lambda: None
        self.due = False
        self.count = 0
        self._waited_s = 0.0
        self.error: str | None = None

    @property
    def mode(self) -> str:
        """Return where the work is done: "process" or "inline"."""
        where = Maintenance.PROCESS if self.in_process else Maintenance.INLINE
        return where.value

    @property
    def wait_ms(self) -> int:
        """Return how long writers have waited for the work."""
        return round(self._waited_s * 1000)

    @property
    def activity(self) -> str:
        """Return what goes on: "running" or "idle"."""
        return "running" if self.running else "idle"

    @abstractmethod
    def is_due(self) -> bool:
        """Tell whether the log has grown so much that maintenance must begin."""

    @abstractmethod
    def steps(self, in_process: bool) -> Iterator[int]:
        """Do the work, and stop after each part of it that may take some time.

        Closed before its end, or failing, it leaves everything as if not begun.
        """

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Keep others out, and wait for those that are in.

        Raises:
            ReentrantCallError: this thread is in already, and would wait for itself.
        """
        me = threading.get_ident()
        if self._holder == me:
            raise ReentrantCallError(
                f"a {self.name}, check or close is under way in this thread; let the "
                "signal handler leave a note, and call when it has ended"
            )
        self._state.refuse_inside(me)
        with self._lock:
            self._holder = me
            try:
                yield
            finally:
                self._holder = None

    def look(self) -> None:
        """Note whether something is due; called when the log has grown."""
        self.due = self._pending is not None or self.is_due()

    def run_if_due(self) -> None:
        """See to the maintenance that the log's length asks for.

        An error is logged and kept in `error`, because the write that came across it
        is acknowledged already and must not fail.
        """
        me = threading.get_ident()
        if me in (self._starter, self._holder):
            return  # a signal handler writes while this thread is in here already
        began = self._clock.monotonic()
        with self._starting:
            self._starter = me
            try:
                self._join_background()
                if self.due and not self._state.closed:
                    self._begin()
                self._waited_s += self._clock.monotonic() - began
            finally:
                self._starter = None

    def run(self, *, in_process: bool = False) -> None:
        """Do all of the work now, for everything appended before the call.

        Called in a `turn`.

        Raises:
            StorageFailedError: the log has failed, so nothing more is written.
        """
        self._state.raise_if_failed()
        self.finish_pending()
        self._finish(self._guarded(self.steps(in_process)))

    def finish_pending(self) -> None:
        """Do what is left of the work that was begun; called in a `turn`."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self._finish(pending)

    def abandon_pending(self) -> bool:
        """Stop the work that was begun, and tell whether there was any.

        Called in a `turn`; what it has written so far is the caller's to remove.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.close()
        return pending is not None

    def forked(self) -> None:
        """Forget locks and threads of the parent; a child maintains nothing."""
        self.due, self._background, self._pending = False, None, None
        self._lock, self._starting = threading.Lock(), threading.Lock()
        self._holder = None

    def _join_background(self) -> None:
        if self._background is not None:
            if self._background.is_alive():
                self.on_wait()
            self._background.join()
            self._background = None
            self.look()  # it may have done what was due

    def _begin(self) -> None:
        if self.in_process and self._start_thread():
            self.due = False
            return
        with self.turn():
            if self._state.closed:
                return
            overdue = self._pending is not None and self.is_due()
            if self._quietly(self.finish_pending if overdue else self._step):
                self.look()
            else:
                self.due = False  # the next try is at the next seal, not at each write

    def _step(self) -> None:
        if self._pending is None:
            self._pending = self._guarded(self.steps(in_process=False))
        if next(self._pending, None) is None:
            self._pending = None

    def _start_thread(self) -> bool:
        thread = threading.Thread(
            target=self._run_in_background, name=f"hypercache-{self.name}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            _log.warning("no thread for a %s: %s", self.name, error)
            return False
        self._background = thread
        return True

    def _run_in_background(self) -> None:
        with self.turn():
            if not self._state.closed:
                self._quietly(partial(self.run, in_process=True))

    def _quietly(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except ReentrantCallError:
            # A signal handler came by where its thread writes: the next write does it.
            self._pending = self.error = None
        except HyperCacheError as error:
            self._pending = None
            _log.warning("a %s failed, the log keeps growing: %s", self.name, error)
            return False
        return True

    def _guarded(self, steps: Iterator[int]) -> Generator[int, None, None]:
        self.running = True
        try:
            yield from steps
        except BaseException as error:
            self.error = str(error)
            raise
        finally:
            self.running = False
        self.error = None

    @staticmethod
    def _finish(steps: Iterator[int]) -> None:
        for _ in steps:
            pass

"""Runs trials in forked processes, so that one that dies takes nothing with it.

Three processes make one worker. An *opener* runs one trial after the other; where it
dies, the *keeper* notes the trial and forks the next opener. The walk through the
pages of LMDB, for which the library starts an interpreter, is done here by a *walker*,
forked from a process that never had an environment open, with the code of the library;
it lives until a page kills it, too.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import select
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import damage_sweep_trials as trials
from damage_sweep_trials import Trial

from hypercache.engines import helper, lmdb_walk
from hypercache.engines.helper import Outcome
from hypercache.errors import HyperCacheError

LIMIT_S = 20.0
_TRIALS_PER_OPENER = 2_000  # what LMDB has made of its memory by then is forgotten
_LENGTH = struct.Struct("<I")
Result = tuple[int, str, str]  # number of the trial, verdict, what was said


class Pipe:
    """Messages between two processes of which either may die."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def send(self, message: object) -> None:
        """Send anything that can be pickled."""
        data = pickle.dumps(message)
        os.write(self._writer, _LENGTH.pack(len(data)) + data)

    def receive(self, limit_s: float | None = None) -> object:
        """Return the next message.

        Raises:
            EOFError: the other side is gone.
            TimeoutError: it says nothing.
        """
        if not select.select([self._reader], [], [], limit_s)[0]:
            raise TimeoutError
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        return pickle.loads(self._read(length))  # noqa: S301 - from our own child

    def only_read(self) -> Pipe:
        """Close the end that writes."""
        os.close(self._writer)
        return self

    def only_write(self) -> Pipe:
        """Close the end that reads."""
        os.close(self._reader)
        return self

    def close_reading(self) -> None:
        """Close what `only_read` has left."""
        os.close(self._reader)

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            piece = os.read(self._reader, length - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data


def forked(work: Callable[[], None]) -> int:
    """Run `work` in a child; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - a child must never come back from here
        traceback.print_exc()
    finally:
        os._exit(code)


class Walkers:
    """A process that forks walkers; made before anything opens an environment."""

    def __init__(self) -> None:
        self._asked, self._told = Pipe(), Pipe()
        self.pid = forked(self._serve)

    def maybe_run(self, module: str, *arguments: str, **options: object) -> Outcome:
        """Stand in for `helper.maybe_run`."""
        del options
        assert module == lmdb_walk.__name__, module
        self._asked.send(arguments)
        outcome = self._told.receive()
        assert isinstance(outcome, Outcome)
        return outcome

    def close(self) -> None:
        """End it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def _serve(self) -> None:
        os.close(self._told._reader)
        helper.end_with_parent = lambda: None
        walker: tuple[int, Pipe, Pipe] | None = None
        while True:
            arguments = self._asked.receive()
            walker = walker or _start_walker()
            pid, asked, told = walker
            try:
                asked.send(arguments)
                self._told.send(told.receive(LIMIT_S))
            except (EOFError, BrokenPipeError, TimeoutError) as error:
                if isinstance(error, TimeoutError):
                    os.kill(pid, signal.SIGKILL)
                _, status = os.waitpid(pid, 0)
                walker = None
                self._told.send(
                    Outcome(
                        b"",
                        "",
                        max(0, os.waitstatus_to_exitcode(status)),
                        os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
                    )
                )


def _start_walker() -> tuple[int, Pipe, Pipe]:
    asked, told = Pipe(), Pipe()

    def work() -> None:
        asked.only_read()
        told.only_write()
        with contextlib.suppress(EOFError):  # nobody asks any more
            while True:
                told.send(_walked(asked.receive()))  # type: ignore[arg-type]

    pid = forked(work)
    return pid, asked.only_write(), told.only_read()


def _walked(arguments: Sequence[str]) -> Outcome:
    """Do what `python -m hypercache.engines.lmdb_walk` does."""
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            code = lmdb_walk.main(*arguments)
    except HyperCacheError as error:
        return Outcome(b"", str(error), 1, 0)
    except Exception as error:  # noqa: BLE001 - its last line is what is told
        return Outcome(b"", f"{type(error).__name__}: {error}", 1, 0)
    return Outcome(output.getvalue().encode(), "", code, 0)


def results(work: Sequence[Trial], place: Path) -> Iterator[Result]:
    """Run trials in this process's children; yield what came of each."""
    walkers = Walkers()
    helper.maybe_run = walkers.maybe_run
    try:
        done = 0
        while done < len(work):
            for result in _some_results(work, done, place):
                yield result
                done += 1
    finally:
        walkers.close()


def _some_results(work: Sequence[Trial], first: int, place: Path) -> Iterator[Result]:
    told = Pipe()
    last = min(len(work), first + _TRIALS_PER_OPENER)

    def run() -> None:
        told.only_write()
        sys.stderr = io.StringIO()  # what the library logs
        for number in range(first, last):
            told.send((number, *trials.run(work[number], place)))

    pid = forked(run)
    told.only_read()
    number = first
    try:
        while number < last:
            result: Result = told.receive(LIMIT_S * 3)  # type: ignore[assignment]
            yield result
            number += 1
        os.waitpid(pid, 0)
    except EOFError:
        _, status = os.waitpid(pid, 0)
        name = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "exit"
        yield number, trials.KILLED, name
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        yield number, trials.HUNG, ""
    finally:
        told.close_reading()

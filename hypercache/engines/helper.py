"""Run a module of this package in a process of its own, and end it with its parent.

For work that would hold up the GIL, and for work that a damaged page could kill. The
helper's standard input is a pipe: it closes when the parent dies, however it dies, and
then the helper ends at once. What the parent may write to it is orders, one a line.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.25
ResultT = TypeVar("ResultT")
# Where this package was imported from, so that the helper finds the same one.
_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))


class Outcome(NamedTuple):
    """How a helper ended; `signal` is the one that killed it, 0 if none did."""

    output: bytes
    complaint: str
    exit_code: int
    signal: int

    @property
    def result(self) -> bytes:
        """Return the last line of the output; others may have printed before."""
        return self.output.strip().rpartition(b"\n")[2]

    @property
    def met_a_bad_page(self) -> bool:
        """Tell whether reading memory killed it, and not somebody else."""
        return self.signal in (signal.SIGBUS, signal.SIGSEGV)

    @property
    def ok(self) -> bool:
        """Tell whether it ended as it should."""
        return self.exit_code == 0 and self.signal == 0


def can_start() -> bool:
    """Tell whether there is an interpreter to run a helper with."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def maybe_run(
    module: str, *arguments: str, inherit: tuple[int, ...] = ()
) -> Outcome | None:
    """Run `python -m module arguments` to its end; None where no process can start.

    It shares the descriptors in `inherit`.
    """
    process = maybe_start(module, *arguments, inherit=inherit, stderr=subprocess.PIPE)
    return None if process is None else outcome_of(process)


def outcome_of(process: subprocess.Popen[bytes], order: bytes = b"") -> Outcome:
    """Give an order to a helper with pipes, and wait for its end."""
    # communicate() would close the pipe that tells the helper that we live. Whatever
    # ends this block closes it, which ends the helper, before the process is awaited.
    lifeline, process.stdin = process.stdin, None
    assert lifeline is not None
    with process, lifeline:
        with contextlib.suppress(BrokenPipeError):  # how it ended tells more
            os.write(lifeline.fileno(), order)
        output, complaint = process.communicate()
    code = process.returncode
    last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
    return Outcome(output, last, max(code, 0), max(-code, 0))


def end(process: subprocess.Popen[bytes]) -> None:
    """End a helper that is not needed any more, and let go of its pipes."""
    process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    process.wait()


def maybe_start(
    module: str,
    *arguments: str,
    inherit: tuple[int, ...] = (),
    stderr: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes] | None:
    """Start `python -m module arguments`; None where no process can start.

    Its standard output is a pipe to read from; closing its standard input ends it.
    """
    if not can_start():
        return None
    # -P: a file of the current directory must not pass for a module of the library.
    command = [sys.executable, "-P", "-m", module, *arguments]
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": _search_path()},
            pass_fds=inherit,
            start_new_session=True,  # Ctrl-C is for the program, not for its helper
        )
    except OSError as error:
        _log.warning("no helper process can be started: %s", error)
        return None


def log_failure(what: str, done: Outcome) -> None:
    """Log that a helper failed; the work is done in another way."""
    _log.warning(
        "the helper of a %s failed (exit %d, signal %d): %s",
        what,
        done.exit_code,
        done.signal,
        done.complaint,
    )


def result_of(
    steps: Generator[int, None, ResultT], tell: Callable[[int], object] = int
) -> ResultT:
    """Run steps to their end, tell what each yields, return what they return."""
    while True:
        try:
            tell(next(steps))
        except StopIteration as end:
            result: ResultT = end.value
            return result


def end_with_parent() -> SimpleQueue[bytes]:
    """End this process as soon as the parent is gone; return what gets its orders.

    Called by the helper.
    """
    orders: SimpleQueue[bytes] = SimpleQueue()
    arguments = os.getppid(), orders
    threading.Thread(target=_wait_for_end, args=arguments, daemon=True).start()
    return orders


def _wait_for_end(parent: int, orders: SimpleQueue[bytes]) -> None:
    # The pipe stays open where the parent has forked a child that lives on: so its pid
    # is looked at, too. Not sys.stdin, whose lock a thread must not hold at the end.
    heard = b""
    while True:
        if select.select([0], [], [], _LOOK_EVERY_S)[0]:
            piece = os.read(0, select.PIPE_BUF)
            if not piece:
                break
            *lines, heard = (heard + piece).split(b"\n")
            for line in lines:
                orders.put(line)
        elif os.getppid() != parent:
            break
    os._exit(1)


def _search_path() -> str:
    paths = [_PACKAGE_ROOT, os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(path for path in paths if path)

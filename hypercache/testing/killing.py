"""Kill a real process with a real cache in it, and tell what it had said."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

Note = Callable[[Any], None]


def run_killed(
    work: Callable[[Note], object], after_notes: int | None = None
) -> list[Any]:
    """Run `work` in a forked process, kill it with SIGKILL, and return its notes.

    `work` is called with a function that notes what the program has told others. It is
    killed once it has taken `after_notes` notes, wherever it has got to meanwhile, or
    else when it has returned; no `finally` of it and no exit handler runs then.

    Raises:
        RuntimeError: `work` raised (its traceback is in the message), or the process
            died by itself.
    """
    heard, said = Pipe(duplex=False)
    pid = _fork()
    if pid == 0:
        heard.close()
        _work_until_killed(work, said)
    said.close()
    notes: list[Any] = []
    try:
        while after_notes is None or len(notes) < after_notes:
            kind, fact = _heard(heard)
            if kind == "failed":
                raise RuntimeError(f"the work to be killed failed:\n{fact}")
            if kind == "done":
                break
            notes.append(fact)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return notes + _rest(heard)


def _heard(heard: Connection) -> tuple[str, Any]:
    try:
        kind, fact = heard.recv()
    except EOFError as error:
        raise RuntimeError("the process to be killed has died by itself") from error
    return kind, fact


def _fork() -> int:
    with warnings.catch_warnings():
        # Since 3.12 a fork beside threads warns: this child runs one function and dies.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _work_until_killed(work: Callable[[Note], object], said: Connection) -> None:
    try:
        work(lambda fact: said.send(("note", fact)))
        said.send(("done", None))
    except BaseException:  # noqa: BLE001 - told to the parent, which raises
        said.send(("failed", traceback.format_exc()))
    finally:
        signal.pause()  # for the signal that ends it


def _rest(heard: Connection) -> list[Any]:
    """Return what was said between the last note that was read and the kill."""
    notes = []
    with heard:
        try:
            while True:
                kind, fact = heard.recv()
                if kind == "note":
                    notes.append(fact)
        except (EOFError, OSError):
            return notes

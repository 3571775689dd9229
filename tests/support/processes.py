"""Run a piece of Python in a process of its own, or in a forked child."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def start_python(code: str, *arguments: object, **options: Any) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    options.setdefault("env", environment())
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run_python(code: str, *arguments: object, **options: Any) -> str:
    """Return what the code prints; fail with its traceback when it fails."""
    with start_python(code, *arguments, **options) as child:
        try:
            out, err = child.communicate(timeout=TIMEOUT_S)
        except BaseException:
            child.kill()
            raise
    assert child.returncode == 0, f"exit {child.returncode}\n{out}\n{err}"
    return out


def turns_for(seconds: float) -> Iterator[int]:
    """Count up until the time is over, whatever the speed of the machine."""
    end = time.monotonic() + seconds
    for turn in itertools.count():
        if turn and time.monotonic() > end:
            return
        yield turn


def in_fork(action: Callable[[], object]) -> Any:
    """Return, by way of JSON, what `action` returns in a forked child."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Forking beside threads is what is to be tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            answer = {"result": action()}
        except BaseException:  # noqa: BLE001  (the parent shows it)
            answer = {"error": traceback.format_exc()}
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with status {status}"
    answer = json.loads(told)
    assert "error" not in answer, answer.get("error")
    return answer["result"]


class Threads:
    """Start threads, and raise in the test what one of them raised.

    `stopping` is set when the block ends or a thread fails: loops watch it.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def start(self, target: Callable[..., object], *arguments: object) -> None:
        def run() -> None:
            try:
                target(*arguments)
            except BaseException as error:  # noqa: BLE001  (raised by `join`)
                self._errors.append(error)
                self.stopping.set()

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(TIMEOUT_S)
        if self._errors:
            raise self._errors[0]
        assert not any(thread.is_alive() for thread in self._threads), "a thread hangs"
        self._threads.clear()

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.stopping.set()
        if error is None:
            self.join()
        else:
            for thread in self._threads:
                thread.join(5)

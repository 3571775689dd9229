"""Run a piece of Python in a process of its own, or in a forked child."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypercache.testing.threads import Threads, turns_for

__all__ = [
    "Threads",
    "environment",
    "in_fork",
    "run_python",
    "start_python",
    "turns_for",
]

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

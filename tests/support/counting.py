"""Count the work of a call instead of timing it: the same on a busy machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.processes import environment

_TOTALS = re.compile(r"^totals: (\d+)$", re.MULTILINE)


def calls_of(function: Callable[[], object]) -> list[str]:
    """Return the names of all that is called, in order, calls of C in brackets."""
    found: list[str] = []

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            found.append(frame.f_code.co_qualname)
        elif event == "c_call":
            found.append(f"[{argument.__name__}]")

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return found[1:-1]  # without the function itself, and setprofile


def bytecodes_of(function: Callable[[], object]) -> int:
    """Return how many bytecodes are executed, in all that is called."""
    count = 0

    def trace(frame: Any, event: str, _argument: Any) -> Any:
        nonlocal count
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def instructions_of(script: Path, directory: Path) -> list[int]:
    """Return what valgrind counts between two calls of `os.getppid` in a script."""
    command = ["valgrind", "--tool=callgrind", "--dump-before=getppid"]
    command += [f"--callgrind-out-file={directory}/counts"]
    done = subprocess.run(
        [*command, sys.executable, str(script), str(directory)],
        capture_output=True,
        text=True,
        check=False,
        # Another hash, another order in dicts: the counts of one key move by some.
        env={**environment(), "PYTHONHASHSEED": "0"},
        cwd=os.curdir,
    )
    assert done.returncode == 0, done.stderr
    parts = sorted(directory.glob("counts.*"), key=lambda path: int(path.suffix[1:]))
    totals = [int(_TOTALS.findall(part.read_text())[0]) for part in parts]
    return totals[1:]  # without what came before the first call

"""Run a Python program under strace, which sees its calls and can make them fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import TIMEOUT_S, environment

STRACE = shutil.which("strace")
needs_strace = pytest.mark.skipif(STRACE is None, reason="no strace")


def trace(
    out: Path, options: tuple[object, ...], *arguments: object, **changes: Any
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments; what strace has to say goes into a file."""
    command = [STRACE, "-f", "-o", out, *options, sys.executable, *arguments]
    return subprocess.run(
        list(map(str, command)),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        **changes,
    )


def skip_unless_traceable(folder: Path) -> None:
    """Skip a test where this process may trace no other."""
    if trace(folder / "probe", (), "-c", "").returncode != 0:
        pytest.skip("this process may trace no other")

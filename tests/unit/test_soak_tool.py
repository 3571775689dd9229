"""The soak runs, at a size that says nothing about speed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import environment

TOOLS = Path(__file__).parents[2] / "tools"


def output_of(tool: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, TOOLS / tool, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("engine", ["memory", "hybrid"])
def test_the_soak_finds_small_stores_whole_and_within_bounds(engine):
    text = output_of(
        "soak_overwrite.py", "--keys", "200", "--sets", "50000", "--engines", engine
    )
    assert "whole: True" in text
    assert "disk at most" in text

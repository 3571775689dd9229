"""The resident memory of a process stays by its limit, whatever lies in the cache."""

import json
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

LIMIT_MIB = 12
# Of the fifteen that `make memory` measures, and longer.
CASES = [
    ("memory", "tiny"),
    ("memory", "mixed"),
    ("memory with a log", "small"),
    ("hybrid", "small"),
    ("hybrid", "large"),
    ("hybrid", "mixed"),
]
ALLOWED = 1.15


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize(("engine", "mix"), CASES)
def test_memory_grows_by_no_more_than_what_was_allowed(engine, mix):
    tool = ROOT / "tools" / "resident_memory.py"
    command = [sys.executable, tool, engine, "--mix", mix, "--mib", str(LIMIT_MIB)]
    command += ["--times", "1.5", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (row,) = json.loads(done.stdout)
    assert row["ratio"] <= ALLOWED, row

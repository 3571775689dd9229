"""The resident memory of a process stays by its limit, whatever lies in the cache."""

import json
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

# Of the fifteen that `make memory` measures, and longer.
CASES = [
    ("memory", "tiny", 12),
    ("memory", "mixed", 20),
    ("memory with a log", "small", 12),
    ("hybrid", "small", 20),
    ("hybrid", "large", 20),
    ("hybrid", "mixed", 20),
]
ALLOWED = 1.15


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize(("engine", "mix", "mib"), CASES)
def test_memory_grows_by_no_more_than_what_was_allowed(engine, mix, mib):
    tool = ROOT / "tools" / "resident_memory.py"
    command = [sys.executable, tool, engine, "--mix", mix, "--mib", str(mib)]
    command += ["--times", "1.5", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (row,) = json.loads(done.stdout)
    assert row["ratio"] <= ALLOWED, row

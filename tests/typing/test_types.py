"""mypy --strict and pyright understand the public names, and refuse their misuse."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, environment

HERE = Path(__file__).parent
ACCEPTED, REFUSED = HERE / "accepted.py", HERE / "refused.py"
WRONG = {
    number
    for number, line in enumerate(REFUSED.read_text().splitlines(), 1)
    if line.endswith("# refused")
}
PYRIGHT = shutil.which("pyright", path=str(Path(sys.executable).parent))
ERROR = re.compile(r"(\w+)\.py:(\d+)(?::\d+)?(?: -|:) error: (.*)")


def errors(*command):
    """Return the lines with errors in each of the two files."""
    done = subprocess.run(
        [*command, ACCEPTED, REFUSED],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    found = {"accepted": {}, "refused": {}}
    for name, line, message in ERROR.findall(done.stdout):
        found[name][int(line)] = message
    assert any(found.values()), done.stdout + done.stderr
    return found


def check(found):
    assert found["accepted"] == {}
    assert found["refused"].keys() == WRONG


def test_mypy_understands_the_public_names():
    cache = f"--cache-dir={ROOT / 'build' / 'mypy-of-tests'}"
    check(errors(sys.executable, "-m", "mypy", "--strict", cache))


@pytest.mark.skipif(PYRIGHT is None, reason="pyright is not installed")
def test_pyright_understands_the_public_names():
    check(errors(PYRIGHT, "--pythonpath", sys.executable))

"""A sample of `make damage`: no damaged byte, no lost file makes a wrong answer.

The tool runs in a process of its own, which forks for every trial that may die.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from damage_sweep_stores import ENGINES, build

from tests.support.processes import ROOT, TIMEOUT_S, environment, run_python
from tests.support.seeds import tell

TOOL = str(ROOT / "tools" / "damage_sweep.py")
# Every so manieth trial, for about four seconds of one core each.
EVERY = {"memory": 251, "hybrid": 1801, "persistent": 1601}


def sweep(*arguments: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, TOOL, *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * TIMEOUT_S,
    )
    tell(done.stdout)
    tell(done.stderr[-2000:])
    return done


@pytest.mark.parametrize("engine", ENGINES)
def test_no_damage_makes_a_wrong_answer_or_kills_who_asked_for_verification(
    engine: str,
) -> None:
    done = sweep("--engine", engine, "--every", EVERY[engine], "--workers", 1)
    assert done.returncode == 0
    assert "violations: 0" in done.stdout
    assert "killed: 0" in done.stdout
    found = re.search(r"^(\d+) trials in", done.stdout, re.MULTILINE)
    assert found
    assert int(found[1]) > 250


def test_the_sweep_itself_notices_a_key_that_nobody_finds_any_more(
    tmp_path: Path,
) -> None:
    # In a file that is too long for a checksum, known by size and time alone.
    data = build("hybrid", "closed", tmp_path).files["lmdb/data.mdb"]
    places = [match.start() for match in re.finditer(b"key-11", data)]
    words = ["hybrid-closed", "default-large", "lmdb/data.mdb"]
    # Some of these places are on pages that are free by now.
    said = (sweep("--replay", *words, f"flip@{place + 5}") for place in places)
    assert any(": silent " in done.stdout and done.returncode == 1 for done in said)


def test_the_sweep_itself_notices_who_died(tmp_path: Path) -> None:
    code = """
        import os, pathlib, sys
        sys.path.insert(0, sys.argv[1])
        import damage_sweep_trials as trials, damage_sweep_workers as workers
        trials.run = lambda dies, place: os.abort() if dies else ("same", "")
        for result in workers.results([0, 1, 0, 1], pathlib.Path(sys.argv[2])):
            print(*result)
    """
    lines = run_python(code, ROOT / "tools", tmp_path).splitlines()
    assert [line.split()[1] for line in lines] == ["same", "killed", "same", "killed"]

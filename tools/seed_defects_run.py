"""Runs the tests on a copy of the project that has one defect.

A defect counts as killed when a test fails that passes without it, or when the tests do
not come to an end. One that keeps a module from being imported is none.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seed_defects_source import Defect

PACKAGE = "hypercache"
COPIED = ("hypercache", "tests", "tools", "docs", "fuzz")
KILLED, HUNG, SURVIVED, BROKEN = "killed", "hung", "survived", "broken"
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+(?: \S+)*?\]?)(?: - .*)?$", re.MULTILINE)
_NO_TESTS = 5
_MOST_BY_CHANCE = 3
_TEST_LIMIT_S = 120  # of one test, far above what any takes
_FIRST_LIMIT_S = 240.0  # of the tests that are asked first
_OPTIONS = (
    # Loaded before the defect is: it would be a part of the run.
    *("-p", "no:hypercache"),
    # It imports all of Hypothesis, for a second, whether a test wants it or not.
    *("-p", "no:hypothesispytest"),
    *("-x", "-q", "--tb=no", "-rfE", "--no-header", "-p", "no:cacheprovider"),
    *("-o", f"timeout={_TEST_LIMIT_S}"),
    # It holds the plan against the code, and so finds any defect, or none of them.
    "--ignore=tests/unit/test_seed_defects.py",
)
_FIRST_MTIME = 1_000_000_000  # of patched files: no two alike, or old bytecode would do


@dataclass(frozen=True)
class Result:
    """What became of a defect; `test` is the one that killed it."""

    status: str
    test: str = ""
    seconds: float = 0.0


@dataclass
class Known:
    """Which tests pass without a defect, and which do not and are left out."""

    sound: set[str] = field(default_factory=set)
    unsound: list[str] = field(default_factory=list)


class Workshop:
    """A copy of the project in a directory of its own, for one defect at a time."""

    def __init__(self, root: Path, place: Path, limit_s: float, known: Known) -> None:
        self.place, self._limit_s, self._known = place, limit_s, known
        self._writes = 0
        for name in COPIED:
            if (root / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
                shutil.copytree(root / name, place / name, ignore=ignored)
        for file in root.iterdir():
            if file.suffix in (".toml", ".md") or file.name in ("Makefile", "LICENSE"):
                shutil.copy(file, place / file.name)

    def try_out(self, defect: Defect, stages: Sequence[Sequence[str]]) -> Result:
        """Run the stages, lists of test files, until something fails."""
        began = time.monotonic()
        file = self.place / PACKAGE / defect.path
        whole = file.read_text(encoding="utf-8")
        while True:
            try:
                self._write(file, defect.applied_to(whole))
                status, test = self._stages(defect, stages)
            finally:
                self._write(file, whole)
            if status != KILLED or self._passes(test):
                break  # else it is left out from now on
        return Result(status, test, round(time.monotonic() - began, 1))

    def _stages(
        self, defect: Defect, stages: Sequence[Sequence[str]]
    ) -> tuple[str, str]:
        if not self._is_imported(defect):
            return BROKEN, ""
        for number, tests in enumerate(stages):
            limit_s = self._limit_s if number else min(self._limit_s, _FIRST_LIMIT_S)
            left_out = [f"--deselect={test}" for test in self._known.unsound]
            status, test = self._until_sure(defect, [*tests, *left_out], limit_s)
            if status != SURVIVED:
                return status, test
        return SURVIVED, ""

    def _until_sure(
        self, defect: Defect, tests: Sequence[str], limit_s: float
    ) -> tuple[str, str]:
        """Run tests; a failure that does not come again is chance, and passed over."""
        by_chance: list[str] = []
        while len(by_chance) < _MOST_BY_CHANCE:
            code, output = self._pytest(*tests, *by_chance, limit_s=limit_s)
            if code is None:
                return HUNG, ""
            if code in (0, _NO_TESTS):
                break
            found = _FAILED.search(output)
            if found is None:
                raise RuntimeError(f"{defect.id}: pytest ended with {code}\n{output}")
            if self._pytest(found[1])[0] != 0:
                return KILLED, found[1]
            by_chance.append(f"--deselect={found[1]}")
        return SURVIVED, ""

    def _is_imported(self, defect: Defect) -> bool:
        module = f"{PACKAGE}.{defect.path.removesuffix('.py').replace('/', '.')}"
        return self._run("-c", f"import {PACKAGE}, {module}")[0] == 0

    def _passes(self, test: str) -> bool:
        """Tell whether a test passes in the copy without a defect."""
        if test in self._known.sound:
            return True
        if self._pytest(test)[0] == 0:
            self._known.sound.add(test)
            return True
        self._known.unsound.append(test)
        return False

    def _pytest(
        self, *tests: str, limit_s: float = _FIRST_LIMIT_S
    ) -> tuple[int | None, str]:
        options = (*_OPTIONS, f"--basetemp={self.place / 'tmp'}")
        try:
            return self._run("-m", "pytest", *options, *tests, limit_s=limit_s)
        finally:
            shutil.rmtree(self.place / "tmp", ignore_errors=True)
            shutil.rmtree(self.place / ".hypothesis", ignore_errors=True)

    def _run(
        self, *arguments: str, limit_s: float = _FIRST_LIMIT_S
    ) -> tuple[int | None, str]:
        """Return exit code and output, None for one that had to be stopped."""
        environment = {**os.environ, "PYTHONPATH": str(self.place), "COLUMNS": "500"}
        with subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                return None, ""
            finally:
                # What the tests have started is in this session and ends with it.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, output

    def _write(self, file: Path, text: str) -> None:
        file.write_text(text, encoding="utf-8")
        self._writes += 1
        moment = _FIRST_MTIME + self._writes
        os.utime(file, (moment, moment))

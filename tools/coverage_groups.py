"""Prints how much of the code is run by the tests, for each group that must be covered.

With `--run`, as `make coverage` has it, the tests are run first, and all processes that
they start are measured. A group below the required share of lines or branches is an
error.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from coverage import Coverage

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "hypercache"
LEAST_LINES = 0.95
LEAST_BRANCHES = 0.90

# What these look at is what coverage changes: the modules that a process has imported.
SEE_COVERAGE = (
    "tests/unit/test_exports.py::test_importing_the_package_imports_nothing_heavy",
    "tests/unit/test_codec.py::test_pickle_is_never_imported",
    "tests/unit/test_codec.py::test_slow_modules_are_imported_when_needed",
)

# Group -> patterns of paths inside the package; a module may be in several.
GROUPS = {
    "log": (
        "frame.py",
        "segment.py",
        "log_*.py",
        "wal/*.py",
        "aof/*.py",
        "metafile.py",
        "group_commit.py",
        "durability.py",
    ),
    "recovery": (
        "engines/opening.py",
        "engines/identity.py",
        "log_reader.py",
        "recovery.py",
        "recovery/*.py",
    ),
    "checkpoint": (
        "engines/checkpointer.py",
        "engines/fold_helper.py",
        "engines/next_fold.py",
        "engines/upkeep.py",
        "wal/checkpoint.py",
        "wal/fold.py",
        "net_ops.py",
    ),
    "compaction": (
        "engines/compactor.py",
        "engines/compact_helper.py",
        "engines/offline.py",
        "aof/compact.py",
    ),
    "tools": ("inspection/*.py", "cli/*.py", "recovery.py", "recovery/*.py"),
}


@dataclass(frozen=True)
class Share:
    """How much of some code was run."""

    lines: int = 0
    lines_run: int = 0
    branches: int = 0
    branches_run: int = 0

    def __add__(self, other: Share) -> Share:
        return Share(
            self.lines + other.lines,
            self.lines_run + other.lines_run,
            self.branches + other.branches,
            self.branches_run + other.branches_run,
        )

    @property
    def of_lines(self) -> float:
        """Return the share of lines, 1 where there are none."""
        return self.lines_run / self.lines if self.lines else 1.0

    @property
    def of_branches(self) -> float:
        """Return the share of branches, 1 where there are none."""
        return self.branches_run / self.branches if self.branches else 1.0

    @property
    def is_enough(self) -> bool:
        """Tell whether both reach what is required."""
        return self.of_lines >= LEAST_LINES and self.of_branches >= LEAST_BRANCHES


def in_group(path: str, group: str) -> bool:
    """Tell whether a module, by its path inside the package, is in a group."""
    return any(fnmatchcase(path, pattern) for pattern in GROUPS[group])


def shares(files: dict[str, Any]) -> dict[str, Share]:
    """Return the share of each module of the package, by its path inside it.

    `files` is what a JSON report of coverage has under that name.
    """
    found = {}
    for name, facts in files.items():
        parts = Path(name).parts
        if PACKAGE in parts:
            path = "/".join(parts[parts.index(PACKAGE) + 1 :])
            numbers = facts["summary"]
            found[path] = Share(
                numbers["num_statements"],
                numbers["covered_lines"],
                numbers["num_branches"],
                numbers["covered_branches"],
            )
    return found


def report(found: dict[str, Share]) -> tuple[list[str], bool]:
    """Return the lines to print, and whether all groups are covered.

    A group without modules is not: then the patterns no longer fit the package.
    """
    lines, enough = [], True
    for group in GROUPS:
        members = {
            path: share for path, share in found.items() if in_group(path, group)
        }
        whole = _sum(members.values())
        passes = whole.is_enough and bool(members)
        enough = enough and passes
        lines.append(_line(group, whole) + ("" if passes else "  too little"))
        lines += [_line(f"  {path}", members[path]) for path in sorted(members)]
    lines.append(_line("all of the package", _sum(found.values())))
    return lines, enough


def _sum(parts: Iterable[Share]) -> Share:
    return sum(parts, Share())


def _line(name: str, share: Share) -> str:
    return f"{name:40} lines {share.of_lines:6.1%}  branches {share.of_branches:6.1%}"


def _run_tests() -> int:
    measured = Coverage(config_file=str(ROOT / "pyproject.toml"))
    (ROOT / "build").mkdir(exist_ok=True)
    measured.erase()
    left_out = [f"--deselect={test}" for test in SEE_COVERAGE]
    tests = ["pytest", "-q", "-n", "2", *left_out]
    command = [sys.executable, "-m", "coverage", "run", "-m", *tests]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def _combined() -> dict[str, Any]:
    """Return the facts of all files, from the data of all processes."""
    measured = Coverage(config_file=str(ROOT / "pyproject.toml"))
    # A process that was killed may leave half a file: it is told, and left out.
    measured.combine()
    measured.save()
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "report.json"
        measured.json_report(outfile=str(out))
        files: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))["files"]
    return files


def main(arguments: list[str] | None = None) -> int:
    """Print the report and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="run the tests first")
    parser.add_argument("--missing", action="store_true", help="name what is not run")
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    if options.run and (code := _run_tests()):
        return code
    files = _combined()
    lines, enough = report(shares(files))
    print("\n".join(lines))
    if options.missing:
        for name, facts in files.items():
            branches = [f"{start}->{end}" for start, end in facts["missing_branches"]]
            missing = [*map(str, facts["missing_lines"]), *branches]
            if missing:
                print(f"{name}: {', '.join(missing)}")
    required = f"{LEAST_LINES:.0%} of lines and {LEAST_BRANCHES:.0%} of branches"
    print(f"required of each group: {required}")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())

"""Run all targets, or the ones named, for so many seconds each: `make fuzz`.

Prints a line for each: executions, new coverage, findings. A finding is kept in
fuzz/findings with the command that replays it, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz import TARGETS

HERE = Path(__file__).parent
CORPUS, FINDINGS = HERE / "corpus", HERE / "findings"
NO_ATHERIS = """atheris cannot be imported by {python}.
It has wheels for CPython 3.11 to 3.14 on Linux (x86-64): with one of these,
PYTHON=python3.12 make fuzz. The tests run all targets without it, on their seeds."""
_LIMITS = (
    "-timeout=10",
    "-rss_limit_mb=512",
    "-malloc_limit_mb=128",
    "-max_len=4096",
    "-print_final_stats=1",
)


def main() -> int:
    """Fuzz, report, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("target", nargs="*", help=", ".join(TARGETS))
    arguments = parser.parse_args()
    for target in arguments.target:
        if target not in TARGETS:
            parser.error(f"no target {target}: there are {', '.join(TARGETS)}")
    if not _has_atheris():
        print(NO_ATHERIS.format(python=sys.executable), file=sys.stderr)
        return 4
    targets = arguments.target or TARGETS
    return max(fuzz(target, arguments.seconds) for target in targets)


def fuzz(target: str, seconds: int) -> int:
    """Run one target and print its line; return 1 if it found something."""
    findings = FINDINGS / target
    findings.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    with tempfile.TemporaryDirectory() as grown:
        command = [sys.executable, "-m", "fuzz.run", target, *_LIMITS]
        command += [f"-max_total_time={seconds}", f"-artifact_prefix={findings}/"]
        command += [grown, str(CORPUS / target)]
        ended = subprocess.run(
            command, cwd=HERE.parent, capture_output=True, text=True, check=False
        )
    log = ended.stdout + ended.stderr
    # A slow unit is told by libFuzzer, but below the limit it is none.
    new = [
        file
        for file in sorted(set(findings.iterdir()) - before)
        if not file.name.startswith("slow-unit-")
    ]
    print(f"{target:14} {_counts(log)}, {len(new)} findings", flush=True)
    for file in new:
        _tell(target, file, log)
    if ended.returncode and not new:
        print(log[-2000:])
        print(f"{target} ended with {ended.returncode}, and with no input to blame")
    return 1 if new or ended.returncode else 0


def _has_atheris() -> bool:
    try:
        return importlib.util.find_spec("atheris") is not None
    except ValueError:  # a test has put None in its place
        return False


def _counts(log: str) -> str:
    executions = re.search(r"number_of_executed_units: (\d+)", log)
    covered = [int(found) for found in re.findall(r"cov: (\d+)", log)]
    first = re.search(r"INITED cov: (\d+)", log)
    new = covered[-1] - int(first[1]) if covered and first else 0
    count = executions[1] if executions else "?"
    whole = covered[-1] if covered else 0
    return f"{count:>9} executions, {new:4} new of {whole:5} covered"


def _tell(target: str, file: Path, log: str) -> None:
    found = re.search(r"=== Uncaught Python exception: ===\n(.*?)\n\n", log, re.DOTALL)
    what = found[1] if found else "\n".join(log.splitlines()[-15:])
    print(what)
    shown = file.relative_to(HERE.parent)
    print(f"replay: {sys.executable} -m fuzz.run {target} {shown}")


if __name__ == "__main__":
    sys.exit(main())

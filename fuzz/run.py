"""Run one target under atheris: `python -m fuzz.run NAME [FILE] [libFuzzer options]`.

With a file, run only that input: what replays a finding.
"""

from __future__ import annotations

import importlib
import resource
import sys
from pathlib import Path

import atheris

# What a target may take beyond what it has when it begins: a header that announces a
# gigabyte gets a MemoryError, which no target allows.
_MEMORY_BYTES = 640 << 20
# It tries each byte of a metafile: with its coverage counted, little else would run.
_SEARCHES = ["hypercache.recovery.metafiles"]


def main() -> None:
    """Import the target with its coverage counted, and fuzz it."""
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["hypercache"], exclude=_SEARCHES):
        target = importlib.import_module(f"fuzz.{name}")
    _bound_memory()
    atheris.Setup(sys.argv, target.check)
    atheris.Fuzz()


def _bound_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()

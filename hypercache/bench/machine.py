"""The machine and the versions that figures were taken on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import hypercache
from hypercache.bench.subjects import SUBJECTS

CPU_INFO = Path("/proc/cpuinfo")


def facts(directory: Path) -> dict[str, Any]:
    """Return what a reader must know to repeat the run."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "hypercache": hypercache.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "file_system": _file_system(directory),
        "versions": _versions(),
    }


def _processor() -> str:
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor() or platform.machine()


def _memory_gib() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return round(total / (1 << 30))


def _file_system(directory: Path) -> str:
    command = ["stat", "-f", "-c", "%T", str(directory)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _versions() -> dict[str, str]:
    found = {}
    for subject in SUBJECTS:
        if subject.missing() is None and (version := subject.version()):
            found[subject.module] = version
        if subject.command and not subject.missing():
            found[subject.command] = _command_version(subject.command)
    return found


def _command_version(command: str) -> str:
    done = subprocess.run(
        [command, "--version"], check=False, capture_output=True, text=True
    )
    words = done.stdout.split()
    return next((word[2:] for word in words if word.startswith("v=")), "unknown")

"""Directories that refuse: read-only ones, and small ones that fill up."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted(path: Path, options: str) -> Iterator[Path]:
    """Mount a tmpfs; skip the test where that is not allowed."""
    path.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextlib.contextmanager
def read_only_directory(path: Path, source: Path | None = None) -> Iterator[Path]:
    """Make a directory in which nothing can be written, with a copy of `source`."""
    if os.geteuid() != 0:
        shutil.copytree(source, path) if source else path.mkdir()
        below = [path, *path.rglob("*")]
        for item in below:
            item.chmod(0o500 if item.is_dir() else 0o400)
        try:
            yield path
        finally:
            for item in below:
                item.chmod(0o700 if item.is_dir() else 0o600)
        return
    # Permissions do not stop root; a file system that is read-only does.
    with mounted(path, "size=16m"):
        if source:
            shutil.copytree(source, path, dirs_exist_ok=True)
        remount = ["mount", "-o", "remount,ro", str(path)]
        subprocess.run(remount, check=True, capture_output=True)
        yield path

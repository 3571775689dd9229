"""Run commands, in this process or in one of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import hypercache
from hypercache.cli import main

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(hypercache.__file__).parents[1])}

HOLDER = """
import sys, hypercache
cache = hypercache.Cache(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run a command here; an exception that is not an exit fails the test."""

    def invoke(*arguments: object, stdin: bytes | None = None) -> Result:
        words = [
            os.fsdecode(part) if isinstance(part, bytes) else str(part)
            for part in arguments
        ]
        return CliRunner().invoke(main, words, input=stdin, catch_exceptions=False)

    return invoke


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[bytes]]:
    """Start a command in a process of its own."""

    def popen(*arguments: object, stdin: int | None = None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "hypercache", *map(str, arguments)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )

    return popen


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Make a store that was closed cleanly."""
    path = tmp_path / "store"
    with hypercache.Cache(path) as cache:
        cache.set("apple", "green")
        cache.set("bread", {"grain": ["rye", None], "slices": 12})
        cache.set(b"\xff", b"\xfe")
    return path


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes | None]]:
    """Return everything below a directory: files with their bytes."""

    def read(root: Path) -> dict[str, bytes | None]:
        return {
            str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
            for path in sorted(root.rglob("*"))
        }

    return read


@pytest.fixture
def held_open() -> Callable[[Path], object]:
    """Hold a store open in another process; gives that process."""

    @contextmanager
    def hold(path: Path) -> Iterator[subprocess.Popen[bytes]]:
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            yield process
            process.communicate()

    return hold

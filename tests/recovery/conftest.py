"""Stores that are built once; a test that damages one puts the byte back, or copies."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recovery.stores import Built, build, build_lmdb, described
from tests.support.memory_disk import place


@pytest.fixture(scope="session")
def built_in() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=place()) as directory:
        yield Path(directory)


@pytest.fixture(params=["memory-closed", "memory-killed", "hybrid-killed"])
def thousand(request: pytest.FixtureRequest, built_in: Path) -> Built:
    """Return a store with a log of 1,000 records."""
    engine, end = request.param.split("-")
    path = built_in / request.param
    if path.exists():
        return described(path, engine)
    return build(path, engine, 1000, killed=end == "killed")


@pytest.fixture(params=["memory", "hybrid", "persistent"])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def lmdb_store(built_in: Path) -> Path:
    """Return a store of a few hundred entries in LMDB."""
    path = built_in / "lmdb-300"
    if not path.exists():
        build_lmdb(path, 300)
    return path


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no helper process: they take most of the time of a small recovery."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)


@pytest.fixture
def without_helpers() -> None:
    """Let helper processes start: a damaged page kills who looks at it."""

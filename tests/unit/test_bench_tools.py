"""The benchmarks run, at a size that says nothing about speed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import environment

TOOLS = Path(__file__).parents[2] / "tools"


def output_of(tool: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, TOOLS / tool, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("engine", ["memory", "hybrid"])
def test_the_soak_finds_small_stores_whole_and_within_bounds(engine):
    text = output_of(
        "soak_overwrite.py", "--keys", "200", "--sets", "50000", "--engines", engine
    )
    assert "whole: True" in text
    assert "disk at most" in text


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server")
def test_redis_and_the_memory_engine_load_the_same_keys():
    text = output_of("bench_open.py", "--keys", "3000", "--rounds", "1")
    assert "increments:" in text
    assert "base:" in text


def test_asyncio_writers_and_a_thread_write_to_every_engine(tmp_path):
    sizes = ["--writes", "20", "--rounds", "1", "--writers", "8"]
    text = output_of("bench_async.py", *sizes, "--directory", str(tmp_path))
    assert [line.split()[0] for line in text.splitlines()[2:]] == [
        "hybrid",
        "memory",
        "persistent",
    ]

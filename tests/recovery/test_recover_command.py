"""hypercache-recover: exit codes, verdicts, JSON, the bar, and an end by Ctrl-C."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pty
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hypercache import Cache
from hypercache.cli import recover
from hypercache.recovery.findings import Kind, Loss, Need, Verdict
from tests.recovery.stores import build, flipped
from tests.support.files import unchanged
from tests.support.processes import ROOT, environment

Run = Callable[..., Result]
FIELDS = {
    *("directory", "engine", "verdict", "loss", "lsn", "entry_count"),
    *("findings", "next", "output"),
}
FINDING_FIELDS = {
    *("kind", "file", "reason", "offset", "length_bytes", "first_lsn", "last_lsn"),
    *("keys", "loss", "need", "quarantine"),
}


@pytest.fixture
def run(in_this_process: None) -> Run:
    def invoke(*words: object) -> Result:
        runner = CliRunner()
        return runner.invoke(recover.main, [*map(str, words)], catch_exceptions=False)

    return invoke


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return build(tmp_path / "clean", "memory", 30, killed=False).path


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    built = build(tmp_path / "damaged", "memory", 30, killed=False)
    data = bytearray(built.log.read_bytes())
    data[built.records[9].end - 1] ^= 1
    built.log.write_bytes(data)
    return built.path


def test_a_clean_store_exits_with_0(run: Run, clean: Path):
    result = run(clean)
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        ["verdict: clean; ends at LSN 30", "next: open it: nothing is needed"],
    )
    assert run(clean, "--output", clean.parent / "out").exit_code == 0


@pytest.mark.parametrize("name", ["clean", "./clean/", "../{}/clean"])
def test_a_store_may_be_named_from_where_one_stands(
    run: Run, clean: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.chdir(clean.parent)
    name = name.format(clean.parent.name)
    result = run(name)
    assert result.exit_code == 0, result.output
    assert run(name, "--output", "out").exit_code == 0
    options = {"engine": "memory", "serializer": "bytes"}
    with Cache("out", **options) as found, Cache(clean, **options) as original:
        assert dict(found.scan()) == dict(original.scan())


def test_a_torn_tail_exits_with_1_and_an_open_is_enough(run: Run, tmp_path: Path):
    built = build(tmp_path / "torn", "memory", 30, killed=True)
    with flipped(built.log, built.records[-1].end - 1), unchanged(built.path):
        result = run(built.path)
        assert result.exit_code == 1
        assert "torn tail: the checksum does not match" in result.stdout
        assert result.stdout.splitlines()[-1] == (
            "next: open it: the next open for writing puts it right"
        )
        output = tmp_path / "out"
        assert run(built.path, "--output", output).exit_code == 1


def test_damage_exits_with_3_and_names_the_next_command(run: Run, damaged: Path):
    with unchanged(damaged):
        result = run(damaged)
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert ", LSN 10: the checksum does not match" in lines[0]
    assert lines[0].endswith("; lost")
    assert lines[1].startswith("    possible: key key")
    assert lines[-2] == "verdict: damaged, something is lost; ends at LSN 30"
    command = f"hypercache-recover {damaged} --output {damaged}.recovered"
    assert lines[-1] == f"next: {command}"
    result = run(*command.split()[1:])
    assert result.exit_code == 3
    assert f"{damaged}.recovered: " in result.stdout
    with Cache(f"{damaged}.recovered", engine="memory", serializer="bytes") as cache:
        assert cache.check().ok


def test_damage_that_costs_nothing_exits_with_1(run: Run, clean: Path):
    with flipped(clean / "STORE", 20):
        result = run(clean)
        assert result.exit_code == 1
        assert "nothing is lost" in result.stdout
        assert run(clean, "--output", clean.parent / "out").exit_code == 1


@pytest.mark.parametrize("words", [[], ["--output", ""], ["--bad"]])
def test_wrong_usage_exits_with_2(run: Run, clean: Path, words: list[str]):
    before = sorted(clean.parent.rglob("*"))
    assert run(*([clean, *words] if words else words)).exit_code == 2
    assert sorted(clean.parent.rglob("*")) == before


def test_what_is_no_store_exits_with_2(run: Run, tmp_path: Path, clean: Path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    for name in ("absent", "file", "empty"):
        result = run(tmp_path / name)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("hypercache: ")
    for output in (clean, clean / "inside", clean.parent, tmp_path / "file"):
        assert run(clean, "--output", output).exit_code == 2


def test_an_open_store_exits_with_4(run: Run, tmp_path: Path):
    with Cache(tmp_path / "open", engine="memory"):
        result = run(tmp_path / "open")
    assert result.exit_code == 4
    assert "close it there" in result.stderr


def test_a_later_format_exits_with_4(run: Run, clean: Path):
    from hypercache import metafile
    from hypercache.storage import OsStorage

    path = str(clean / "STORE")
    fields = metafile.maybe_read(OsStorage(), path)
    metafile.write(OsStorage(), path, {**fields, "format": 9})
    assert run(clean).exit_code == 4


def test_json_has_the_fields_of_the_documentation(run: Run, damaged: Path):
    output = damaged.parent / "out"
    for words in ([], ["--output", output]):
        result = run(damaged, "--json", *words)
        report = json.loads(result.stdout)
        assert set(report) == FIELDS
        assert report["verdict"] in set(Verdict)
        assert report["directory"] == str(damaged)
        for finding in report["findings"]:
            assert set(finding) == FINDING_FIELDS
            assert finding["kind"] in set(Kind)
            assert finding["need"] in set(Need)
            assert finding["loss"] in set(Loss)
        found = report["findings"][0]
        assert (found["first_lsn"], found["last_lsn"]) == (10, 10)
        assert found["keys"][0]["lsn"] == 10
    kept = json.loads((output / "quarantine" / "report.json").read_text())
    assert kept == {name: report[name] for name in kept}
    assert set(kept) == FIELDS - {"directory", "next", "output"}
    text = Path(ROOT, "docs", "recovery.md").read_text()
    for word in (*FIELDS, *FINDING_FIELDS, *Kind):
        assert f"`{word}`" in text, word


def test_it_is_installed_as_a_command():
    project = tomllib.loads(Path(ROOT, "pyproject.toml").read_text())["project"]
    target = project["scripts"]["hypercache-recover"]
    point = importlib.metadata.EntryPoint("it", target, "console_scripts")
    assert point.load() is recover.main


COMMAND = [
    sys.executable,
    "-c",
    "from hypercache.cli.recover import main; main()",
]


def read_all(fd: int) -> bytes:
    found = b""
    while True:
        try:
            piece = os.read(fd, 1 << 16)
        except OSError:  # Linux: the other end of a terminal is closed
            return found
        if not piece:
            return found
        found += piece


def test_a_terminal_sees_a_bar_and_nothing_else_does(damaged: Path):
    leader, follower = pty.openpty()
    command = [*COMMAND, str(damaged)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=follower, env=environment()
    ) as child:
        os.close(follower)
        seen = read_all(leader)
        assert child.stdout is not None
        assert child.stdout.read().count(b"verdict: ") == 1
    os.close(leader)
    assert b"examining" in seen
    assert b"100%" in seen
    quiet = subprocess.run(
        command, capture_output=True, env=environment(), check=False, timeout=60
    )
    assert (quiet.returncode, quiet.stderr) == (3, b"")


def test_ctrl_c_leaves_nothing(tmp_path: Path, damaged: Path):
    code = """
import os, signal, sys
from hypercache.cli.recover import main
from hypercache.recovery import output
def interrupt(*_):
    os.kill(os.getpid(), signal.SIGINT)
output.verify = interrupt
# A shell ignores it for what it runs in the background, and that is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, damaged, "--output", tmp_path / "out"],
        capture_output=True,
        env=environment(),
        check=False,
        timeout=60,
    )
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr == b""
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]

"""The demo kills, compares and measures, and would notice a loss."""

import json

import pytest

import hypercache
from hypercache.cli import demo_modules, demo_process
from hypercache.cli.demo_process import Job, WorkerError


def test_the_demo_loses_nothing_and_keeps_the_directory(run, tmp_path):
    path = tmp_path / "kept"
    result = run("demo", path, "--seed", 7, "--modules", 30, "--kills", 2, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert answer["ok"]
    assert (answer["seed"], answer["modules"], answer["lost"]) == (7, 30, [])
    first, second = (each["acknowledged"] for each in answer["kills"])
    assert 0 < first < second < 30
    with hypercache.Cache(path) as cache:
        assert len(cache) == 30
        assert cache.check().ok


def test_the_demo_prints_a_table_and_leaves_no_directory(run, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = run("demo", "--seed", 8, "--modules", 20, "--kills", 1)
    assert (result.exit_code, result.stderr) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in result.stdout.splitlines() if line)
    assert rows["kills"] == "1 of 1, by SIGKILL; seed 8"
    assert (rows["lost"], rows["differing"], rows["check"]) == ("0", "0", "clean")
    assert list(tmp_path.iterdir()) == []


def test_the_demo_refuses_a_directory_with_anything_in_it(run, tmp_path, contents):
    (tmp_path / "letter.txt").write_bytes(b"Dear reader\n")
    before = contents(tmp_path)
    result = run("demo", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is not empty" in result.stderr
    assert contents(tmp_path) == before


def test_the_demo_refuses_more_kills_than_there_is_work(run):
    result = run("demo", "--modules", 20, "--kills", 2)
    assert result.exit_code == 2
    assert "2 kills need at least 30 modules" in result.stderr


def test_a_lost_and_a_wrong_entry_are_noticed(tmp_path):
    expected = {name: {"functions": number} for number, name in enumerate("abc")}
    with hypercache.Cache(tmp_path / "store") as cache:
        cache.set("a", expected["a"])
        cache.set("b", {"functions": 99})
        cache.set("c", {"functions": 98})
    found = demo_process.compare(str(tmp_path / "store"), {"a", "b", "x"}, expected)
    assert (found.acknowledged, found.recovered, found.unreported) == (3, 1, 1)
    assert (found.lost, found.differing) == (("x",), ("b", "c"))


def test_the_demo_exits_with_3_when_an_entry_is_lost(run, tmp_path, monkeypatch):
    compare = demo_process.compare

    def forgetful(store, acknowledged, expected):
        with hypercache.Cache(store) as cache:
            cache.delete(min(acknowledged))
        return compare(store, acknowledged, expected)

    monkeypatch.setattr(demo_process, "compare", forgetful)
    result = run("demo", "--modules", 10, "--kills", 0)
    assert result.exit_code == 3
    assert "lost           1\n" in result.stdout
    assert "NOT EQUAL" in result.stdout


def test_a_worker_that_is_faster_than_the_kill_counts_as_no_kill(tmp_path):
    job = Job(str(tmp_path / "store"), seed=1, count=2)
    keys, killed = demo_process.fill_and_kill(job, 3, 0, lambda: None)
    assert (len(keys), killed) == (2, False)


def test_a_worker_that_fails_is_no_success(tmp_path, capfd):
    (tmp_path / "letter.txt").write_bytes(b"Dear reader\n")
    job = Job(str(tmp_path), seed=1, count=1)
    with pytest.raises(WorkerError, match="ended with 1"):
        demo_process.fill(job, lambda: None)
    assert "is not a HyperCache store" in capfd.readouterr().err


def test_a_seed_repeats_the_choice_of_modules():
    assert demo_modules.choose(5, 30) == demo_modules.choose(5, 30)
    assert demo_modules.choose(5, 30) != demo_modules.choose(6, 30)


@pytest.mark.parametrize(
    ("source", "error"),
    [(b"def (:\n", "SyntaxError"), (b"\xff", "SyntaxError"), (b"\0", None)],
)
def test_a_module_that_does_not_parse_is_recorded_as_such(source, error):
    summary = demo_modules.summarize(source)
    assert summary["error"] in ("SyntaxError", error or "ValueError")


def test_a_summary_counts_what_is_in_a_module():
    source = b"""
import os, json.tool
from . import x
class A:
    def f(self): return 1 if x and os or self else 2
async def g():
    for _ in '\\d': pass
"""
    assert demo_modules.summarize(source) == {
        "functions": 2,
        "classes": 1,
        "imports": [".", "json.tool", "os"],
        "cyclomatic": 5,
    }

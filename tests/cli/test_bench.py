"""hypercache bench measures, keeps, reports again, and refuses what cannot work."""

import json
import sys

import pytest

from hypercache.bench import plan, results, running
from hypercache.bench.results import Results, Sample
from tests.support.benches import TINY


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(plan, "QUICK", TINY)
    monkeypatch.setattr(plan, "FULL", TINY)


@pytest.fixture
def kept(tmp_path):
    """A file of figures in which the hybrid engine is four times as fast."""
    samples = [
        Sample(measure, "us", subject, value, number)
        for measure in ("set, 100 B", "get, 100 B", "uniform inserts, p50")
        for subject, value in (("hybrid", 1.0), ("rocksdict", 4.0))
        for number in range(3)
    ]
    samples += [
        Sample(f"{what} {size:,}", "us", "hybrid", 2.0)
        for size in (10, 1000)
        for what in ("get among", "set into")
    ]
    path = tmp_path / "kept.json"
    Results({"plan": "full", "versions": {}}, {}, [], samples).save(path)
    return path


def test_the_works_of_the_command_are_those_there_are():
    command = sys.modules["hypercache.cli.bench"]
    assert list(running.WORKS) == command.WORKS


def test_it_measures_and_prints_ratios_before_figures(run, tmp_path):
    done = run("bench", "--quick", "--only", "import", "--directory", tmp_path)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    first = lines.index("The sizes of this run are not those that the targets are for.")
    assert lines.index("import (ms)") > first
    assert any(line.startswith("python") for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_it_reports_again_on_what_was_kept(run, kept):
    done = run("bench", "--from", kept)
    assert done.exit_code == 0
    (row,) = [
        line
        for line in done.stdout.splitlines()
        if "get, hot: hybrid" in line and "rocksdict" in line
    ]
    assert row.split()[4:6] == ["4", "x"]
    assert row.endswith("aim reached")


def test_what_it_keeps_and_draws_is_in_the_output(run, tmp_path, kept):
    pytest.importorskip("matplotlib")
    output = tmp_path / "new" / "folder"
    assert run("bench", "--from", kept, "--output", output).exit_code == 0
    names = {path.name for path in output.iterdir()}
    plots = ("beside", "single", "latency", "growth")
    assert names == {f"full-{name}.{kind}" for name in plots for kind in ("png", "svg")}
    assert (output / "full-beside.png").read_bytes().startswith(b"\x89PNG")
    assert (output / "full-beside.svg").read_text().startswith("<?xml")


def test_the_same_figures_make_the_same_plots(run, tmp_path, kept):
    pytest.importorskip("matplotlib")
    for name in ("one", "two"):
        run("bench", "--from", kept, "--output", tmp_path / name)
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    )
    assert one == two


def test_an_interrupt_leaves_what_was_measured_by_then(run, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    do, count = running.run, 0

    def interrupted(*arguments):
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        do(*arguments)

    monkeypatch.setattr(running, "run", interrupted)
    done = run("bench", "--only", "import", "--output", tmp_path / "out")
    assert done.exit_code == 130
    assert len(results.load(tmp_path / "out" / "tiny.json").samples) == 2


def test_a_step_that_fails_makes_the_exit_code_1(run, monkeypatch):
    def fail(*_arguments):
        raise OSError("broken")

    monkeypatch.setattr("hypercache.bench.child.import_ms", fail)
    done = run("bench", "--only", "import")
    assert done.exit_code == 1
    assert "broken" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--rounds", "0"),
        ("--only", "everything"),
        ("--directory", "/nowhere/at/all"),
        ("--from", "/nowhere/at/all"),
        ("--seed", "x"),
    ],
)
def test_wrong_usage_exits_with_2_before_anything_is_measured(run, arguments):
    assert run("bench", *arguments).exit_code == 2


def test_a_kept_file_that_is_none_is_named(run, tmp_path):
    path = tmp_path / "notes.json"
    path.write_text(json.dumps({"format": 77}))
    done = run("bench", "--from", path)
    assert done.exit_code == 2
    assert "notes.json" in done.stderr


def test_without_matplotlib_it_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run("bench", "--quick", "--output", tmp_path / "out")
    assert done.exit_code == 2
    assert "hypercache-engine[bench]" in done.stderr
    assert not (tmp_path / "out").exists()

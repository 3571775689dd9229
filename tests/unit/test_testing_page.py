"""What docs/testing.md shows works as shown, in a project that only has the package."""

import os
import re
import subprocess
import sys

import pytest

from tests.support.packages import install
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "testing.md"
BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)

NO_HYPOTHESIS = ("-p", "no:hypothesispytest")


@pytest.fixture
def project(tmp_path):
    site = tmp_path / "site"
    point = {"hypercache": "hypercache.testing.plugin"}
    install(site, "hypercache-engine", point, group="pytest11")
    for title, code in BLOCK.findall(PAGE.read_text()):
        with (site / title).open("a") as file:
            file.write(code)
    return site


def run_pytest(project, *arguments):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return subprocess.run(
        # Without the plugin that imports Hypothesis, for a second.
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-W",
            "error",
            *NO_HYPOTHESIS,
            *arguments,
        ],
        cwd=project,
        env={**inherited, "PYTHONPATH": f"{project}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_tests_of_the_page_pass_but_for_the_one_that_shows_a_defect(project):
    done = run_pytest(project, "-p", "no:cacheprovider")
    assert "1 failed, 4 passed" in done.stdout, done.stdout
    assert "FAILED test_orders.py::test_no_order_is_lost_or_counted_twice" in (
        done.stdout
    )
    shown = re.findall(r"^    E +(.*)$", PAGE.read_text(), re.MULTILINE)
    assert len(shown) == 2
    assert all(line in done.stdout for line in shown), done.stdout


def test_a_failure_names_the_command_that_replays_it_alone(project):
    failing = "test_no_order_is_lost_or_counted_twice"
    first = run_pytest(project, "-k", failing)
    option = re.search(r"--hypercache-power-cut=\S+", first.stdout)
    assert option, first.stdout
    again = run_pytest(project, "-k", failing, option[0])
    assert "1 failed" in again.stdout, again.stdout
    assert option[0] in again.stdout
    other = run_pytest(project, "-k", failing, "--hypercache-power-cut=1")
    assert "1 passed" in other.stdout, other.stdout


def test_the_change_that_the_page_names_mends_the_defect(project):
    page = project / "test_orders.py"
    code = page.read_text().replace(
        """    cache.set(f"order:{number}", {"state": "paid"})
    cache.incr("order-count")
""",
        """    with cache.transaction() as batch:
        batch.set(f"order:{number}", {"state": "paid"})
        batch.incr("order-count")
""",
    )
    page.write_text(code)
    done = run_pytest(project, "test_orders.py")
    assert "4 passed" in done.stdout, done.stdout


def test_the_plugin_costs_a_project_that_does_not_use_it_next_to_nothing(project):
    code = (
        "import sys, hypercache.testing.plugin\n"
        "print([name for name in sys.modules if name.startswith('hypercache.')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = ["hypercache.errors", "hypercache.testing", "hypercache.testing.plugin"]
    assert done.stdout.strip() == str(loaded)

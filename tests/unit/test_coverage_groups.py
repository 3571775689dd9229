"""A group that is not covered, or not there any more, is an error."""

import coverage_groups
import pytest
from coverage_groups import GROUPS, Share, in_group, report, shares


def facts(lines, lines_run, branches=0, branches_run=0):
    return {
        "summary": {
            "num_statements": lines,
            "covered_lines": lines_run,
            "num_branches": branches,
            "covered_branches": branches_run,
        }
    }


WHOLE = {
    "hypercache/frame.py": facts(100, 100, 10, 10),
    "hypercache/log_reader.py": facts(100, 96, 10, 9),
    "hypercache/engines/fold_helper.py": facts(10, 10),
    "hypercache/engines/compactor.py": facts(10, 10),
    "hypercache/cli/data.py": facts(10, 10),
    "hypercache/cache.py": facts(10, 0),
}


def test_shares_are_told_by_the_path_inside_the_package():
    found = shares({**WHOLE, "tools/x.py": facts(1, 1)})
    assert set(found) == {name.removeprefix("hypercache/") for name in WHOLE}
    assert found["log_reader.py"] == Share(100, 96, 10, 9)


def test_groups_that_are_covered_pass_whatever_is_in_none_of_them():
    lines, enough = report(shares(WHOLE))
    assert enough
    assert not any("too little" in line for line in lines)
    assert "lines  98.0%  branches  95.0%" in lines[0]
    assert lines[-1].startswith("all of the package")


@pytest.mark.parametrize(
    "log", [facts(100, 89, 10, 10), facts(100, 100, 10, 7)], ids=["lines", "branches"]
)
def test_a_group_below_the_required_share_does_not(log):
    lines, enough = report(shares({**WHOLE, "hypercache/frame.py": log}))
    assert not enough
    assert [line.split()[0] for line in lines if "too little" in line] == ["log"]


def test_a_group_without_modules_does_not_pass():
    without = {name: each for name, each in WHOLE.items() if "cli" not in name}
    lines, enough = report(shares(without))
    assert not enough
    assert "too little" in next(line for line in lines if line.startswith("tools"))


def test_every_pattern_fits_a_module_of_the_package_or_one_to_come():
    package = coverage_groups.ROOT / coverage_groups.PACKAGE
    paths = [file.relative_to(package).as_posix() for file in package.rglob("*.py")]
    for group in GROUPS:
        assert any(in_group(path, group) for path in paths), group
    assert not in_group("aof/compact.py", "checkpoint")


def test_code_without_branches_has_run_all_of_them():
    assert Share(5, 5).of_branches == 1.0
    assert Share().is_enough

"""Seeded defects are found by what the code says, patched in place, and judged."""

import textwrap

import pytest
import seed_defects
from seed_defects_orders import Order, orders_in
from seed_defects_plan import Plan, load_plan
from seed_defects_results import Results, summary, table, verdict
from seed_defects_rules import defects_in
from seed_defects_run import BROKEN, HUNG, KILLED, SURVIVED, Result
from seed_defects_source import Defect, Edit, RuleError, Source

TOY = '''\
"""Do one thing."""


class Log:
    def seal(self, footer):
        try:
            self._file.write_at(0, footer)
            self._file.truncate(
                len(footer),
            )
            self._file.sync()
            self._storage.sync_directory(self.path)
        except StorageError as error:
            self._commit.fail(error)
            raise
        self.failure = None
        self._settle(7)

    def read(self, data):
        if (
            len(data) < 4
            or crc(data) != data.crc
        ):
            raise CorruptionError("damaged")
        fits = data.lsn == self.lsn and data.uuid == self.uuid
        if not fits:
            raise CorruptionError("foreign")
        if data.crc != 7:
            return None
        if data.colour != 7:
            return None
        for problem in verify(data):
            raise CorruptionError(problem)
        return data.sync()

    def wait(self, lsn):
        while self.synced_lsn < lsn:
            self._changed.wait()

    def inner(self):
        def deep():
            os.fsync(1)

        return {"sync": self.synced}, open(sync_commits=True)
'''


@pytest.fixture
def toy():
    return Source("toy.py", TOY)


def found(source, rule):
    return [defect for defect in defects_in(source) if f":{rule}:" in defect.id]


def whats(source, rule):
    return [defect.what for defect in found(source, rule)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            "sync",
            [
                "`self._file.sync()` removed",
                "`sync` is false in place of `self.synced`",
                "`sync_commits` is false in place of `True`",
                "`os.fsync(1)` removed",
            ],
        ),
        ("sync-directory", ["`self._storage.sync_directory(self.path)` removed"]),
        ("truncate", ["`self._file.truncate(len(footer))` removed"]),
        ("acknowledge", ["`self._settle(7)` removed"]),
        (
            "latch",
            ["`self._commit.fail(error)` removed", "`self.failure = None` removed"],
        ),
        ("lsn", ["always false: `self.synced_lsn < lsn`"]),
        (
            "fact",
            [
                "always true: `data.lsn == self.lsn`",
                "always true: `data.uuid == self.uuid`",
            ],
        ),
        (
            "check",
            [
                "never true: `len(data) < 4`",
                "never true: `crc(data) != data.crc`",
                "never true: `not fits`",
                "never true: `data.crc != 7`",
                "`for ... in verify(data)` removed",
            ],
        ),
    ],
)
def test_each_rule_finds_what_it_is_for_and_nothing_else(toy, rule, expected):
    assert whats(toy, rule) == expected


def test_no_rule_finds_anything_else_in_it(toy):
    rules = {defect.id.split(":")[2] for defect in defects_in(toy)}
    assert rules == {
        *("sync", "sync-directory", "truncate", "acknowledge"),
        *("latch", "lsn", "fact", "check"),
    }


def test_ids_name_module_function_rule_and_number(toy):
    ids = [defect.id for defect in defects_in(toy)]
    assert len(set(ids)) == len(ids)
    assert "toy:Log.seal:sync:1" in ids
    assert "toy:Log.read:check:2" in ids
    assert "toy:Log.inner.deep:sync:1" in ids
    moved = Source("toy.py", "\n\n" + TOY)
    assert [defect.id for defect in defects_in(moved)] == ids


def test_every_defect_compiles_and_leaves_all_other_lines_where_they_were(toy):
    whole = TOY.splitlines()
    for defect in defects_in(toy):
        patched = defect.applied_to(TOY)
        compile(patched, defect.id, "exec")
        lines = patched.splitlines()
        assert len(lines) == len(whole), defect.id
        changed = [
            n
            for n, pair in enumerate(zip(lines, whole, strict=True), 1)
            if pair[0] != pair[1]
        ]
        assert changed, defect.id
        assert changed[0] >= defect.line, defect.id
        assert changed[-1] - changed[0] <= 3, defect.id


def test_a_call_that_is_removed_leaves_its_line_to_others(toy):
    [cut] = found(toy, "truncate")
    assert "            pass\n\n\n            self._file.sync()\n" in cut.applied_to(
        TOY
    )


def ordered(toy, **fields):
    return orders_in(toy, [Order(module="toy", function="Log.seal", **fields)])


def test_a_step_is_made_earlier_on_the_line_of_the_other(toy):
    [defect] = ordered(toy, step="self._file.sync()", before="self._file.write_at(")
    assert defect.id == "toy:Log.seal:order:1"
    patched = defect.applied_to(TOY)
    assert "self._file.sync(); self._file.write_at(0, footer)\n" in patched
    assert patched.count("self._file.sync()") == 1
    assert len(patched.splitlines()) == len(TOY.splitlines())


def test_a_step_is_made_later(toy):
    [defect] = ordered(toy, step="self._file.truncate(", behind="self._file.sync()")
    patched = defect.applied_to(TOY)
    assert "self._file.sync(); self._file.truncate(len(footer))\n" in patched
    compile(patched, "toy", "exec")


def test_a_step_from_elsewhere_is_made_in_addition(toy):
    fields = {"step": "self.prune()", "before": "try:", "again": True}
    [defect] = ordered(toy, **fields)
    patched = defect.applied_to(TOY)
    assert "        self.prune()\n        try:\n" in patched
    compile(patched, "toy", "exec")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"step": "self._file.fold()", "before": "try:"}, "0 statements"),
        ({"step": "self._file.", "before": "try:"}, "3 statements"),
        ({"step": "self._file.sync()#2", "before": "try:"}, "1 statements"),
        ({"step": "self._file.sync()", "before": "try:", "behind": "raise"}, "one of"),
        ({"step": "self._file.sync()"}, "one of"),
    ],
)
def test_an_order_that_no_longer_fits_the_code_is_an_error(toy, fields, words):
    with pytest.raises(RuleError, match=words):
        ordered(toy, **fields)


def test_an_order_for_a_function_that_is_gone_is_an_error(toy):
    with pytest.raises(RuleError, match=r"toy\.py has no function Log\.fold"):
        orders_in(toy, [Order("toy", "Log.fold", "a", before="b")])


# A project of one module, whose tests notice some of its defects


MODULE = """
def add(log, data):
    log.write(data)
    log.sync()


def read(data):
    if len(data) < 4:
        raise ValueError("cut")
    if data.lsn < 7:
        return None
    return data


def spin(log):
    log.unlink()
    return log.count()
"""
TESTS = """
import time
import pytest
from hypercache import toy

class Log(list):
    def write(self, data): self.append(data)
    def sync(self): self.append("sync")
    def unlink(self): self.clear()
    def count(self):
        if self: time.sleep(60)
        return 0

def test_add():
    log = Log()
    toy.add(log, 1)
    assert log == [1, "sync"]

def test_spin():
    assert toy.spin(Log([1])) == 0

def test_read():
    with pytest.raises(ValueError):
        toy.read(b"abc")
"""
PLAN = """
common = []

[tests]
"toy" = ["tests/unit/test_toy.py"]

[[order]]
module = "toy"
function = "add"
step = "log.sync()"
before = "log.write(data)"

[survivors]
"""
KILLS = {
    "toy:add:sync:1": Result(KILLED, "tests/unit/test_toy.py::test_add"),
    "toy:add:order:1": Result(KILLED, "tests/unit/test_toy.py::test_add"),
    "toy:read:check:1": Result(KILLED, "tests/unit/test_toy.py::test_read"),
    "toy:read:check:2": Result(SURVIVED),
    "toy:spin:prune:1": Result(HUNG),
}


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    files = {
        "hypercache/__init__.py": "",
        "hypercache/toy.py": MODULE,
        "tests/unit/test_toy.py": TESTS,
        "tools/seed_defects.toml": PLAN,
        "docs/readme.md": "",
        "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['.']\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def explain(project, reasons):
    lines = [f'"{id_}" = "{reason}"' for id_, reason in reasons.items()]
    plan = project / "tools" / "seed_defects.toml"
    plan.write_text(PLAN + "\n".join(lines))


def test_defects_are_killed_by_tests_or_survive(project, capsys):
    assert seed_defects.main(["--jobs", "1", "--timeout", "6"], project) == 1
    out, err = capsys.readouterr()
    page = (project / "docs" / "seeded_defects.md").read_text()
    killed = "killed by `unit/test_toy.py::test_read`"
    assert f"| `read:check:1` | never true: `len(data) < 4` | {killed} |" in page
    assert "| `read:check:2` | never true: `data.lsn < 7` | survives |" in page
    assert "| all | 5 | 4 (80.0%) |" in out
    assert "toy:read:check:2 survives without a reason" in err
    assert "4 of 5 killed is less than 95%" in err
    assert (project / "hypercache" / "toy.py").read_text() == MODULE
    # What is known is not tried again, and a survivor whose reason is there is none
    # too few in a table of twenty.
    assert seed_defects.main(["--only", "toy:add"], project) == 0
    assert "2 defects, 0 to run" in capsys.readouterr().out


def test_a_test_that_fails_anyway_proves_nothing(project, capsys):
    tests = project / "tests" / "unit" / "test_toy.py"
    tests.write_text("def test_wrong(): assert False\n" + TESTS)
    assert seed_defects.main(["--jobs", "1", "--only", "toy:add:sync"], project) == 1
    out, err = capsys.readouterr()
    assert "killed" in out
    assert "tests/unit/test_toy.py::test_add" in out
    assert "tests/unit/test_toy.py::test_wrong fails without a defect, too" in err


def test_a_list_runs_nothing(project, capsys):
    assert seed_defects.main(["--list"], project) == 0
    out = capsys.readouterr().out
    assert "toy:spin:prune:1  line 16: `log.unlink()` removed" in out
    assert "5 defects" in out
    assert not (project / "build").exists()


def test_an_id_that_does_not_exist_is_told(project, capsys):
    assert seed_defects.main(["--only", "toy:fold"], project) == 2
    assert "no defect begins with toy:fold" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"tests/unit/test_toy.py"', '"tests/test_gone.py"', "not there"),
        ('"toy" =', '"gone" =', "not there|no tests"),
        ('step = "log.sync()"', 'stop = "log.sync()"', "stop"),
        ('step = "log.sync()"', 'step = "log.fold()"', "0 statements"),
    ],
)
def test_a_plan_that_names_what_is_not_there_is_an_error(project, old, new, words):
    plan = project / "tools" / "seed_defects.toml"
    plan.write_text(plan.read_text().replace(old, new))
    with pytest.raises(RuleError, match=words):
        load_plan(project)


def noted(project, **others):
    plan = load_plan(project)
    results = Results(project, project / "build" / "results")
    for defect in plan.defects:
        results.note(defect, others.get(defect.id, KILLS[defect.id]), quick=False)
    return plan, results


def test_results_are_kept_as_long_as_they_hold(project):
    plan, _ = noted(project)
    again = Results(project, project / "build" / "results")
    assert all(again.is_settled(defect) for defect in plan.defects)
    tests = project / "tests" / "unit" / "test_toy.py"
    tests.write_text(TESTS + "\n")
    again = Results(project, project / "build" / "results")
    # One that hung rests on no test in particular.
    assert [d.id for d in plan.defects if again.is_settled(d)] == ["toy:spin:prune:1"]
    module = project / "hypercache" / "toy.py"
    module.write_text(MODULE + "\n")
    assert not any(map(again.is_settled, load_plan(project).defects))


def test_a_reason_must_belong_to_a_defect_that_survives(project):
    reasons = {"toy:read:check:2": "no data is that old", "toy:add:sync:1": "why not"}
    explain(project, {**reasons, "toy:gone:sync:1": "no"})
    plan, results = noted(project)
    problems = "\n".join(verdict(plan.defects, results, plan))
    assert "toy:gone:sync:1 is explained, but there is no such defect" in problems
    assert "toy:add:sync:1 is explained, but" in problems
    assert "toy:read:check:2" not in problems
    page = table(plan.defects, results, plan)
    assert (
        "`toy:read:check:2` (never true: `data.lsn < 7`): no data is that old" in page
    )


def test_what_cannot_be_imported_is_no_defect(project):
    plan, results = noted(project, **{"toy:read:check:2": Result(BROKEN)})
    assert verdict(plan.defects, results, plan) == []
    assert "| all | 4 | 4 (100.0%) |" in summary(plan.defects, results, plan)


def test_a_table_is_written_of_what_is_known(project, capsys):
    noted(project)
    (project / "build" / "results").rename(project / "build" / "seeded_defects.jsonl")
    tests = project / "tests" / "unit" / "test_toy.py"
    tests.write_text(TESTS + "\n")
    assert seed_defects.main(["--table"], project) == 1
    assert "4 defects were not tried to the end" in capsys.readouterr().err
    page = (project / "docs" / "seeded_defects.md").read_text()
    assert (
        "| `spin:prune:1` | `log.unlink()` removed | killed: the tests do not" in page
    )
    assert "| `add:sync:1` | `log.sync()` removed | not tried |" in page


def test_a_defect_that_survives_a_quick_run_is_tried_again(project):
    plan = load_plan(project)
    results = Results(project, project / "build" / "results")
    [defect] = plan.chosen(["toy:read:check:2"])
    results.note(defect, Result(SURVIVED), quick=True)
    assert not results.is_settled(defect)
    results.note(defect, Result(SURVIVED), quick=False)
    assert results.is_settled(defect)


def test_the_stages_end_with_the_whole_suite_and_repeat_nothing():
    defect = Defect("toy:f:sync:1", "toy.py", 1, "", (Edit(0, 0, ""),))
    tests, common = {"toy": ["tests/a.py"]}, ["tests/a.py", "tests/b.py"]
    plan = Plan(None, [defect], tests, common, {})
    assert plan.stages(defect, quick=True) == [["tests/a.py"]]
    whole = ["tests", "--ignore=tests/a.py", "--ignore=tests/b.py"]
    assert plan.stages(defect, quick=False) == [["tests/a.py"], ["tests/b.py"], whole]


def test_the_plan_of_this_project_fits_its_code():
    plan = load_plan(seed_defects.ROOT)
    ids = [defect.id for defect in plan.defects]
    assert len(set(ids)) == len(ids) > 200
    assert set(plan.survivors) <= set(ids)


def test_text_that_is_not_ascii_would_move_the_offsets():
    with pytest.raises(RuleError, match="ASCII"):
        Source("toy.py", textwrap.dedent("x = '\u00e9'\n"))

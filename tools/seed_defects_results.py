"""Keeps what became of the defects, and makes the table and the verdict of it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from seed_defects_plan import PACKAGE, Plan
from seed_defects_run import BROKEN, HUNG, KILLED, SURVIVED, Result
from seed_defects_source import Defect

LEAST_KILLED = 0.95


class Results:
    """Results by the id of the defect, in a file with one line each.

    A result counts as long as the module with the defect is the same, and so is what
    it rests on: the test that killed it, or for a survivor all tests.
    """

    def __init__(self, root: Path, file: Path) -> None:
        self._root, self._file = root, file
        self._lock = threading.Lock()
        self._found: dict[str, tuple[str, Result]] = {}
        if file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                id_, basis = row.pop("id"), row.pop("basis")
                self._found[id_] = (basis, Result(**row))

    def get(self, defect: Defect) -> Result | None:
        """Return what became of a defect, None where that is not known (any more)."""
        basis, result = self._found.get(defect.id, ("", None))
        if result is None or basis != self._basis(defect, result):
            return None
        return result

    def is_settled(self, defect: Defect) -> bool:
        """Tell whether a defect need not be tried again."""
        return self.get(defect) is not None

    def note(self, defect: Defect, result: Result, quick: bool) -> None:
        """Keep a result; a survivor of a quick run is only told."""
        passing = quick and result.status == SURVIVED
        basis = "" if passing else self._basis(defect, result)
        with self._lock:
            self._found[defect.id] = (basis, result)
            if not passing:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                row = {"id": defect.id, "basis": basis, **asdict(result)}
                with self._file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")

    def forget(self, defects: list[Defect]) -> None:
        """Let the defects be tried again."""
        for defect in defects:
            self._found.pop(defect.id, None)

    def line(self, defect: Defect) -> str:
        """Return one line for a person who watches."""
        _, result = self._found[defect.id]
        return f"{result.status:8} {result.seconds:6.1f} s  {defect.id}  {result.test}"

    def _basis(self, defect: Defect, result: Result) -> str:
        text = (self._root / PACKAGE / defect.path).read_text(encoding="utf-8")
        digest = hashlib.sha256(defect.applied_to(text).encode())
        digest.update(self._rests_on(result))
        return digest.hexdigest()[:16]

    def _rests_on(self, result: Result) -> bytes:
        tests = self._root / "tests"
        if result.status == SURVIVED:
            files = sorted(tests.rglob("*.py"))
        else:
            files = [self._root / result.test.partition("::")[0]] if result.test else []
        return b"".join(file.read_bytes() for file in files if file.is_file())


def is_killed(result: Result | None) -> bool:
    """Tell whether the tests have noticed."""
    return result is not None and result.status in (KILLED, HUNG)


def summary(defects: list[Defect], results: Results, plan: Plan) -> str:
    """Return the numbers, by rule and in all."""
    tried = [defect for defect in defects if _counts(results.get(defect))]
    rules = Counter(rule_of(defect) for defect in tried)
    killed = Counter(rule_of(d) for d in tried if is_killed(results.get(d)))
    rows = [f"| {rule} | {rules[rule]} | {killed[rule]} |" for rule in sorted(rules)]
    explained = sum(
        defect.id in plan.survivors
        for defect in tried
        if not is_killed(results.get(defect))
    )
    share = killed.total() / rules.total() if rules else 0.0
    return "\n".join(
        [
            "| rule | defects | killed |",
            "|---|---|---|",
            *rows,
            f"| all | {rules.total()} | {killed.total()} ({share:.1%}) |",
            "",
            f"{rules.total() - killed.total()} survive, {explained} of them explained.",
        ]
    )


def verdict(defects: list[Defect], results: Results, plan: Plan) -> list[str]:
    """Return what is wrong: too few killed, no reason, or a reason no longer needed."""
    known = {defect.id for defect in plan.defects}
    problems = [
        f"{id_} is explained, but there is no such defect"
        for id_ in plan.survivors
        if id_ not in known
    ]
    for defect in defects:
        result = results.get(defect)
        if is_killed(result) and defect.id in plan.survivors:
            problems.append(f"{defect.id} is explained, but {result} killed it")
        if defect.id in plan.survivors or result is None:
            continue
        if result.status == SURVIVED:
            problems.append(f"{defect.id} survives without a reason")
    unknown = sum(results.get(defect) is None for defect in defects)
    if unknown:
        problems.append(f"{unknown} defects were not tried to the end")
    tried = [defect for defect in defects if _counts(results.get(defect))]
    killed = sum(is_killed(results.get(defect)) for defect in tried)
    if killed < LEAST_KILLED * len(tried):
        problems.append(
            f"{killed} of {len(tried)} killed is less than {LEAST_KILLED:.0%}"
        )
    return problems


def table(defects: list[Defect], results: Results, plan: Plan) -> str:
    """Return the page of the documentation."""
    lines = [INTRODUCTION, summary(defects, results, plan), "", "## Survivors", ""]
    for defect in defects:
        result = results.get(defect)
        if result is not None and result.status == SURVIVED:
            reason = plan.survivors.get(defect.id, "not explained")
            lines.append(f"* `{defect.id}` ({_cell(defect.what)}): {reason}")
    module = ""
    for defect in defects:
        if defect.path != module:
            module = defect.path
            lines += ["", f"## {PACKAGE}/{module}", ""]
            lines += ["| defect | what | outcome |", "|---|---|---|"]
        lines.append(_row(defect, results.get(defect)))
    return "\n".join(lines) + "\n"


def rule_of(defect: Defect) -> str:
    """Return the rule that made a defect."""
    return defect.id.split(":")[2]


def _counts(result: Result | None) -> bool:
    return result is not None and result.status != BROKEN


def _row(defect: Defect, result: Result | None) -> str:
    outcome = "not tried"
    if result is not None and result.status == BROKEN:
        outcome = "no defect: the module cannot be imported"
    elif result is not None and result.status == HUNG:
        outcome = "killed: the tests do not end"
    elif result is not None:
        outcome = f"killed by `{_short(result.test)}`" if result.test else "survives"
    name = defect.id.partition(":")[2]
    return f"| `{name}` | {_cell(defect.what)} | {outcome} |"


def _short(test: str) -> str:
    return _cell(test.removeprefix("tests/"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


INTRODUCTION = """\
# Seeded defects

Written by `make defects` (`tools/seed_defects.py`); not to be edited by hand.

Each row takes one thing away from the code that makes data durable: a sync, a
comparison of checksums, digests, lengths or LSNs, a latch, a cut, or the order of two
steps. The suite then runs until a test fails; the row names that test. A survivor is a
defect that no test notices: its reason stands below, and is checked to be still needed.
"""

"""Reads seed_defects.toml: modules, the tests asked first, orders, reasons."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seed_defects_orders import Order, orders_in
from seed_defects_rules import defects_in
from seed_defects_source import Defect, RuleError, Source

PLAN = Path("tools/seed_defects.toml")
PACKAGE = "hypercache"


@dataclass(frozen=True)
class Plan:
    """What is to be tried, and how."""

    root: Path
    defects: list[Defect]
    tests: dict[str, list[str]]
    common: list[str]
    survivors: dict[str, str]

    def chosen(self, beginnings: list[str]) -> list[Defect]:
        """Return the defects whose id begins with one of these; without any, all.

        Raises:
            RuleError: nothing begins with one of them.
        """
        for beginning in beginnings:
            if not any(defect.id.startswith(beginning) for defect in self.defects):
                raise RuleError(f"no defect begins with {beginning}; see --list")
        wanted = tuple(beginnings) or ("",)
        return [defect for defect in self.defects if defect.id.startswith(wanted)]

    def stages(self, defect: Defect, *, quick: bool) -> list[list[str]]:
        """Return what is run one after the other until something fails."""
        first = self.tests[defect.id.partition(":")[0]]
        if quick:
            return [first]
        common = [test for test in self.common if test not in first]
        done = [f"--ignore={test}" for test in (*first, *common)]
        return [first, *([common] if common else []), ["tests", *done]]


def load_plan(root: Path) -> Plan:
    """Find all defects below a root.

    Raises:
        RuleError: the plan names what is not there.
    """
    fields = tomllib.loads((root / PLAN).read_text(encoding="utf-8"))
    tests: dict[str, list[str]] = fields["tests"]
    for name in {
        *fields["common"],
        *(name for names in tests.values() for name in names),
    }:
        if not (root / name).exists():
            raise RuleError(f"{PLAN} names {name}, which is not there")
    orders = [_order(row) for row in fields.get("order", [])]
    for order in orders:
        if order.module not in tests:
            raise RuleError(f"{PLAN} has an order for {order.module}, but no tests")
    defects = [
        defect for module in tests for defect in _defects_of(root, module, orders)
    ]
    return Plan(root, defects, tests, fields["common"], fields.get("survivors", {}))


def _order(row: dict[str, Any]) -> Order:
    try:
        return Order(**row)
    except TypeError as error:
        raise RuleError(f"{PLAN}: {error} in {row}") from error


def _defects_of(root: Path, module: str, orders: list[Order]) -> list[Defect]:
    path = f"{module.replace('.', '/')}.py"
    file = root / PACKAGE / path
    if not file.is_file():
        raise RuleError(f"{PLAN} names the module {module}, which is not there")
    source = Source(path, file.read_text(encoding="utf-8"))
    defects = [*defects_in(source), *orders_in(source, orders)]
    for defect in defects:
        compile(defect.applied_to(source.text), defect.id, "exec")
    return defects

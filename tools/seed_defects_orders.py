"""Exchanges steps that must come in one order, as a table in a file says.

A step is named by the beginning of its statement and must be found exactly once in its
function, so that the table cannot rot: what no longer fits the code is an error.
"""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass

from seed_defects_source import Defect, Edit, Function, RuleError, Source, owned

COMPOUND = ast.With | ast.For | ast.While | ast.If | ast.Try


@dataclass(frozen=True)
class Order:
    """One line of the table: in a function, `step` is made too early or too late.

    It is moved `before` or `behind` another statement; with `again` it is a step from
    elsewhere, made there in addition. Of several statements that begin alike "#2"
    names the second.
    """

    module: str
    function: str
    step: str
    before: str = ""
    behind: str = ""
    again: bool = False

    def __post_init__(self) -> None:
        if bool(self.before) == bool(self.behind):
            raise RuleError(f"{self.step} needs one of before and behind")

    @property
    def what(self) -> str:
        """Say in words what is wrong."""
        place = f"before `{self.before}`" if self.before else f"behind `{self.behind}`"
        return f"`{self.step}` {place}"


def orders_in(source: Source, table: list[Order]) -> list[Defect]:
    """Return the defects that the table makes of a module.

    Raises:
        RuleError: a line does not match exactly once.
    """
    functions = dict(source.functions())
    counts: Counter[str] = Counter()
    defects = []
    for order in table:
        if order.module != source.name:
            continue
        function = functions.get(order.function)
        if function is None:
            raise RuleError(f"{source.path} has no function {order.function}")
        counts[order.function] += 1
        line, edits = _moved(source, function, order)
        id_ = f"{source.name}:{order.function}:order:{counts[order.function]}"
        defects.append(Defect(id_, source.path, line, order.what, edits))
    return defects


def _moved(
    source: Source, function: Function, order: Order
) -> tuple[int, tuple[Edit, ...]]:
    anchor = _statement(source, function, order.before or order.behind)
    if order.again:
        line, text, gone = anchor.lineno, order.step, []
    else:
        step = _statement(source, function, order.step)
        line, text = step.lineno, ast.unparse(step)
        gone = [source.replaced(step, "pass")]
    return line, (*gone, _inserted(source, anchor, text, early=bool(order.before)))


def _inserted(source: Source, anchor: ast.stmt, text: str, *, early: bool) -> Edit:
    """Return the edit that makes a step before or behind a statement.

    On the same line where that can be: then all lines stay where they were.
    """
    start, end = source.span(anchor)
    indent = f"\n{' ' * anchor.col_offset}"
    alone = "\n" in text or isinstance(anchor, COMPOUND)
    if "\n" in text:
        text = text.replace("\n", indent)
    joint = indent if alone else "; "
    return Edit(start, start, text + joint) if early else Edit(end, end, joint + text)


def _statement(source: Source, function: Function, name: str) -> ast.stmt:
    beginning, _, number = name.partition("#")
    found = [
        node
        for node in owned(function)
        if isinstance(node, ast.stmt) and ast.unparse(node).startswith(beginning)
    ]
    wanted = int(number or 1)
    if len(found) < wanted or (not number and len(found) > 1):
        raise RuleError(
            f"{source.path}: {function.name} has {len(found)} statements that begin "
            f"with {beginning!r}"
        )
    return found[wanted - 1]

"""Knows the source of a module: where its nodes lie, and how to patch it in place.

A patch leaves every other line where it was.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef


class RuleError(Exception):
    """Say that a rule no longer fits the code."""


@dataclass(frozen=True)
class Edit:
    """Put `text` in the place of what lies between two offsets."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Defect:
    """One thing taken away from one module; the path is inside the package."""

    id: str
    path: str
    line: int
    what: str
    edits: tuple[Edit, ...]

    def applied_to(self, text: str) -> str:
        """Return the module's text with the defect in it."""
        for edit in sorted(self.edits, key=lambda edit: edit.start, reverse=True):
            text = text[: edit.start] + edit.text + text[edit.end :]
        return text


class Source:
    """The text of a module, and where its nodes lie in it."""

    def __init__(self, path: str, text: str) -> None:
        if not text.isascii():
            raise RuleError(f"{path} is not ASCII: offsets would be wrong")
        self.path, self.text = path, text
        self.tree = ast.parse(text, path)
        lengths = [len(line) for line in text.splitlines(keepends=True)]
        self._starts = [sum(lengths[:index]) for index in range(len(lengths))]

    @property
    def name(self) -> str:
        """Return the dotted name of the module inside the package."""
        return self.path.removesuffix(".py").replace("/", ".")

    def span(self, node: ast.stmt | ast.expr) -> tuple[int, int]:
        """Return the offsets between which a node lies."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def replaced(self, node: ast.stmt | ast.expr, text: str) -> Edit:
        """Return the edit that puts one line in the place of a node."""
        start, end = self.span(node)
        newlines = "\n" * self.text.count("\n", start, end)
        if isinstance(node, ast.expr) and newlines:
            return Edit(start, end, f"({text}{newlines})")
        return Edit(start, end, text + newlines)

    def functions(self) -> Iterator[tuple[str, Function]]:
        """Yield every function with its name inside the module, in order."""
        yield from _functions(self.tree, "")


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield prefix + child.name, child
        if isinstance(child, Function | ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        else:
            yield from _functions(child, prefix)


def owned(function: Function) -> Iterator[ast.AST]:
    """Yield the nodes of a function, in order, but for those of functions in it."""
    for statement in function.body:
        yield from with_children(statement)


def with_children(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, Function | ast.ClassDef):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from with_children(child)

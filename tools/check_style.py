"""Checks the house rules that a formatter cannot: size, docstrings, ASCII, print."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from _source import Module, Problem, load, main

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

# The one folder that may print.
PRINTS = "cli/"
# The one folder of tests: the name of a test is its sentence.
TESTS = "testing/"

# (path, rule or rule:name) -> why the rule is waived there. For example
# ("ops.py", "long-function:decode") or ("ops.py", "long-file").
EXCEPTIONS: dict[tuple[str, str], str] = {}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef
Finding = tuple[int, str, str]  # line, rule, message


def check(root: Path) -> list[Problem]:
    """Return every broken house rule below root that no exception covers."""
    return [
        module.problem(line, f"{message} [{rule}]")
        for module in load(root)
        for line, rule, message in _findings(module)
        if (module.path, rule) not in EXCEPTIONS
    ]


def _findings(module: Module) -> Iterator[Finding]:
    prints = module.path.startswith(PRINTS)
    yield from _whole_file(module)
    named = module.path.startswith(TESTS)
    for line, rule, message in _docstrings(module.tree, ""):
        if not (named and rule.rpartition(".")[2].startswith("test_")):
            yield line, rule, message
    for node in ast.walk(module.tree):
        if isinstance(node, Function):
            yield from _length(node)
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "bare-except", "bare except: name what is caught"
        elif isinstance(node, ast.Name) and node.id == "print" and not prints:
            yield node.lineno, "print", "print outside the command line"


def _whole_file(module: Module) -> Iterator[Finding]:
    lines = module.text.splitlines()
    count = len(lines)
    if count > MAX_FILE_LINES:
        yield 1, "long-file", f"{count} lines, the limit is {MAX_FILE_LINES}"
    for number, line in enumerate(lines, start=1):
        if not line.isascii():
            yield number, "ascii", "a character outside ASCII"
    if not ast.get_docstring(module.tree):
        yield 1, "docstring", "the module has no docstring"


def _length(node: Function) -> Iterator[Finding]:
    count = (node.end_lineno or node.lineno) - node.lineno + 1
    if count > MAX_FUNCTION_LINES:
        message = f"{node.name} has {count} lines, the limit is {MAX_FUNCTION_LINES}"
        yield node.lineno, f"long-function:{node.name}", message


def _docstrings(scope: ast.Module | ast.ClassDef, prefix: str) -> Iterator[Finding]:
    """Yield public functions and classes without one; nested functions are private."""
    for node in _definitions(scope.body):
        if node.name.startswith("_") or _completes_another(node):
            continue
        name = prefix + node.name
        if not ast.get_docstring(node):
            yield node.lineno, f"docstring:{name}", f"{name} has no docstring"
        if isinstance(node, ast.ClassDef):
            yield from _docstrings(node, f"{name}.")


def _definitions(body: list[ast.stmt]) -> Iterator[Definition]:
    """Yield what a scope defines, also inside if, try and with."""
    for node in body:
        if isinstance(node, Definition):
            yield node
            continue
        for block in ("body", "orelse", "handlers", "finalbody"):
            yield from _definitions(getattr(node, block, []))


def _completes_another(node: Definition) -> bool:
    """Say whether this is an overload or a property's setter or deleter."""
    for decorator in node.decorator_list:
        match decorator:
            case ast.Name(id="overload") | ast.Attribute(attr="overload"):
                return True
            case ast.Attribute(attr="setter" | "deleter"):
                return True
    return False


if __name__ == "__main__":
    sys.exit(main(check))

"""Reads the package's source for the checkers: modules, imports, reports.

Knows Python's syntax and how imports resolve. Must not know any rule: each rule lives
in the checker that is named for it.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "hypercache"
REPOSITORY = Path(__file__).resolve().parent.parent


class SourceError(Exception):
    """A tree that cannot be checked: no modules, or one that does not parse."""


@dataclass(frozen=True)
class Problem:
    """One broken rule at one place."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{PACKAGE}/{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Import:
    """One imported name, with the module resolved to its absolute dotted name."""

    line: int
    module: str
    name: str | None  # None for "import module"
    bound: str  # the name the importing module sees

    @property
    def dotted(self) -> str:
        """Return the absolute dotted name of what is imported."""
        return f"{self.module}.{self.name}" if self.name else self.module


@dataclass(frozen=True)
class Module:
    """One parsed source file; path is relative to the package, with slashes."""

    path: str
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """Return the dotted name inside the package; "" is the package itself."""
        parts = self.path.removesuffix(".py").split("/")
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def problem(self, line: int, message: str) -> Problem:
        """Return a problem at a line of this module."""
        return Problem(self.path, line, message)

    def imports(self) -> Iterator[Import]:
        """Yield every import, wherever it stands: functions, TYPE_CHECKING, ..."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for item in node.names:
                    bound = item.asname or item.name.split(".")[0]
                    yield Import(node.lineno, item.name, None, bound)
            elif isinstance(node, ast.ImportFrom):
                source = self._absolute(node)
                for item in node.names:
                    bound = item.asname or item.name
                    yield Import(node.lineno, source, item.name, bound)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if node.level == 0:
            return node.module or ""
        here = [PACKAGE, *filter(None, self.name.split("."))]
        # One dot means the package itself; for an __init__ file that is its own name.
        up = node.level - self.path.endswith("__init__.py")
        base = here[: len(here) - up]
        return ".".join([*base, node.module] if node.module else base)


def load(root: Path) -> list[Module]:
    """Parse every module of the package below root, in path order.

    Raises:
        SourceError: there is no module, or one of them is not valid UTF-8 Python.
    """
    package = root / PACKAGE
    modules = []
    for file in sorted(package.rglob("*.py")):
        path = file.relative_to(package).as_posix()
        try:
            text = file.read_text(encoding="utf-8")
            tree = ast.parse(text, filename=path)
        except (SyntaxError, ValueError) as error:
            raise SourceError(f"{PACKAGE}/{path}: {error}") from error
        modules.append(Module(path, text, tree))
    if not modules:
        # A checker that looked at nothing must not report success.
        raise SourceError(f"no Python files in {package}")
    return modules


def dotted_name(node: ast.expr, bindings: dict[str, str]) -> str | None:
    """Return the absolute dotted name of a.b.c, or None if a is no imported name."""
    if isinstance(node, ast.Name):
        return bindings.get(node.id)
    if isinstance(node, ast.Attribute):
        base = dotted_name(node.value, bindings)
        return f"{base}.{node.attr}" if base else None
    return None


def bindings(module: Module) -> dict[str, str]:
    """Return what each imported name of a module stands for, as a dotted name."""
    names = {}
    for item in module.imports():
        whole = item.name or item.bound != item.module.split(".")[0]
        names[item.bound] = item.dotted if whole else item.bound
    return names


def main(check: Callable[[Path], list[Problem]]) -> int:
    """Run one checker over the real tree, print what it found, return the exit code."""
    try:
        problems = check(REPOSITORY)
    except SourceError as error:
        print(error, file=sys.stderr)
        return 1
    for problem in sorted(problems, key=lambda found: (found.path, found.line)):
        print(problem, file=sys.stderr)
    return 1 if problems else 0

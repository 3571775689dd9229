"""The work of the demo: summaries of the standard library's modules.

Nothing here knows of a cache: what a summary is does not depend on where it is kept.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import random
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

Summary = dict[str, Any]

LIBRARY = sysconfig.get_path("stdlib")
_SKIPPED = frozenset({"site-packages", "dist-packages", "__pycache__"})

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.Assert,
    ast.comprehension,
    ast.match_case,
)


def find() -> list[str]:
    """Return the path of every module, relative to the library, sorted."""
    return sorted(_walk())


def choose(seed: int, count: int) -> list[str]:
    """Return so many modules, or all, in an order that the seed alone decides."""
    paths = find()
    chooser = random.Random(seed)  # noqa: S311  (it must be repeatable, not secret)
    return chooser.sample(paths, min(count, len(paths)))


def read(path: str) -> bytes:
    """Return the source of a module."""
    with open(os.path.join(LIBRARY, path), "rb") as file:
        return file.read()


def key_of(path: str, source: bytes) -> str:
    """Return the key of a summary: other content is another key."""
    return f"{path}:{hashlib.sha256(source).hexdigest()[:16]}"


def summarize(source: bytes) -> Summary:
    """Return what is in a module; of one that does not parse, why it does not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"error": type(error).__name__, "line": getattr(error, "lineno", None)}
    counts = Counter(map(type, ast.walk(tree)))
    return {
        "functions": sum(counts[kind] for kind in _FUNCTIONS),
        "classes": counts[ast.ClassDef],
        "imports": sorted(set(_imports(tree))),
        "cyclomatic": 1 + sum(counts[kind] for kind in _BRANCHES) + _conditions(tree),
    }


def digest_of(summaries: Iterable[Summary]) -> str:
    """Return one checksum over summaries in their order."""
    digest = hashlib.sha256()
    for summary in summaries:
        digest.update(json.dumps(summary, sort_keys=True).encode())
    return digest.hexdigest()


def _walk() -> Iterator[str]:
    for directory, subdirectories, names in os.walk(LIBRARY):
        subdirectories[:] = set(subdirectories) - _SKIPPED
        for name in names:
            if name.endswith(".py"):
                yield os.path.relpath(os.path.join(directory, name), LIBRARY)


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def _conditions(tree: ast.Module) -> int:
    """Count what `and` and `or` add."""
    found = (node for node in ast.walk(tree) if isinstance(node, ast.BoolOp))
    return sum(len(node.values) - 1 for node in found)

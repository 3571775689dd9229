"""Finds what keeps data safe in a module, and says how to take each of it away.

Knows Python's syntax and the names of the calls; must not know any module by line, so
that the id of a defect stays while the code around it changes.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from seed_defects_source import Defect, Edit, Function, Source, owned, with_children

# Rule -> the calls that it removes where they stand as statements, by their last names.
CALLS = {
    "sync": (
        "sync",
        "sync_active",
        "sync_in_place",
        "sync_data",
        "sync_full",
        "fsync",
        "fdatasync",
        "_sync_file",
        "_sync_all",
        "_commit.flush",
    ),
    "sync-directory": ("sync_directory",),
    "acknowledge": ("_commit.wait", "self.wait", "_settle", "write.settle"),
    "latch": ("fail", "_fail", "raise_if_failed", "admit", "_admit"),
    "truncate": ("truncate", "ftruncate", "cut_back", "log.settle", "_aof.settle"),
    "prune": ("prune", "_prune", "unlink", "remove_tree"),
}
# What says that data is damaged: raising it, or calling what raises it.
DAMAGE = {
    "CorruptionError",
    "UnsupportedFormatError",
    "StorageError",
    "SnapshotLostError",
    "ValueError",
    "_raise_first",
}
# Where a check ends in `break`, None or False, its condition names one of these.
TELLING = ("crc", "checksum", "digest", "lsn", "magic", "room", "HEAD")
LATCHES = ("failure", "damaged")
ALARMS = ("attention", "refuses")
VERDICTS = ("must_be_whole", "_is_lost")


@dataclass(frozen=True)
class Found:
    """What a rule has found in a function."""

    rule: str
    node: ast.stmt | ast.expr
    what: str
    edits: tuple[Edit, ...]


def defects_in(source: Source) -> list[Defect]:
    """Return every defect that the rules make of a module."""
    defects = []
    for name, function in source.functions():
        counts: Counter[str] = Counter()
        for rule in RULES:
            for found in rule(source, function):
                counts[found.rule] += 1
                number = counts[found.rule]
                defects.append(
                    Defect(
                        f"{source.name}:{name}:{found.rule}:{number}",
                        source.path,
                        found.node.lineno,
                        found.what,
                        found.edits,
                    )
                )
    return defects


def _calls(source: Source, function: Function) -> Iterator[Found]:
    for node in owned(function):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = ast.unparse(node.value.func)
            for rule, names in CALLS.items():
                if any(_is_called(called, name) for name in names):
                    what = f"`{_line(node)}` removed"
                    yield Found(rule, node, what, (source.replaced(node, "pass"),))


def _is_called(called: str, name: str) -> bool:
    return called == name or called.endswith(f".{name}")


def _checks(source: Source, function: Function) -> Iterator[Found]:
    for node in owned(function):
        if isinstance(node, ast.If) and _is_check(node):
            for part in _alternatives(node.test):
                what = f"never true: `{_line(part)}`"
                yield Found("check", part, what, (source.replaced(part, "False"),))
            yield from _facts(source, function, node.test)
        elif isinstance(node, ast.For) and isinstance(node.body[0], ast.Raise):
            what = f"`for ... in {_line(node.iter)}` removed"
            yield Found("check", node, what, (source.replaced(node, "pass"),))


def _is_check(node: ast.If) -> bool:
    if any(_complains(statement) for statement in node.body):
        return True
    if not any(word in ast.unparse(node.test) for word in TELLING):
        return False
    return len(node.body) == 1 and _gives_up(node.body[0])


def _complains(statement: ast.stmt) -> bool:
    match statement:
        case ast.Return(value=ast.Constant(value=str()) | ast.JoinedStr()):
            return True
        case ast.Assign(targets=[ast.Attribute(attr="hole")]):
            return True
        case ast.Expr(value=ast.Yield(value=ast.Call(func=ast.Name(id="Problem")))):
            return True
        case ast.Expr(value=ast.Yield(value=ast.Tuple(elts=[ast.expr() as first, *_]))):
            return isinstance(first, ast.Constant | ast.JoinedStr)
    return _raises(statement)


def _raises(statement: ast.stmt) -> bool:
    for node in with_children(statement):
        match node:
            case (
                ast.Raise(exc=ast.Call(func=func)) | ast.Expr(value=ast.Call(func=func))
            ):
                if ast.unparse(func) in DAMAGE:
                    return True
    return False


def _gives_up(statement: ast.stmt) -> bool:
    match statement:
        case ast.Break() | ast.Return(value=None):
            return True
        case ast.Return(value=ast.Constant(value=None | False)):
            return True
    return False


def _alternatives(test: ast.expr) -> list[ast.expr]:
    """Return what a condition holds for, each by itself."""
    match test:
        case ast.BoolOp(op=ast.Or(), values=values):
            return values
    return [test]


def _facts(source: Source, function: Function, test: ast.expr) -> Iterator[Found]:
    """Find the comparisons that a later check only names: `fits = a == b`."""
    names = {}  # of what is checked: what no check would find
    for part in _alternatives(test):
        match part:
            case ast.UnaryOp(op=ast.Not(), operand=ast.Name(id=name)):
                names[name] = "True"
            case ast.Name(id=name):
                names[name] = "False"
    for node in owned(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value):
                if target not in names:
                    continue
                parts = value.values if isinstance(value, ast.BoolOp) else [value]
                for part in parts:
                    if isinstance(part, ast.Compare):
                        harmless = names[target]
                        what = f"always {harmless.lower()}: `{_line(part)}`"
                        edit = source.replaced(part, harmless)
                        yield Found("fact", part, what, (edit,))


def _loops(source: Source, function: Function) -> Iterator[Found]:
    """Find comparisons of LSNs that a loop goes on for."""
    for node in owned(function):
        if not isinstance(node, ast.While):
            continue
        match node.test:
            case ast.BoolOp(op=ast.And(), values=parts):
                both = True
            case _:
                both, parts = False, [node.test]
        for part in parts:
            if isinstance(part, ast.Compare) and "lsn" in ast.unparse(part):
                value = "True" if both else "False"
                what = f"always {value.lower()}: `{_line(part)}`"
                yield Found("lsn", part, what, (source.replaced(part, value),))


def _filters(source: Source, function: Function) -> Iterator[Found]:
    """Find comparisons that choose what is removed, or what still counts."""
    for node in owned(function):
        if not isinstance(node, ast.comprehension):
            continue
        for part in node.ifs:
            text = ast.unparse(part)
            if isinstance(part, ast.Compare) and ("lsn" in text or "segment" in text):
                what = f"always true: `{text}`"
                yield Found("lsn", part, what, (source.replaced(part, "True"),))


def _latches(source: Source, function: Function) -> Iterator[Found]:
    if function.name == "__init__":
        return
    for node in owned(function):
        match node:
            case ast.Assign(targets=[ast.Attribute(attr=name)]) if name in LATCHES:
                what = f"`{_line(node)}` removed"
                yield Found("latch", node, what, (source.replaced(node, "pass"),))
            case ast.Assign(
                targets=[ast.Attribute(attr=name) | ast.Name(id=name)],
                value=ast.BoolOp(op=ast.Or(), values=values),
            ) if name in ALARMS:
                for part in values:
                    what = f"`{_line(part)}` left out of `{name}`"
                    edit = source.replaced(part, "False")
                    yield Found("latch", part, what, (edit,))


def _verdicts(source: Source, function: Function) -> Iterator[Found]:
    if function.name not in VERDICTS:
        return
    for node in owned(function):
        match node:
            case ast.Return(value=ast.BoolOp() | ast.Compare() as value):
                for part in _alternatives(value):
                    what = f"never true: `{_line(part)}`"
                    edit = source.replaced(part, "False")
                    yield Found("check", part, what, (edit,))


def _switches(source: Source, function: Function) -> Iterator[Found]:
    """Find where a commit is told to sync."""
    for node in owned(function):
        match node:
            case ast.keyword(arg="sync_commits", value=value):
                yield _switched_off(source, "sync_commits", value)
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "sync":
                        yield _switched_off(source, "sync", value)


def _switched_off(source: Source, name: str, value: ast.expr) -> Found:
    what = f"`{name}` is false in place of `{_line(value)}`"
    return Found("sync", value, what, (source.replaced(value, "False"),))


Rule = Callable[[Source, Function], Iterator[Found]]
RULES: tuple[Rule, ...] = (
    _calls,
    _switches,
    _checks,
    _verdicts,
    _loops,
    _filters,
    _latches,
)


def _line(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())

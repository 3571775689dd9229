"""Checks that files, directories and clocks are touched in the storage seam only.

Works on names, not on types: imports are resolved exactly; a pathlib path is known by
its annotation, by how it was made, or by a method that little else has.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from _source import Module, Problem, bindings, dotted_name, load, main


@dataclass(frozen=True)
class Allowed:
    """What one file, or a folder with a closing slash, may use, and why."""

    path: str
    names: tuple[str, ...]
    reason: str


# Modules that are I/O through and through: importing one is the violation.
IO_MODULES = (
    "dbm",
    "fcntl",
    "fileinput",
    "glob",
    "linecache",
    "lmdb",
    "mmap",
    "msvcrt",
    "nt",
    "posix",
    "shelve",
    "shutil",
    "sqlite3",
    "tempfile",
)

SEAM = (
    *(name for name in IO_MODULES if name != "lmdb"),
    "builtins",
    "codecs",
    "datetime",
    "io",
    "os",
    "pathlib",
    "time",
)

ALLOWED = (
    Allowed(
        "engines/helper.py", ("os.read", "os.write"), "orders a helper through a pipe"
    ),
    Allowed(
        "engines/replay_helper.py",
        ("fcntl", "io.FileIO"),
        "speaks to its parent through a pipe, and makes it hold more",
    ),
    Allowed("storage.py", SEAM, "the seam itself"),
    Allowed("storage/", SEAM, "the seam itself, as a package"),
    Allowed("locking.py", SEAM, "the part of the seam that locks a directory"),
    Allowed("os_file.py", SEAM, "the part of the seam that writes a file"),
    Allowed("mapped_pages.py", SEAM, "the part of the seam that gives pages back"),
    Allowed("liveness.py", SEAM, "the part of the seam that looks for processes"),
    Allowed(
        "read_file.py",
        ("os.close", "os.fstat", "os.pread"),
        "the part of the seam that reads a file piece by piece",
    ),
    Allowed("bench/", SEAM, "measures what others do with files and clocks"),
    Allowed(
        "cli/bench.py",
        ("pathlib.Path.mkdir", "tempfile"),
        "makes the directory that figures and plots go to",
    ),
    Allowed("testing/killing.py", ("os.fork",), "kills a process with a store in it"),
    Allowed("engines/lmdb_store.py", ("lmdb",), "LMDB does its own I/O, behind here"),
    Allowed("engines/lmdb_errors.py", ("lmdb",), "maps the errors of LMDB"),
    Allowed(
        "engines/lmdb_env.py", ("lmdb", "os.stat"), "opens the files of LMDB, each once"
    ),
    Allowed(
        "cli/demo.py",
        ("builtins.open", "tempfile", "time"),
        "the demo's store lies in a temporary directory, which it removes",
    ),
    Allowed(
        "cli/demo_modules.py",
        ("builtins.open", "os.walk"),
        "the demo reads the standard library's source files",
    ),
    Allowed(
        "testing/",
        ("os.listdir", "os.path.isdir", "pathlib.Path", "shutil", "time.monotonic"),
        "tests look at files from outside, damage them, and race for a while",
    ),
    Allowed(
        "cli/demo_process.py", ("time",), "the demo times its workers, and their death"
    ),
)

# Of os, these names touch no file; every other one is I/O until it is listed here.
# Names in capitals are constants.
OS_HARMLESS = frozenset(
    "PathLike _exit cpu_count environ error fsdecode fsencode fspath get_terminal_size "
    "getenv getpgid getpid getppid getuid geteuid kill killpg linesep name path "
    "pathsep register_at_fork sched_getaffinity sep strerror uname urandom wait "
    "waitpid waitstatus_to_exitcode".split()
)
OS_PATH_HARMLESS = frozenset(
    "abspath basename commonpath commonprefix dirname expanduser expandvars isabs join "
    "normcase normpath relpath sep split splitext".split()
)

DENIED = frozenset(
    "builtins.open codecs.open io.FileIO io.open io.open_code "
    "datetime.date.today datetime.datetime.now datetime.datetime.today "
    "datetime.datetime.utcnow "
    "time.clock_gettime time.clock_gettime_ns time.ctime time.gmtime time.localtime "
    "time.monotonic time.monotonic_ns time.perf_counter time.perf_counter_ns "
    "time.process_time time.process_time_ns time.sleep time.thread_time "
    "time.thread_time_ns time.time time.time_ns".split()
)

PATH_TYPES = ("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath")
# Methods that give another path and touch nothing.
PATH_PURE = frozenset(
    "absolute expanduser joinpath relative_to with_name with_stem with_suffix".split()
)
# Methods that touch a file, with the most positional arguments they take: the seam's
# functions of the same names take the path as well, str.replace takes two.
PATH_IO = {
    "chmod": 1,
    "cwd": 0,
    "exists": 0,
    "glob": 1,
    "group": 0,
    "hardlink_to": 1,
    "home": 0,
    "is_dir": 0,
    "is_file": 0,
    "is_mount": 0,
    "is_symlink": 0,
    "iterdir": 0,
    "lstat": 0,
    "mkdir": 0,
    "open": 5,
    "owner": 0,
    "read_bytes": 0,
    "read_text": 2,
    "readlink": 0,
    "rename": 1,
    "replace": 1,
    "resolve": 0,
    "rglob": 1,
    "rmdir": 0,
    "samefile": 1,
    "stat": 0,
    "symlink_to": 1,
    "touch": 0,
    "unlink": 0,
    "walk": 0,
    "write_bytes": 1,
    "write_text": 1,
}
# Methods so much a path's that they count on anything but the seam or self.
PATH_ONLY = frozenset(
    "exists hardlink_to is_dir is_file is_symlink iterdir lstat mkdir read_bytes "
    "rename rglob rmdir symlink_to unlink write_bytes write_text".split()
)


def check(root: Path) -> list[Problem]:
    """Return every use of files, directories or clocks outside the seam."""
    problems = []
    for module in load(root):
        names = _allowed(module.path)
        for line, used in sorted(set(_uses(module))):
            if not any(used == name or used.startswith(f"{name}.") for name in names):
                message = f"uses {used}: this belongs behind the storage seam"
                problems.append(module.problem(line, message))
    return problems


def _allowed(path: str) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    for entry in ALLOWED:
        folder = entry.path.endswith("/") and path.startswith(entry.path)
        if folder or path == entry.path:
            found += entry.names
    return found


def _uses(module: Module) -> Iterator[tuple[int, str]]:
    """Yield the line and absolute name of everything the seam should own."""
    for item in module.imports():
        if _denied(item.dotted):
            yield item.line, item.dotted
    names = {"open": "builtins.open"} | bindings(module)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef) and node in module.tree.body:
            names.pop(node.name, None)
    paths = _Paths(module.tree, names)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and names.get(node.id) == "builtins.open":
            yield node.lineno, "builtins.open"
        elif isinstance(node, ast.Attribute):
            name = dotted_name(node, names)
            if name and _denied(name) and not _imports_io(name):
                yield node.lineno, name
        elif isinstance(node, ast.Call):
            method = paths.io_method(node)
            if method:
                yield node.lineno, f"pathlib.Path.{method}"


def _imports_io(name: str) -> bool:
    return name.partition(".")[0] in IO_MODULES


def _denied(name: str) -> bool:
    root, *rest = name.split(".")
    if root in IO_MODULES or name in DENIED:
        return True
    if root != "os" or not rest:
        return False
    if rest[0] == "path":
        return len(rest) > 1 and rest[1] not in OS_PATH_HARMLESS
    return rest[0] not in OS_HARMLESS and not rest[0].isupper()


class _Paths:
    """Knows which expressions of one module are pathlib paths.

    Names are not scoped: a name that is a path in one function counts as one in all.
    """

    def __init__(self, tree: ast.Module, names: dict[str, str]) -> None:
        self._names = names
        self._known: set[str] = set()
        size = -1
        # A path may be made of one that is bound further down: repeat until stable.
        while size != len(self._known):
            size = len(self._known)
            for node in ast.walk(tree):
                self._learn(node)

    def io_method(self, call: ast.Call) -> str | None:
        """Return the pathlib method that touches a file in this call, or None."""
        if not isinstance(call.func, ast.Attribute):
            return None
        method, owner = call.func.attr, call.func.value
        if dotted_name(owner, self._names) in PATH_TYPES:
            return method if method in PATH_IO else None
        if len(call.args) > PATH_IO.get(method, -1):
            return None
        if self._is_path(owner):
            return method
        return method if method in PATH_ONLY and not _is_seam(owner) else None

    def _learn(self, node: ast.AST) -> None:
        if isinstance(node, ast.arg):
            if node.annotation and self._means_path(node.annotation):
                self._known.add(node.arg)
        elif isinstance(node, ast.AnnAssign):
            if self._means_path(node.annotation):
                self._bind(node.target)
        elif isinstance(node, ast.Assign):
            if self._is_path(node.value):
                for target in node.targets:
                    self._bind(target)
        elif isinstance(node, ast.NamedExpr) and self._is_path(node.value):
            self._bind(node.target)

    def _bind(self, target: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._known.add(target.id)
        elif isinstance(target, ast.Attribute):
            self._known.add(target.attr)

    def _means_path(self, annotation: ast.expr) -> bool:
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        if isinstance(annotation, ast.BinOp):
            sides = (annotation.left, annotation.right)
            return any(self._means_path(side) for side in sides)
        return dotted_name(annotation, self._names) in PATH_TYPES

    def _is_path(self, node: ast.expr) -> bool:
        match node:
            case ast.Name(id=name):
                return name in self._known
            case ast.Attribute(value=value, attr=attr):
                return attr in self._known or (
                    attr == "parent" and self._is_path(value)
                )
            case ast.BinOp(left=left, op=ast.Div()):
                return self._is_path(left)
            case ast.Call(func=ast.Attribute(value=value, attr=attr)) if (
                attr in PATH_PURE
            ):
                return self._is_path(value)
            case ast.Call(func=func):
                return dotted_name(func, self._names) in PATH_TYPES
        return False


def _is_seam(node: ast.expr) -> bool:
    """Say whether a receiver is the seam by its name, or self or cls."""
    name = ""
    if isinstance(node, ast.Name):
        name = node.id
    elif isinstance(node, ast.Attribute):
        name = node.attr
    return name in ("self", "cls") or "storage" in name.lower()


if __name__ == "__main__":
    sys.exit(main(check))

"""Each checker in tools/ accepts a good tree and rejects every kind of bad one."""

from collections.abc import Callable
from pathlib import Path

import _source
import check_imports
import check_seam
import check_style
import pytest

CHECKERS = [check_imports.check, check_seam.check, check_style.check]

GOOD = {
    "__init__.py": "from hypercache.cache import Cache\nfrom . import errors\n",
    "errors.py": "import enum\n",
    "options.py": "from .errors import ConfigError\n",
    "paths.py": "from pathlib import PurePath\n",
    "storage.py": "import os, time\nos.fsync(0)\ntime.time()\nopen('x')\n",
    "frame.py": "import struct\nfrom hypercache import errors\n",
    "ops.py": "from hypercache.frame import Frame\n",
    "segment.py": "from hypercache import frame, storage\n",
    "wal/__init__.py": "from .writer import WalWriter\n",
    "wal/writer.py": "from hypercache.segment import Writer\nfrom . import reader\n",
    "wal/reader.py": "from ..errors import CorruptionError\n",
    "aof/__init__.py": "from hypercache import segment\n",
    "engines/__init__.py": "from . import hybrid, memory\n",
    "engines/base.py": "from hypercache.ops import Op\n",
    "engines/lmdb_store.py": "import lmdb\n",
    "engines/memory.py": "from hypercache import aof\nfrom .base import Op\n",
    "engines/hybrid.py": "from .base import Entry\nfrom ..wal import x\n",
    "arguments.py": "import heapq\n",
    "cache.py": "from hypercache import arguments, engines\n",
    "recovery.py": "from hypercache import aof, wal\n",
    "cli/__init__.py": "import hypercache\nfrom hypercache import recovery\n",
    "cli/demo.py": "import time\ntime.sleep(1)\nopen('x').read()\nprint('done')\n",
}


def write_tree(root: Path, files: dict[str, str]) -> Path:
    """Write modules below root/hypercache, each with a docstring on line 1."""
    for path, body in files.items():
        file = root / "hypercache" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('"""Do one thing."""\n' + body, encoding="utf-8")
    return root


def messages(
    check: Callable[[Path], list[_source.Problem]], root: Path, files: dict[str, str]
) -> list[str]:
    return [str(problem) for problem in check(write_tree(root, files))]


@pytest.mark.parametrize("check", CHECKERS)
def test_a_good_tree_passes(check, tmp_path):
    assert messages(check, tmp_path, GOOD) == []


@pytest.mark.parametrize("check", CHECKERS)
def test_the_real_tree_passes(check):
    assert [str(problem) for problem in check(_source.REPOSITORY)] == []


@pytest.mark.parametrize("check", CHECKERS)
def test_an_empty_tree_is_no_success(check, tmp_path):
    with pytest.raises(_source.SourceError, match="no Python files"):
        check(tmp_path)


@pytest.mark.parametrize("check", CHECKERS)
def test_a_module_that_does_not_parse_is_named(check, tmp_path):
    with pytest.raises(_source.SourceError, match=r"hypercache/frame\.py"):
        check(write_tree(tmp_path, {"frame.py": "def (:\n"}))


def test_main_prints_each_problem_and_returns_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_source, "REPOSITORY", write_tree(tmp_path, {"ops.py": ""}))
    assert _source.main(check_style.check) == 0
    write_tree(tmp_path, {"ops.py": "print(1)\n"})
    assert _source.main(check_style.check) == 1
    assert "hypercache/ops.py:2: print outside" in capsys.readouterr().err


# Imports


@pytest.mark.parametrize(
    ("path", "line", "reason"),
    [
        ("errors.py", "import hypercache.options", "not listed beside 'errors'"),
        ("frame.py", "from hypercache.segment import x", "above"),
        ("segment.py", "from . import cache", "layer 'cache' lies above"),
        ("segment.py", "import hypercache", "layer 'public' lies above"),
        ("wal/writer.py", "from ..engines import base", "layer 'engines' lies above"),
        ("wal/writer.py", "from hypercache.aof import log", "not listed beside"),
        ("aof/__init__.py", "from .. import wal", "not listed beside"),
        ("engines/memory.py", "from .hybrid import X", "not listed beside"),
        ("engines/memory.py", "from hypercache import engines", "not listed beside"),
        ("arguments.py", "from hypercache.cache import Cache", "not listed beside"),
        ("cache.py", "from hypercache.wal import writer", "knows engines only"),
        ("cache.py", "import hypercache.aof.log", "knows engines only"),
        ("cache.py", "from hypercache import segment", "knows engines only"),
        ("cache.py", "from .frame import Frame", "knows engines only"),
        ("ops.py", "from hypercache.storage import Storage", "touches no storage"),
        ("codec.py", "from . import paths", "touches no storage"),
        ("frame.py", "import os.path", "no I/O, no clock, no locks"),
        ("frame.py", "from threading import Lock", "no I/O, no clock, no locks"),
        ("codec.py", "import time", "no I/O, no clock, no locks"),
        ("recovery.py", "from hypercache import cli", "nothing imports the top"),
        ("cli/get.py", "from hypercache.server import run", "nothing imports the top"),
        ("__init__.py", "from hypercache import wal", "public modules only"),
        ("__init__.py", "from .storage import Storage", "public modules only"),
        ("cache.py", "from hypercache.novel import x", "not listed in MODULES"),
    ],
)
@pytest.mark.parametrize(
    "form",
    ["{}", "def f():\n    {}", "if TYPE_CHECKING:\n    {}"],
    ids=["top", "function", "typing"],
)
def test_an_import_against_the_arrows_is_rejected(path, line, reason, form, tmp_path):
    bad = {**GOOD, "novel.py": "", "aof/log.py": "", "server/__init__.py": ""}
    found = messages(check_imports.check, tmp_path, bad | {path: form.format(line)})
    found = [text for text in found if "novel.py" not in text]
    assert len(found) == 1
    assert found[0].startswith(f"hypercache/{path}:{2 + form.count(chr(10))}: ")
    assert reason in found[0]


def test_an_unlisted_module_is_an_error_that_names_the_table(tmp_path):
    found = messages(check_imports.check, tmp_path, {"engines/novel.py": ""})
    assert len(found) == 1
    assert "add a line for it to MODULES in tools/check_imports.py" in found[0]


def test_one_import_of_several_names_is_one_problem(tmp_path):
    bad = {"cache.py": "from hypercache.frame import (\n    Frame,\n    scan,\n)\n"}
    assert len(messages(check_imports.check, tmp_path, GOOD | bad)) == 1


def test_the_tables_name_only_layers_and_modules_that_exist():
    listed = set(check_imports.MODULES)
    layers = set(check_imports.LAYERS)
    for place in check_imports.MODULES.values():
        assert place.layer in layers
        assert set(place.beside) <= listed
    assert set(check_imports.PUBLIC) <= listed | layers
    for layer, (targets, reason) in check_imports.NEVER.items():
        assert layer in layers
        assert set(targets) <= listed | layers
        assert reason


# The seam


@pytest.mark.parametrize(
    ("body", "used"),
    [
        ("open('x')", "builtins.open"),
        ("opener = open", "builtins.open"),
        ("import builtins as b\nb.open('x')", "builtins.open"),
        ("import io\nio.open('x')", "io.open"),
        ("import os\nos.open('x', 0)", "os.open"),
        ("import os\nos.pwrite(1, b'', 0)", "os.pwrite"),
        ("import os\nos.replace('a', 'b')", "os.replace"),
        ("import os\nos.posix_fallocate(1, 0, 9)", "os.posix_fallocate"),
        ("import os\nsize = os.stat('x').st_size", "os.stat"),
        ("import os\nos.path.exists('x')", "os.path.exists"),
        ("import os as x\nx.fsync(1)", "os.fsync"),
        ("import os\nsync = os.fdatasync", "os.fdatasync"),
        ("from os import fsync", "os.fsync"),
        ("from os import scandir as look", "os.scandir"),
        ("from os.path import getsize", "os.path.getsize"),
        ("def f():\n    from os import unlink", "os.unlink"),
        ("import shutil", "shutil"),
        ("from tempfile import mkdtemp", "tempfile.mkdtemp"),
        ("import mmap", "mmap"),
        ("import fcntl as f", "fcntl"),
        ("import lmdb", "lmdb"),
        ("import time\ntime.monotonic()", "time.monotonic"),
        ("import time as t\nclock = t.perf_counter", "time.perf_counter"),
        ("from time import sleep", "time.sleep"),
        ("from datetime import datetime as d\nd.now()", "datetime.datetime.now"),
        ("import datetime\ndatetime.datetime.utcnow()", "datetime.datetime.utcnow"),
        ("from pathlib import Path\nPath('x').open()", "pathlib.Path.open"),
        ("from pathlib import Path\nPath.cwd()", "pathlib.Path.cwd"),
        ("import pathlib\n(pathlib.Path('x') / 'y').stat()", "pathlib.Path.stat"),
        ("import pathlib as p\np.Path('x').parent.touch()", "pathlib.Path.touch"),
        ("from pathlib import Path\nd = Path('x')\nd.open('w')", "pathlib.Path.open"),
        (
            "from pathlib import Path\ndef f(d: Path | None):\n    d.replace('x')",
            "pathlib.Path.replace",
        ),
        (
            "from pathlib import Path\nhome: 'Path'\nhome.with_name('x').stat()",
            "pathlib.Path.stat",
        ),
        ("def f(d): d.mkdir(parents=True)", "pathlib.Path.mkdir"),
        ("def f(d): d.iterdir()", "pathlib.Path.iterdir"),
        ("def f(d): return d.read_bytes()", "pathlib.Path.read_bytes"),
        ("def f(d): d.write_text('x')", "pathlib.Path.write_text"),
        ("def f(d): d.exists() and d.exists()", "pathlib.Path.exists"),
        ("def f(d): d.unlink(missing_ok=True)", "pathlib.Path.unlink"),
        ("def f(d): d.rename('x')", "pathlib.Path.rename"),
    ],
)
def test_what_belongs_to_the_seam_is_rejected_elsewhere(body, used, tmp_path):
    found = messages(check_seam.check, tmp_path, {"wal/writer.py": body})
    assert len(found) == 1
    assert f"uses {used}: this belongs behind the storage seam" in found[0]
    if used != "lmdb":
        assert messages(check_seam.check, tmp_path / "ok", {"storage.py": body}) == []


@pytest.mark.parametrize(
    "body",
    [
        "import os\nos.getpid(), os.path.join('a', 'b'), os.O_RDWR",
        "import os\nos.environ.get('X')",
        "import datetime, time\ndatetime.timedelta(1)\ntime.strftime",
        "from pathlib import Path\nPath('a').joinpath('b').with_suffix('.x').name",
        "def f(storage): storage.open('x'); storage.exists(); storage.rename('a', 'b')",
        "class A:\n    def f(self): self._storage.unlink(); self.exists()",
        "class A:\n    def open(self): ...\nA().open()",
        "def open(path): ...\nopen('x')",
        "def f(cache): cache.touch('k', 1); cache.replace('k', 'v')",
        "def f(text): text.replace('a', 'b'); match.group()",
    ],
)
def test_what_touches_nothing_is_accepted_anywhere(body, tmp_path):
    assert messages(check_seam.check, tmp_path, {"wal/writer.py": body}) == []


def test_lmdb_is_imported_in_its_store_only(tmp_path):
    body = "import lmdb\nlmdb.open('x')\n"
    assert messages(check_seam.check, tmp_path, {"engines/lmdb_store.py": body}) == []
    found = messages(check_seam.check, tmp_path, {"storage.py": body})
    assert [text.split(": ")[1] for text in found] == ["uses lmdb"]


def test_a_storage_package_is_the_seam_and_a_namesake_is_not(tmp_path):
    body = "import os\nos.fsync(0)\n"
    assert messages(check_seam.check, tmp_path, {"storage/files.py": body}) == []
    assert messages(check_seam.check, tmp_path, {"storage_too.py": body}) != []


def test_the_demo_reads_and_times_but_writes_through_the_cache(tmp_path):
    found = messages(check_seam.check, tmp_path, {"cli/demo.py": "import shutil\n"})
    assert len(found) == 1


def test_every_allowance_has_a_reason():
    assert all(entry.reason and entry.names for entry in check_seam.ALLOWED)


# Style


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("x = 1\n" * 400, "long-file"),
        ("def _f():\n" + "    x = 1\n" * 60, "long-function:_f"),
        ("async def _f():\n" + "    x = 1\n" * 60, "long-function:_f"),
        ("x = '\u00e9'\n", "ascii"),
        ("try:\n    x = 1\nexcept:\n    pass\n", "bare-except"),
        ("print(1)\n", "print"),
        ("def f(): ...\n", "docstring:f"),
        ("if True:\n    def f(): ...\n", "docstring:f"),
        ("class A: ...\n", "docstring:A"),
        ("class A:\n    'Do.'\n    def f(self): ...\n", "docstring:A.f"),
    ],
)
def test_a_broken_house_rule_is_rejected_unless_excepted(
    body, rule, tmp_path, monkeypatch
):
    found = messages(check_style.check, tmp_path, {"ops.py": body})
    assert len(found) == 1
    assert found[0].endswith(f"[{rule}]")
    monkeypatch.setattr(check_style, "EXCEPTIONS", {("ops.py", rule): "a reason"})
    assert check_style.check(tmp_path) == []


def test_a_module_without_docstring_is_rejected(tmp_path):
    write_tree(tmp_path, {})
    (tmp_path / "hypercache").mkdir()
    (tmp_path / "hypercache" / "ops.py").write_text("x = 1\n")
    found = [str(problem) for problem in check_style.check(tmp_path)]
    assert found == ["hypercache/ops.py:1: the module has no docstring [docstring]"]


@pytest.mark.parametrize(
    "body",
    [
        "x = 1\n" * 399,
        "def _f():\n" + "    x = 1\n" * 59,
        "class _A:\n    def f(self): ...\n",
        "class A:\n    'Do.'\n    def __len__(self): ...\n",
        "def f():\n    'Do.'\n    def g(): ...\n",
        "@overload\ndef f(): ...\n",
        "class A:\n    'Do.'\n    @size.setter\n    def size(self, x): ...\n",
        "try:\n    x = 1\nexcept ValueError:\n    pass\n",
    ],
)
def test_what_keeps_the_house_rules_is_accepted(body, tmp_path):
    assert messages(check_style.check, tmp_path, {"ops.py": body}) == []


def test_the_name_of_a_shipped_test_is_its_docstring(tmp_path):
    body = "class A:\n    'Do.'\n    def test_it(self): ...\n    def help(self): ...\n"
    found = messages(check_style.check, tmp_path, {"testing/suite.py": body})
    assert [text.split(" [")[-1] for text in found] == ["docstring:A.help]"]
    assert len(messages(check_style.check, tmp_path / "b", {"ops.py": body})) == 2


def test_every_style_exception_has_a_reason():
    assert all(check_style.EXCEPTIONS.values())

"""What is exported exists, and importing the package stays light."""

import importlib
import pkgutil

import pytest

import hypercache
from tests.support.processes import run_python

# Heavy, optional or dangerous: nobody who only imports the package pays for them.
NOT_AT_IMPORT = (
    "zstandard click rocksdict hiredis uvloop pydantic pydantic_settings "
    "prometheus_client yaml ecs_logging asyncio matplotlib pickle diskcache cachetools "
    "pytest hypothesis sqlite3 ssl http.client multiprocessing"
).split()
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(hypercache.__path__, "hypercache.")
    if not name.endswith("__main__")
]


@pytest.mark.parametrize("name", ["hypercache", *MODULES])
def test_whatever_a_module_exports_is_there(name):
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert len(exported) == len(set(exported))
    assert [item for item in exported if not hasattr(module, item)] == []


def test_the_package_exports_its_public_names_and_no_others():
    assert sorted(hypercache.__all__) == [
        "AsyncCache",
        "Cache",
        "CheckReport",
        "EngineStats",
        "Problem",
        "errors",
    ]


def test_a_star_import_brings_exactly_what_is_exported():
    names = {}
    exec("from hypercache import *", names)  # noqa: S102  (there is no other way)
    assert set(names) - {"__builtins__"} == set(hypercache.__all__)


def test_importing_the_package_imports_nothing_heavy():
    code = """
        import sys
        import hypercache
        print(*sorted(sys.modules))
    """
    loaded = set(run_python(code).split())
    assert loaded & set(NOT_AT_IMPORT) == set()


def test_importing_the_package_starts_nothing_and_touches_no_file(tmp_path):
    code = """
        import os, threading
        import hypercache
        print(threading.active_count(), os.listdir())
    """
    assert run_python(code, cwd=tmp_path).strip() == "1 []"

"""Engines of other packages are found by their entry points, and bad ones refused."""

import sys

import pytest

from hypercache import Cache
from hypercache.engines import MemoryEngine, open_engine
from hypercache.errors import ConfigError, HyperCacheError
from hypercache.options import Options
from tests.support.packages import install
from tests.support.processes import run_python

RAM = """
from hypercache.engines import MemoryEngine

opened = []

def factory(path, options):
    opened.append((path, options))
    return MemoryEngine()

number = 7

def wrong(path, options):
    return {}
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path / "site")
    for name in ("ram_engine", "broken_engine"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path / "site"


def refusal(name, path=None):
    with pytest.raises(ConfigError) as caught:
        open_engine(path, engine=name)
    return caught.value


def test_a_registered_engine_is_opened_by_its_name(site, tmp_path):
    install(site, "ram-engine", {"ram": "ram_engine:factory"}, ram_engine=RAM)
    with Cache(tmp_path / "store", engine="ram", sync="always") as cache:
        cache.set("a", 1)
        assert cache["a"] == 1
    with Cache(engine="ram") as cache:
        assert isinstance(cache._engine, MemoryEngine)
    (path, options), (no_path, _) = sys.modules["ram_engine"].opened
    assert path == str(tmp_path / "store")
    assert no_path is None
    assert isinstance(options, Options)
    assert options.sync == "always"


def test_an_unknown_name_is_refused_with_all_that_are_known(site):
    install(site, "ram-engine", {"ram": "ram_engine:factory"}, ram_engine=RAM)
    message = str(refusal("rom"))
    for known in ("'rom'", "'memory'", "'hybrid'", "'ram'", "hypercache.engines"):
        assert known in message


def test_a_built_in_engine_cannot_be_taken_over(site, tmp_path):
    points = dict.fromkeys(("memory", "hybrid"), "ram_engine:factory")
    install(site, "ram-engine", points, ram_engine=RAM)
    with Cache() as cache, Cache(tmp_path / "store") as durable:
        assert type(cache._engine) is MemoryEngine
        assert durable.stats().engine == "hybrid"
    assert "ram_engine" not in sys.modules


@pytest.mark.parametrize(
    ("point", "cause"),
    [
        ("no_such_module:factory", ModuleNotFoundError),
        ("ram_engine:no_such_name", AttributeError),
        ("broken_engine:factory", ZeroDivisionError),
    ],
)
def test_a_factory_that_cannot_be_imported_is_named_with_its_package(
    site, point, cause
):
    install(site, "my-package", {"bad": point}, ram_engine=RAM, broken_engine="1 / 0\n")
    error = refusal("bad")
    assert isinstance(error.__cause__, cause)
    for word in ("'bad'", point, "my-package", cause.__name__):
        assert word in str(error)


@pytest.mark.parametrize(
    ("point", "kind"), [("ram_engine:number", "int"), ("ram_engine:wrong", "dict")]
)
def test_what_makes_no_engine_is_refused(site, point, kind):
    install(site, "my-package", {"bad": point}, ram_engine=RAM)
    message = str(refusal("bad"))
    for word in ("'bad'", point, "my-package", f"a {kind}", "StorageEngine"):
        assert word in message


def test_a_name_that_two_packages_register_is_refused(site):
    install(site, "one", {"ram": "ram_engine:factory"}, ram_engine=RAM)
    install(site, "two", {"ram": "broken_engine:factory"})
    message = str(refusal("ram"))
    assert "one" in message
    assert "two" in message
    assert "ram_engine" not in sys.modules


def test_an_error_of_the_engine_itself_is_passed_on(site):
    code = "from hypercache.errors import StoreLockedError\n"
    code += "def factory(path, options): raise StoreLockedError('here', 7)\n"
    install(site, "busy", {"busy": "broken_engine:factory"}, broken_engine=code)
    with pytest.raises(HyperCacheError, match="here is open in process 7"):
        open_engine(engine="busy")


def test_entry_points_are_read_only_for_a_name_that_is_not_built_in(tmp_path):
    code = """
        import sys
        from hypercache import Cache
        Cache().close()
        Cache(sys.argv[1]).close()
        print("hypercache.engines.registered" in sys.modules)
    """
    assert run_python(code, tmp_path / "store").strip() == "False"

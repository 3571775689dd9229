"""The helpers that ship for tests of an engine."""

import pkgutil

import pytest

import hypercache.testing
from hypercache.testing.engine_conformance import EngineConformance
from hypercache.testing.files import difference, flipped, snapshot, unchanged
from hypercache.testing.opened import Opened
from hypercache.testing.threads import Threads
from tests.support.processes import run_python

HELPERS = [
    f"hypercache.testing.{name}"
    for _, name, is_package in pkgutil.iter_modules(hypercache.testing.__path__)
    if not is_package and name != "plugin"
]


def test_only_the_suite_and_the_plugin_need_pytest():
    code = f"""
        import sys
        import hypercache.testing, {", ".join(HELPERS)}
        print("pytest" in sys.modules)
    """
    assert run_python(code).strip() == "False"


def test_a_suite_without_open_says_what_is_missing(tmp_path):
    class TestMine(EngineConformance):
        pass

    with pytest.raises(NotImplementedError, match=r"TestMine must override open"):
        TestMine().open(tmp_path, None)


def test_an_error_in_a_thread_fails_the_test_and_stops_the_others():
    def run():
        with Threads() as threads:
            threads.start(threads.stopping.wait)
            threads.start(lambda: 1 // 0)
            threads.join()

    with pytest.raises(ZeroDivisionError):
        run()


def test_a_changed_file_is_found_and_named(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    before = snapshot(tmp_path)
    with flipped([(tmp_path / "file", 1)]):
        assert difference(before, snapshot(tmp_path)) == "file: 3 bytes -> 3 bytes"
    with unchanged(tmp_path):
        pass
    lost = pytest.raises(AssertionError, match="file: 3 bytes -> absent")
    with lost, unchanged(tmp_path):
        (tmp_path / "file").unlink()


class Fake:
    def __init__(self, problems):
        self.problems, self.closed = problems, False

    def check(self):
        return self

    def close(self):
        self.closed = True


def test_what_a_check_finds_at_the_end_fails_the_test_and_all_is_closed():
    everything = Opened()
    opened = [everything.add(Fake([problem])) for problem in ("first", "second")]
    with pytest.raises(AssertionError, match=r"second\n\s*first"):
        everything.check_and_close()
    assert all(one.closed for one in opened)

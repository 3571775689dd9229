"""A recovery takes a store with all its namespaces."""

import json
import os

import pytest
from click.testing import CliRunner

from hypercache import Cache
from hypercache.cli.recover import main
from hypercache.paths import StorePaths
from tests.support.files import unchanged

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def store(tmp_path, engine):
    path = tmp_path / "store"
    with Cache(path, engine=engine) as cache:
        cache["key"] = 0
        for name in ("damaged", "whole"):
            cache.namespace(name).set_many({"a": name, "b": 2})
    return path


def recover(*arguments):
    return CliRunner().invoke(main, [os.fspath(each) for each in arguments])


def damage(path):
    """Damage what recovery can do without."""
    with open(StorePaths(str(path)).namespace("damaged").store, "wb") as file:
        file.write(b"{}")


def test_all_of_them_are_examined_and_the_worst_decides(store):
    with unchanged(store):
        assert recover(store).exit_code == 0
    damage(store)
    with unchanged(store):
        result = recover(store)
        fields = json.loads(recover(store, "--json").stdout)
    assert result.exit_code == max(1, result.exit_code)
    assert "namespace damaged:" in result.stdout
    assert f"hypercache-recover {store} --output {store}.recovered" in result.stdout
    assert fields["verdict"] == "clean"
    assert fields["namespaces"]["whole"]["verdict"] == "clean"
    assert fields["namespaces"]["damaged"]["verdict"] != "clean"


def test_all_of_them_are_repaired_into_one_store(store, engine, tmp_path):
    damage(store)
    output = tmp_path / "output"
    with unchanged(store):
        fields = json.loads(recover(store, "--output", output, "--json").stdout)
    assert fields["output"] == str(output)
    inner = StorePaths(str(output)).namespace("damaged").root
    assert fields["namespaces"]["damaged"]["output"] == inner
    with Cache(output, engine=engine) as cache:
        assert cache.check().ok
        assert cache["key"] == 0
        assert cache.namespaces() == ["damaged", "whole"]
        for name in ("damaged", "whole"):
            assert dict(cache.namespace(name).scan()) == {b"a": name, b"b": 2}
    assert sorted(os.listdir(tmp_path)) == ["output", "store"]


def test_without_an_output_that_is_new_nothing_is_written(store, tmp_path):
    output = tmp_path / "output"
    output.mkdir()
    (output / "file").touch()
    assert recover(store, "--output", output).exit_code == 2
    assert os.listdir(output) == ["file"]


def test_one_that_is_open_keeps_the_others_from_being_copied(store, engine, tmp_path):
    inner = StorePaths(str(store)).namespace("whole").root
    with Cache(inner, engine=engine):
        result = recover(store, "--output", tmp_path / "output")
    assert result.exit_code == 4
    assert sorted(os.listdir(tmp_path)) == ["store"]


def test_what_a_drop_has_left_is_no_harm(store):
    os.mkdir(StorePaths(str(store)).dropped(1))
    os.mkdir(store / "namespaces" / "Strange")
    result = recover(store)
    assert result.exit_code == 0
    assert "namespaces/Strange: it is no part of the store; no harm" in result.stdout
    assert "it was not finished, and does not count; no harm" in result.stdout

"""hypercache.dbm has the shape of the standard dbm modules, so that shelve works."""

import os
import shelve

import pytest

import hypercache.dbm
from hypercache import Cache
from hypercache.errors import CorruptionError, LimitError, StoreLockedError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "database"


def test_what_is_stored_is_there_after_a_reopen_as_bytes(path):
    with hypercache.dbm.open(path, "c") as database:
        database["text"] = "\u00fc"
        database[b"bytes"] = b"\x00"
        database["empty"] = b""
        assert database["text"] == database[b"text"] == "\u00fc".encode()
    with hypercache.dbm.open(path) as database:
        assert database.keys() == [b"bytes", b"empty", b"text"]
        assert dict(database) == {
            b"bytes": b"\x00", b"empty": b"", b"text": b"\xc3\xbc",
        }  # fmt: skip
        assert len(database) == 3


def test_keys_can_be_walked_as_in_gdbm(path):
    with hypercache.dbm.open(path, "c") as database:
        assert database.firstkey() is None
        for key in ("b", "a", "ab"):
            database[key] = key
        found, key = [], database.firstkey()
        while key is not None:
            found.append(key)
            key = database.nextkey(key)
        assert found == [b"a", b"ab", b"b"]


def test_the_mapping_methods_work(path):
    with hypercache.dbm.open(path, "c") as database:
        assert database.setdefault(b"a", b"1") == b"1"
        assert database.get("absent") is None
        assert "a" in database
        assert 1 not in database
        database.update({b"b": b"2", b"c": b"3"})
        assert database.pop(b"b") == b"2"
        del database["c"]
        with pytest.raises(KeyError):
            del database["c"]
        with pytest.raises(KeyError):
            database["c"]
        database.sync()
        database.reorganize()
        database.clear()
        assert len(database) == 0


@pytest.mark.parametrize("flag", ["r", "w"])
def test_a_database_that_is_not_there_is_an_error_and_nothing_is_made(path, flag):
    with pytest.raises(hypercache.dbm.error, match="flag 'c'"):
        hypercache.dbm.open(path, flag)
    assert not path.exists()


def test_flag_n_begins_anew_and_w_goes_on(path):
    for flag, expected in [("c", 1), ("w", 2), ("n", 1)]:
        with hypercache.dbm.open(path, flag) as database:
            database[flag] = "x"
            assert len(database) == expected


def test_an_unknown_flag_is_refused(path):
    with pytest.raises(ValueError, match="flag='x'"):
        hypercache.dbm.open(path, "x")


def test_a_database_opened_to_be_read_cannot_be_written(path):
    hypercache.dbm.open(path, "c").close()
    with (
        hypercache.dbm.open(path) as database,
        pytest.raises(hypercache.dbm.error, match="read"),
    ):
        database["a"] = "1"


def test_behind_close_everything_is_an_error(path):
    database = hypercache.dbm.open(path, "c")
    database.close()
    database.close()
    with pytest.raises(hypercache.dbm.error, match="closed"):
        database["a"]
    with pytest.raises(hypercache.dbm.error, match="closed"):
        len(database)


def test_errors_of_the_store_are_errors_of_dbm_with_their_cause(path):
    with hypercache.dbm.open(path, "c") as database:
        database["a"] = "1"
        with pytest.raises(hypercache.dbm.error) as caught:
            hypercache.dbm.open(path, "w")
        assert isinstance(caught.value.__cause__, StoreLockedError)
    (path / "STORE").write_bytes(b"damaged")
    with pytest.raises(hypercache.dbm.error) as caught:
        hypercache.dbm.open(path, "w")
    assert isinstance(caught.value.__cause__, CorruptionError)


@pytest.mark.parametrize(("key", "error"), [(7, TypeError), (b"", LimitError)])
def test_what_is_no_key_stays_the_callers_mistake(path, key, error):
    with hypercache.dbm.open(path, "c") as database, pytest.raises(error):
        database[key] = "1"


@pytest.mark.parametrize("value", [7, None, ["list"]])
def test_a_value_is_bytes_or_str(path, value):
    with hypercache.dbm.open(path, "c") as database, pytest.raises(TypeError):
        database["a"] = value


def test_shelve_works_on_it_with_and_without_writeback(path):
    with shelve.Shelf(hypercache.dbm.open(path, "c")) as shelf:
        shelf["a"] = {"list": [1]}
        shelf["b"] = ("tuple",)
    with shelve.Shelf(hypercache.dbm.open(path, "w"), writeback=True) as shelf:
        shelf["a"]["list"].append(2)
        assert sorted(shelf) == ["a", "b"]
    with shelve.Shelf(hypercache.dbm.open(path)) as shelf:
        assert dict(shelf) == {"a": {"list": [1, 2]}, "b": ("tuple",)}
        assert len(shelf) == 2
        assert "a" in shelf
        assert shelf.get("c", 5) == 5


@pytest.mark.parametrize("flag", ["r", "w", "c", "n"])
def test_what_is_no_database_is_an_error_of_dbm_and_stays_as_it_is(path, flag):
    with Cache(path / "typed") as cache:
        cache["a"] = 1
    (path / "file").write_bytes(b"something")
    for place in (path / "typed", path / "file"):
        with pytest.raises(hypercache.dbm.error):
            hypercache.dbm.open(place, flag)
    assert (path / "file").read_bytes() == b"something"
    with Cache(path / "typed") as cache:
        assert cache["a"] == 1


def test_setdefault_stores_the_empty_value_by_default(path):
    with hypercache.dbm.open(path, "c") as database:
        assert database.setdefault("a") == b""
        assert database.setdefault("a", "1") == b""
        assert database.setdefault("b", "2") == b"2"


def test_a_path_of_bytes_will_do(path):
    with hypercache.dbm.open(os.fsencode(path), "c") as database:
        database["a"] = "1"
    with hypercache.dbm.open(path) as database:
        assert database["a"] == b"1"

"""get, set, del and scan read and write a real store."""

import json
import pickle

import pytest

import hypercache


def test_what_set_stores_get_prints(run, tmp_path):
    path = tmp_path / "new"
    assert run("set", path, "key", "a value").stdout == "1\n"
    assert run("get", path, "key").stdout == "a value\n"


def test_set_stores_text_that_looks_like_a_number_as_text(run, tmp_path):
    run("set", tmp_path / "new", "key", "12")
    with hypercache.Cache(tmp_path / "new") as cache:
        assert cache.get("key") == "12"


def test_set_with_json_stores_the_parsed_value(run, store):
    assert run("set", store, "key", '{"a": [1, 2.5, null]}', "--json").exit_code == 0
    with hypercache.Cache(store) as cache:
        assert cache.get("key") == {"a": [1, 2.5, None]}


def test_set_returns_the_next_lsn_each_time(run, store):
    assert run("set", store, "a", "1").stdout == "4\n"
    assert run("set", store, "b", "2").stdout == "5\n"


def test_set_with_a_ttl_makes_the_key_expire(run, store):
    run("set", store, "key", "soon gone", "--ttl", "3600")
    answer = json.loads(run("get", store, "key", "--json").stdout)
    assert 3500 < answer.pop("ttl") <= 3600
    assert answer == {"key": "key", "value": "soon gone"}


def test_set_reads_standard_input_for_a_dash(run, store):
    assert run("set", store, "key", "-", stdin=b"two\nlines\n").exit_code == 0
    assert run("get", store, "key", "--raw").stdout == "two\nlines\n"


def test_set_reads_a_file(run, store, tmp_path):
    source = tmp_path / "source.json"
    source.write_text("[1]", encoding="utf-8")
    assert run("set", store, "key", "--file", source, "--json").exit_code == 0
    assert run("get", store, "key").stdout == "[1]\n"


@pytest.mark.parametrize("arguments", [["key"], ["key", "value", "--file", "-"]])
def test_set_wants_exactly_one_value(run, store, arguments):
    result = run("set", store, *arguments)
    assert result.exit_code == 2
    assert "either VALUE or --file" in result.stderr


def test_a_store_of_bytes_takes_and_gives_bytes(run, tmp_path):
    path = tmp_path / "bytes"
    hypercache.Cache(path, serializer="bytes").close()
    assert run("set", path, "key", "-", stdin=b"\x00\xff").exit_code == 0
    assert run("get", path, "key", "--raw").stdout_bytes == b"\x00\xff"
    assert run("get", path, "key").stdout == '{"base64": "AP8="}\n'


def test_a_store_of_json_is_opened_as_one(run, tmp_path):
    path = tmp_path / "json"
    hypercache.Cache(path, serializer="json").close()
    assert run("set", path, "key", "[1, 2]", "--json").exit_code == 0
    with hypercache.Cache(path, serializer="json") as cache:
        assert cache.get("key") == [1, 2]


def test_values_of_an_unknown_serializer_are_shown_as_their_bytes(run, tmp_path):
    with hypercache.Cache(tmp_path / "custom", serializer=pickle) as cache:
        cache.set("key", "value")
    shown = run("get", tmp_path / "custom", "key", "--raw").stdout_bytes
    assert shown == pickle.dumps("value")


def test_a_store_of_an_unknown_serializer_is_not_written_to(run, tmp_path):
    hypercache.Cache(tmp_path / "custom", serializer=pickle).close()
    result = run("set", tmp_path / "custom", "key", "value")
    assert result.exit_code == 2
    assert "a serializer of its program's own" in result.stderr


def test_get_of_an_absent_key_exits_with_1(run, store):
    result = run("get", store, "cherry")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "hypercache: there is no key cherry\n"


def test_get_tells_a_stored_none_from_an_absent_key(run, store):
    run("set", store, "none", "null", "--json")
    result = run("get", store, "none")
    assert (result.exit_code, result.stdout) == (0, "null\n")


def test_get_raw_is_refused_for_a_value_without_bytes(run, store):
    result = run("get", store, "bread", "--raw")
    assert result.exit_code == 2
    assert "leave out --raw" in result.stderr


def test_del_counts_the_keys_that_were_present(run, store):
    assert run("del", store, "apple", "cherry", "apple").stdout == "1\n"
    assert run("del", store, "bread", "--json").stdout == '{"deleted": 1}\n'
    with hypercache.Cache(store) as cache:
        assert list(cache) == [b"\xff"]


def test_scan_prints_the_entries_in_key_order(run, store):
    assert run("scan", store).stdout.splitlines() == [
        'apple\t"green"',
        'bread\t{"grain": ["rye", null], "slices": 12}',
        '\\xff\t{"base64": "/g=="}',
    ]


def test_scan_with_json_prints_one_object_per_line(run, store):
    lines = [
        json.loads(line)
        for line in run("scan", store, "--json").stdout.split("\n")
        if line
    ]
    assert lines[0] == {"key": "apple", "value": "green"}
    assert lines[2] == {"key": {"base64": "/w=="}, "value": {"base64": "/g=="}}


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (["--prefix", "a"], ["apple"]),
        (["--start", "apple", "--stop", "bread"], ["apple"]),
        (["--start", "b"], ["bread", "\\xff"]),
        (["--start", b"\xff"], ["\\xff"]),
        (["--reverse"], ["\\xff", "bread", "apple"]),
        (["--reverse", "--limit", "2"], ["\\xff", "bread"]),
        (["--limit", "0"], []),
    ],
)
def test_scan_keeps_to_its_bounds(run, store, options, keys):
    assert run("scan", store, "--keys-only", *options).stdout.split() == keys


def test_a_key_that_is_not_utf8_can_be_named(run, store):
    assert run("get", store, b"\xff", "--raw").stdout_bytes == b"\xfe"


def test_control_characters_in_a_key_do_not_reach_the_terminal(run, store):
    run("set", store, "a\n\x1b[2J", "x")
    assert run("scan", store, "--prefix", "a\n").stdout == 'a\\n\\x1b[2J\t"x"\n'

"""What callers pass becomes what engines take, or is refused by name."""

import math
import os
from datetime import timedelta
from pathlib import Path

import pytest

from hypercache import arguments
from hypercache.arguments import (
    MAX_TTL_MS,
    absolute,
    integer,
    key_bytes,
    key_range,
    known_tuning,
    limit,
    successor,
    ttl_ms,
)
from hypercache.errors import ArgumentTypeError, ConfigError, LimitError


class Name(str):
    __slots__ = ()


class Blob(bytes):
    __slots__ = ()


def test_a_key_is_its_bytes():
    assert key_bytes(b"\x00\xff") == b"\x00\xff"
    assert key_bytes("\u00fc\U0001f600") == "\u00fc\U0001f600".encode()
    assert key_bytes(Name("k")) == b"k"
    assert type(key_bytes(Blob(b"k"))) is bytes


@pytest.mark.parametrize("key", [None, 1, bytearray(b"k"), ("k",), "\ud800"], ids=repr)
def test_a_key_of_another_kind_is_refused_and_shown(key):
    with pytest.raises(ArgumentTypeError, match="key"):
        key_bytes(key)


@pytest.mark.parametrize(
    ("ttl", "expected"),
    [
        (None, 0),
        (math.inf, 0),
        (1, 1_000),
        (0.25, 250),
        (timedelta(minutes=2), 120_000),
        (timedelta(microseconds=1), 1),
        (1e-9, 1),
        (1e300, MAX_TTL_MS),
        (timedelta.max, MAX_TTL_MS),
    ],
)
def test_a_ttl_is_milliseconds_at_least_one_and_0_for_never(ttl, expected):
    assert ttl_ms(ttl) == expected


def test_an_int_too_large_for_a_float_is_a_very_long_ttl():
    assert ttl_ms(10**400) == MAX_TTL_MS


@pytest.mark.parametrize("ttl", [0, -1, -0.0, math.nan, -math.inf, timedelta(-1)])
def test_a_ttl_that_is_not_above_zero_is_refused(ttl):
    with pytest.raises(LimitError, match="above 0"):
        ttl_ms(ttl)


@pytest.mark.parametrize("ttl", [True, "1", b"1", [1], 1j])
def test_a_ttl_of_another_kind_is_refused(ttl):
    with pytest.raises(ArgumentTypeError, match="ttl"):
        ttl_ms(ttl)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        (b"a", b"b"),
        (b"a\xff", b"b"),
        (b"a\xfe\xff\xff", b"a\xff"),
        (b"\xff", None),
        (b"", None),
        (b"\x00", b"\x01"),
    ],
)
def test_the_successor_is_above_all_keys_with_the_prefix(prefix, expected):
    assert successor(prefix) == expected
    if expected is not None:
        assert prefix + b"\xff" * 50 < expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((None, None, None), (None, None)),
        (("a", None, None), (b"a", b"b")),
        (("b", "a", "z"), (b"b", b"c")),
        (("b", "bm", "bz"), (b"bm", b"bz")),
        ((None, "a", b"b"), (b"a", b"b")),
        ((b"\xff", None, None), (b"\xff", None)),
        (("", None, "m"), (b"", b"m")),
    ],
)
def test_a_range_is_what_prefix_start_and_stop_have_in_common(given, expected):
    assert key_range(*given) == expected


def test_a_limit_is_a_count():
    assert limit(None) is None
    assert limit(0) == 0
    assert limit(7) == 7
    with pytest.raises(LimitError, match="-1"):
        limit(-1)
    for wrong in (1.0, "1", True):
        with pytest.raises(ArgumentTypeError):
            limit(wrong)


def test_an_int_is_an_int_and_nothing_else():
    assert integer(-(2**80)) == -(2**80)
    for wrong in (True, 1.0, "1", None):
        with pytest.raises(ArgumentTypeError, match=r"b'k'.*int"):
            integer(wrong, b"k")


def test_tuning_options_are_known_by_name():
    tuning = {"segment_bytes": 1, "fold_batch": 2}
    assert known_tuning(tuning) == tuning
    with pytest.raises(ConfigError, match=r"segment_byte\b.*segment_bytes"):
        known_tuning({"segment_byte": 1})
    for name in arguments.TUNING:
        assert known_tuning({name: 1})


def test_a_path_is_made_absolute():
    here = str(Path.cwd())
    assert absolute("a/../b") == f"{here}/b"
    assert absolute(Path("/x/y")) == "/x/y"
    assert absolute(os.fsencode("/x")) == "/x"
    for wrong in ("", "a\0b", 5, None):
        with pytest.raises(ConfigError, match="path="):
            absolute(wrong)

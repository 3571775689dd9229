"""Every value of a cache has a printed form, and it is the documented one."""

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from msgpack import ExtType

from hypercache.cli.printing import json_text, key_text, value_text
from hypercache.errors import LimitError

ZERO_UUID = UUID(int=0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (1 << 70, 1 << 70),
        (0.5, 0.5),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (b"text", "text"),
        (b"\xff\x00", {"base64": "/wA="}),
        ((1, (2,)), [1, [2]]),
        (frozenset({1}), [1]),
        ({"a": {b"b"}}, {"a": ["b"]}),
        ({1: "a", "b": None}, {"items": [[1, "a"], ["b", None]]}),
        (datetime(2024, 5, 1, 12, tzinfo=UTC), "2024-05-01T12:00:00+00:00"),
        (date(2024, 5, 1), "2024-05-01"),
        (time(1, 2, 3), "01:02:03"),
        (timedelta(minutes=1.5), 90.0),
        (Decimal("1.10"), "1.10"),
        (ZERO_UUID, str(ZERO_UUID)),
        (ExtType(64, b"\xff"), {"ext": 64, "base64": "/w=="}),
        ("\ud800", "\ud800"),
    ],
)
def test_a_value_is_printed_as_documented(value, expected):
    assert json.loads(json_text(value)) == expected


def test_text_is_printed_as_it_is_and_the_rest_as_json():
    assert value_text('"a"\n') == '"a"\n'
    assert value_text(b"bytes") == "bytes"
    assert value_text(["a"]) == '["a"]'


def test_a_lone_surrogate_is_printed_as_its_escape(run, store):
    run("set", store, "key", '["\\ud800"]', "--json")
    assert run("get", store, "key").stdout == '["\\ud800"]\n'


def test_letters_stay_letters():
    assert json_text("gr\u00fcn") == '"gr\u00fcn"'
    assert key_text("gr\u00fcn".encode()) == "gr\u00fcn"


def test_a_value_that_is_too_deep_is_refused():
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(LimitError, match="too deeply"):
        json_text(value)

"""Attributes and records come back as they were, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercache.attributes import (
    ATTRIBUTED,
    Attributed,
    Attributes,
    Record,
    attributed,
    parse,
    record,
)
from hypercache.codec import Codec
from hypercache.errors import DeserializationError

short = st.binary(max_size=20)
numbers = st.integers(0, 2**53)
some = st.builds(
    Attributes, st.lists(st.tuples(short, short)).map(tuple), numbers, numbers
)
STORED = Codec().encode(["value"])


@given(attributes=some)
def test_attributes_come_back_with_the_value_behind_them(attributes):
    assert parse(attributed(attributes, STORED)) == Attributed(attributes, STORED)


@given(payload=short)
def test_a_record_comes_back(payload):
    assert parse(record(payload)) == Record(payload)


@given(value=st.binary() | st.text() | st.integers() | st.none(), attributes=some)
@pytest.mark.parametrize("name", ["msgpack", "json", "bytes"])
@pytest.mark.parametrize("smallest", [None, 0])
def test_a_codec_splits_what_it_has_put_together(name, smallest, value, attributes):
    codec = Codec(name, smallest)
    if name != "msgpack":
        value = {"json": repr(value), "bytes": repr(value).encode()}[name]
    found = codec.split(codec.with_attributes(value, attributes))
    assert found.attributes == attributes
    assert codec.decode(found.stored) == value
    assert codec.split(codec.encode(value)) is None


@given(value=st.binary() | st.text() | st.integers() | st.none(), attributes=some)
def test_so_does_one_that_keeps_values_as_they_are(value, attributes):
    codec = Codec().in_ram()
    found = codec.split(codec.with_attributes(value, attributes))
    assert found.attributes == attributes
    assert codec.decode(found.stored) == value
    assert codec.split(codec.encode(value)) is None


def test_a_value_that_looks_like_one_is_not_taken_for_one():
    for data in (record(b"x"), attributed(Attributes(), STORED)):
        assert Codec("bytes").decode(Codec("bytes").encode(data)) == data
        kept = Codec().in_ram()
        assert kept.decode(kept.encode(data)) == data


@pytest.mark.parametrize(
    "damaged",
    [
        ATTRIBUTED,
        ATTRIBUTED + b"\xff\xff\xff\xff",
        ATTRIBUTED + b"\x01\0\0\0\xc0",
        attributed(Attributes(), record(b"")),
        attributed(Attributes(), attributed(Attributes(), STORED)),
        attributed(Attributes((("text", b"generation"),)), STORED),
        attributed(Attributes(((b"tag", 7),)), STORED),
        attributed(Attributes((), 1.5), STORED),
        attributed(Attributes((), 1, None), STORED),
    ],
    ids=range(9),
)
def test_what_was_not_written_like_this_is_an_error(damaged):
    with pytest.raises(DeserializationError, match="hypercache check"):
        parse(damaged)


@given(attributes=some, data=st.data())
def test_a_cut_is_an_error_or_cuts_the_value_alone(attributes, data):
    whole = attributed(attributes, STORED)
    cut = whole[: data.draw(st.integers(2, len(whole) - 1))]
    if len(cut) >= len(whole) - len(STORED):
        assert parse(cut).attributes == attributes
    else:
        with pytest.raises(DeserializationError):
            parse(cut)

"""Whatever the value, it comes back as it was; whatever the bytes, one error."""

import struct
from contextlib import suppress
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from msgpack import ExtType, packb

from hypercache.codec import COMPRESSED, ESCAPED, MARKER, Codec
from hypercache.errors import DeserializationError, SerializationError

PLAIN = {name: Codec(name) for name in ("msgpack", "json", "bytes")}
SQUEEZED = {name: Codec(name, 0) for name in ("msgpack", "json", "bytes")}

offsets = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)
any_text = st.text(st.characters(exclude_categories=()))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.floats(),
    any_text,
    st.binary(),
    st.datetimes(timezones=st.none() | offsets | st.timezones()),
    st.dates(),
    st.times(timezones=st.none() | offsets),
    st.timedeltas(),
    st.decimals().filter(lambda number: not number.is_snan()),  # has no hash
    st.uuids(),
)
hashables = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4)
    ),
    max_leaves=8,
)
values = st.recursive(
    hashables,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(hashables, inner, max_size=5),
        st.sets(hashables, max_size=5),
    ),
    max_leaves=25,
)
json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5)
    ),
    max_leaves=25,
)


def shape(value):
    """Return text that is the same for two values only if nothing tells them apart."""
    kind = type(value).__name__
    if isinstance(value, dict):
        parts = [f"{shape(key)}: {shape(part)}" for key, part in value.items()]
    elif isinstance(value, (set, frozenset)):
        parts = sorted(shape(part) for part in value)
    elif isinstance(value, (list, tuple)):
        parts = [shape(part) for part in value]
    elif isinstance(value, float):
        parts = [struct.pack(">d", value).hex()]
    elif isinstance(value, Decimal):
        parts = [repr(value.as_tuple())]
    elif isinstance(value, (datetime, time)):
        naive = value.replace(tzinfo=None)
        parts = [repr(naive), repr(value.utcoffset()), str(value.fold)]
    else:
        parts = [repr(value)]
    return f"{kind}({', '.join(parts)})"


@settings(deadline=None, max_examples=100)
@given(values)
def test_value_comes_back_as_it_was(value):
    for codec in (PLAIN["msgpack"], SQUEEZED["msgpack"]):
        found = codec.decode(codec.encode(value))
        assert shape(found) == shape(value)


@settings(deadline=None, max_examples=60)
@given(json_values)
def test_json_value_comes_back_as_it_was(value):
    for codec in (PLAIN["json"], SQUEEZED["json"]):
        assert shape(codec.decode(codec.encode(value))) == shape(value)


@settings(deadline=None, max_examples=60)
@given(st.binary(), st.sampled_from([b"", MARKER, ESCAPED, COMPRESSED]))
def test_bytes_come_back_as_they_were(value, prefix):
    for codec in (PLAIN["bytes"], SQUEEZED["bytes"]):
        assert codec.decode(codec.encode(prefix + value)) == prefix + value


@settings(deadline=None, max_examples=60)
@given(values, st.integers(1, 20))
def test_compression_changes_nothing_but_the_size(value, times):
    value = [value] * times
    plain, squeezed = (c["msgpack"].encode(value) for c in (PLAIN, SQUEEZED))
    assert len(squeezed) <= len(plain)
    for codec in (PLAIN["msgpack"], SQUEEZED["msgpack"]):
        assert shape(codec.decode(plain)) == shape(codec.decode(squeezed))


@settings(deadline=None, max_examples=60)
@given(values)
def test_json_takes_a_value_whole_or_refuses_it(value):
    codec = PLAIN["json"]
    try:
        data = codec.encode(value)
    except SerializationError:
        return
    assert shape(codec.decode(data)) == shape(listed(value))


def listed(value):
    """Return a value with its tuples as lists, as JSON gives them back."""
    if isinstance(value, (list, tuple)):
        return [listed(part) for part in value]
    if isinstance(value, dict):
        return {key: listed(part) for key, part in value.items()}
    return value


@st.composite
def mutations(draw):
    """Draw stored values with a few bytes changed, cut, put in or doubled."""
    codec = draw(st.sampled_from([PLAIN, SQUEEZED]))["msgpack"]
    data = bytearray(codec.encode(draw(values)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["flip", "cut", "insert", "drop", "double"])):
            case "flip" if place < len(data):
                data[place] ^= draw(st.integers(1, 255))
            case "cut":
                del data[place:]
            case "insert":
                data[place:place] = draw(st.binary(min_size=1, max_size=4))
            case "drop":
                del data[place : place + draw(st.integers(1, 4))]
            case "double":
                data += data[place:]
    return bytes(data)


exts = st.builds(
    lambda code, data: packb(ExtType(code, data)),
    st.integers(0, 127),
    st.binary(max_size=24) | values.map(PLAIN["msgpack"].encode),
)
marked = st.builds(
    bytes.__add__, st.sampled_from([MARKER, ESCAPED, COMPRESSED]), st.binary()
)


@settings(deadline=None, max_examples=300)
@given(st.binary() | mutations() | exts | marked)
def test_any_bytes_decode_or_give_the_one_error(data):
    for codec in PLAIN.values():
        with suppress(DeserializationError):  # any other class fails the test
            codec.decode(data)


@settings(deadline=None, max_examples=100)
@given(st.binary() | mutations() | exts)
def test_what_decodes_can_be_stored_again(data):
    codec = PLAIN["msgpack"]
    try:
        value = codec.decode(data)
    except DeserializationError:
        return
    assert shape(codec.decode(codec.encode(value))) == shape(value)

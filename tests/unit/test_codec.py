"""The codec: what comes back, what is refused and how, and what lies on disk."""

import collections
import enum
import math
import pickle
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Context, Decimal, localcontext
from time import perf_counter
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import zstandard
from msgpack import ExtType, Timestamp, packb

from hypercache.codec import (
    COMPRESSED,
    ESCAPED,
    MARKER,
    MAX_DECOMPRESSED_BYTES,
    Codec,
)
from hypercache.errors import ConfigError, DeserializationError, SerializationError
from hypercache.packing import MsgpackSerializer, _measure

NAIVE = datetime(2024, 2, 29, 23, 59, 58, 123456)  # noqa: DTZ001  (naive on purpose)
SOME_UUID = UUID("12345678-1234-5678-1234-567812345678")


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


class Point(tuple[int, int]):
    __slots__ = ()


class NoOffset(tzinfo):
    def utcoffset(self, moment):
        return None


class Broken(tzinfo):
    def utcoffset(self, moment):
        raise KeyError("zone data is gone")


Pair = collections.namedtuple("Pair", "left right")


def round_trip(value, codec=None):
    codec = codec or Codec()
    return codec.decode(codec.encode(value))


def nested(depth, wrap, core=None):
    value = core
    for _ in range(depth):
        value = wrap(value)
    return value


# What comes back


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        2**63,
        2**64 - 1,
        2**64,
        -(2**63),
        -(2**63) - 1,
        10**100,
        -(10**100),
        1.5,
        math.inf,
        "",
        "text",
        "\u65e5\u672c",
        "\ud800 alone",
        "\ud83d\ude00",
        b"",
        b"\xc1\x00",
        [],
        [1, [2, (3,)]],
        (),
        (1, (2, [3])),
        {},
        {1: "int", "1": "str", b"1": "bytes", None: 0, (1, (2,)): 3, 2.5: 4},
        {frozenset({1, 2}): {"deep": {1, 2}}},
        set(),
        {1, "a", (2, 3)},
        frozenset({1, frozenset({2})}),
        {("\ud800", 1): {"\udfff"}},
        NAIVE,
        NAIVE.replace(fold=1),
        datetime.min,  # noqa: DTZ901  (naive on purpose)
        datetime.max,  # noqa: DTZ901
        datetime(2024, 1, 1, tzinfo=UTC),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-5, seconds=7))),
        date(2024, 2, 29),
        time(23, 59, 59, 999999),
        time(1, tzinfo=UTC),
        timedelta(days=-1, microseconds=1),
        timedelta.min,
        timedelta.max,
        Decimal("1.10"),
        Decimal("-0"),
        Decimal("1E+1000"),
        Decimal("-Infinity"),
        SOME_UUID,
        ExtType(64, b"the caller's"),
        Timestamp(1, 2),
    ],
    ids=lambda value: type(value).__name__,  # the repr of a set varies
)
def test_value_comes_back_equal_and_of_its_type(value):
    found = round_trip(value)
    assert found == value
    assert type(found) is type(value)


def test_types_inside_a_value_come_back_too():
    found = round_trip({"a": [(1, {2}), frozenset({(3,)})], "b": True})
    assert [type(part) for part in found["a"]] == [tuple, frozenset]
    assert type(found["a"][0][1]) is set
    assert found["b"] is True


def test_nan_and_negative_zero_come_back():
    assert math.isnan(round_trip(math.nan))
    assert math.copysign(1, round_trip(-0.0)) == -1
    assert round_trip(Decimal("NaN123")).as_tuple() == Decimal("NaN123").as_tuple()
    assert round_trip(Decimal("sNaN")).is_snan()


def test_dict_keeps_its_order():
    assert list(round_trip({"b": 1, "a": 2, 0: 3})) == ["b", "a", 0]


def test_zone_comes_back_as_its_offset():
    moment = datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    found = round_trip(moment)
    assert found == moment
    assert found.utcoffset() == timedelta(hours=2)
    assert type(found.tzinfo) is timezone


def test_fold_of_an_overlap_comes_back():
    zone = ZoneInfo("Europe/Berlin")
    for fold in (0, 1):
        moment = datetime(2024, 10, 27, 2, 30, tzinfo=zone, fold=fold)
        found = round_trip(moment)
        assert found.fold == fold
        assert found.timestamp() == moment.timestamp()


def test_decimal_does_not_depend_on_the_context_of_the_moment():
    codec, value = Codec(), Decimal("1E+1000")
    with localcontext(Context(prec=1, capitals=0, traps=[])):
        data = codec.encode(value)
        assert str(codec.decode(data)) == "1e+1000"
        with pytest.raises(DeserializationError):
            codec.decode(packb(ExtType(5, b"GARBAGE")))
    assert codec.encode(value) == data


def test_bytearray_and_memoryview_come_back_as_bytes():
    assert round_trip([bytearray(b"a"), memoryview(b"b")]) == [b"a", b"b"]


# What lies on disk


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"a": [1, None, 1.0]}, "81a1619301c0cb3ff0000000000000"),
        (b"ab", "c4026162"),
        ((1, 2), "c70301920102"),
        ({5}, "d5029105"),
        (frozenset({5}), "d5039105"),
        (2**64, "c70904010000000000000000"),
        (-(2**64), "c70904ff0000000000000000"),
        (Decimal("1.5E+9"), "c70605312e35452b39"),
        (SOME_UUID, "d80612345678123456781234567812345678"),
        (NAIVE, "c70c0707e8021d173b3a0001e24000"),
        (
            NAIVE.replace(tzinfo=timezone(timedelta(hours=-1)), fold=1),
            "c7140707e8021d173b3a0001e24001ffffffff296c5c00",
        ),
        (date(2024, 2, 29), "d60807e8021d"),
        (time(23, 59, 58, 1), "d709173b3a0000000100"),
        (time(1, tzinfo=UTC), "d80901000000000000000000000000000000"),
        (timedelta(-1, 2, 3), "c70c0affffffff0000000200000003"),
        ("\ud800", "a3eda080"),
    ],
    ids=repr,
)
def test_stored_bytes_are_those_of_the_format(value, stored):
    assert Codec().encode(value).hex() == stored
    assert Codec().decode(bytes.fromhex(stored)) == value


# What is refused, and how


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (Colour.RED, "int"),
        (Text("a"), "str"),
        (Pair(1, 2), "tuple"),
        (Point((1, 2)), "tuple"),
        (collections.OrderedDict(a=1), "dict"),
        (collections.defaultdict(list), "dict"),
        (collections.Counter("a"), "dict"),
    ],
)
def test_subclass_is_refused_because_it_would_change(value, base):
    for wrapped in (value, [value], (value,), {"a": value}):
        with pytest.raises(SerializationError, match=f"come back as a plain {base}"):
            Codec().encode(wrapped)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (object(), "value of type object"),
        ({"a": [1, 2, 3, object()]}, r"value\['a'\]\[3\] of type object"),
        ([({1: (0, object())},)], r"value\[0\]\[0\]\[1\]\[1\] of type object"),
        ({(1, Colour.RED): 2}, r"a key of value\[1\] of type .*Colour"),
        ([{Colour.RED}], r"an item of value\[0\] of type .*Colour"),
        ({"zone": NAIVE.replace(tzinfo=NoOffset())}, r"value\['zone'\] .*NoOffset"),
        ([NAIVE.replace(tzinfo=Broken())], r"value\[0\] .*zone data is gone"),
    ],
)
def test_message_says_where_the_value_is_to_blame(value, where):
    with pytest.raises(SerializationError, match=where) as caught:
        Codec().encode(value)
    assert "the msgpack serializer" in str(caught.value)
    assert "change the value, or give the cache a serializer" in str(caught.value)
    assert caught.value.__cause__ is not None
    assert isinstance(caught.value, TypeError)


def test_value_that_contains_itself_is_refused():
    circle, ring = [], ([],)
    circle.append({"again": circle})
    ring[0].append(ring)
    for value in (circle, ring, {"a": circle}):
        for codec in (Codec(), Codec("json")):
            with pytest.raises(SerializationError, match="contains itself"):
                codec.encode(value)


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {1: v}, lambda v: (v,)])
def test_every_depth_comes_back_or_is_refused(wrap):
    codec, outcomes = Codec(), set()
    for depth in [*range(20, 45), 257, 511, 512, *range(1019, 1029), 20_000]:
        try:
            data = codec.encode(nested(depth, wrap, 1))
        except SerializationError:
            outcomes.add("refused")
            continue
        outcomes.add("came back")
        found = codec.decode(data)
        for _ in range(depth):
            (found,) = found.values() if type(found) is dict else found
        assert found == 1
    assert outcomes == {"refused", "came back"}


def test_deepest_mixture_does_not_exhaust_the_stack():
    script = """
import sys, threading
sys.setrecursionlimit(1_000_000)
threading.stack_size(3 * 1024 * 1024)
from hypercache.codec import Codec
from hypercache.errors import SerializationError, DeserializationError

def nest(depth, lists):
    value = 1
    for _ in range(depth):
        value = (value,)
        for _ in range(lists):
            value = [value]
    return value

def run():
    try:
        Codec().decode(Codec().encode(nest(5, 1000)))
    except SerializationError:
        pass  # refused by msgpack before 1.2
    for depth, lists in ((4, 400), (40, 1000), (31, 5), (1000, 0), (1000, 5)):
        try:
            Codec().decode(Codec().encode(nest(depth, lists)))
        except SerializationError:
            print("refused", end=" ")
        else:
            print("ok", end=" ")
    data = b"\\x90"
    for _ in range(1000):
        data = b"\\x91\\xc9" + len(data).to_bytes(4, "big") + b"\\x01" + data
    try:
        Codec().decode(data)
    except DeserializationError:
        print("refused")

thread = threading.Thread(target=run)
thread.start()
thread.join()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "ok refused ok refused refused refused\n", done.stderr
    assert done.returncode == 0


def test_shared_parts_are_measured_once():
    # Each layer doubles: measuring every occurrence would never end.
    shared = nested(200, lambda part: [part, part], 1)
    start = perf_counter()
    _measure([shared])
    assert perf_counter() - start < 5


# Hostile bytes


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x01\x01",
        b"\xa5ab",
        b"\xa1\xff",
        b"\x81\x90\x01",
        b"\x81\x80\x01",
        b"\x91" * 100_000,
        b"\x81\x01" * 100_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xdd\x00\x0f\x42\x3f" * 1000 + bytes(999_999),
        packb(ExtType(1, b"")),
        packb(ExtType(1, b"\x01")),
        packb(ExtType(1, b"\xa1a")),
        packb(ExtType(1, b"\x80")),
        packb(ExtType(1, b"\x90\x90")),
        packb(ExtType(2, b"\x91\x90")),
        packb(ExtType(3, b"\x91\x80")),
        packb({ExtType(1, b"\x91\x90"): 1}),
        packb(ExtType(4, b"")),
        packb(ExtType(4, b"\x01")),
        packb(ExtType(5, b"")),
        packb(ExtType(5, b"garbage")),
        packb(ExtType(5, b" 1 ")),
        packb(ExtType(5, b"1_0")),
        packb(ExtType(5, b"1E+99999999999999999999999")),
        packb(ExtType(5, "\u0663".encode())),
        packb(ExtType(6, b"short")),
        packb(ExtType(7, b"")),
        packb(ExtType(7, bytes(12))),
        packb(ExtType(7, bytes.fromhex("07e8021e173b3a0001e24000"))),
        packb(ExtType(7, bytes.fromhex("07e8021d173b3a0001e24002"))),
        packb(ExtType(7, bytes.fromhex("07e8021d173b3a0001e240017fffffffffffffff"))),
        packb(ExtType(8, bytes(4))),
        packb(ExtType(9, b"\x18" + bytes(7))),
        packb(ExtType(10, bytes.fromhex("7fffffff0000000000000000"))),
        packb(ExtType(10, bytes.fromhex("000000000001518000000000"))),
        packb(ExtType(11, b"from a later version")),
        packb(ExtType(63, b"")),
        b"\xd4\xfe\x00",
        b"\xc7\x03\xffabc",
        b"\xc7\x0c\xff" + b"\xff" * 12,
        MARKER + b"\x00",
        MARKER + b"\x00plain needed no escape",
        MARKER + b"\x01",
        MARKER + b"\x02",
        MARKER + b"\x01not zstd",
    ],
    ids=lambda data: data[:20].hex(),
)
def test_hostile_bytes_give_the_one_error(data):
    with pytest.raises(DeserializationError):
        Codec().decode(data)
    if data[:1] == MARKER:
        with pytest.raises(DeserializationError):
            Codec("bytes").decode(data)


def test_message_of_a_failed_decode_says_what_to_do():
    with pytest.raises(DeserializationError, match="hypercache check") as caught:
        Codec().decode(b"\x01\x02\x03")
    assert "msgpack" in str(caught.value)
    assert "3 bytes" in str(caught.value)
    assert caught.value.__cause__ is not None


# JSON


def test_json_is_compact_utf8():
    stored = '{"a":[1,null,"\u65e5"]}'.encode()
    assert Codec("json").encode({"a": [1, None, "\u65e5"]}) == stored


def test_json_gives_tuples_back_as_lists():
    assert round_trip({"a": (1, (2,))}, Codec("json")) == {"a": [1, [2]]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1: 2}, "JSON keys are str, one here is int"),
        ({"a": {None: 2}}, r"value\['a'\] of type dict: JSON keys are str"),
        ([math.nan], r"value\[0\] of type float"),
        (-math.inf, "value of type float"),
        ({"a": b"x"}, r"value\['a'\] of type bytes"),
        ({1, 2}, "of type set"),
        (Colour.RED, "plain int"),
        (Pair(1, 2), "plain tuple"),
        (collections.OrderedDict(), "plain dict"),
        ("\ud800", "surrogates not allowed"),
        (NAIVE, "of type datetime.datetime"),
        (nested(20_000, lambda v: [v]), "levels of nesting"),
        (10**5000, "4300 digits"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_json_refuses_what_it_would_change(value, message):
    with pytest.raises(SerializationError, match=message):
        Codec("json").encode(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"NaN",
        b"[-Infinity]",
        b"{",
        b"1 2",
        b"\xff\xfe1\x00",
        b"[" * 100_000,
        b"9" * 5000,
        b"\xef\xbb\xbf1",
        b'"\xed\xa0\x80"',
    ],
    ids=lambda data: data[:20].hex(),
)
def test_json_decodes_nothing_else(data):
    with pytest.raises(DeserializationError, match="json"):
        Codec("json").decode(data)


# Bytes


@pytest.mark.parametrize("value", [b"", b"a", b"x" * 1000])
def test_bytes_are_never_copied(value):
    codec = Codec("bytes")
    assert codec.encode(value) is value
    assert codec.decode(value) is value


@pytest.mark.parametrize("value", [MARKER, MARKER * 3, ESCAPED, COMPRESSED + b"abc"])
@pytest.mark.parametrize("compress_min_bytes", [None, 0])
def test_bytes_that_begin_with_the_marker_are_escaped(value, compress_min_bytes):
    codec = Codec("bytes", compress_min_bytes)
    assert codec.encode(value) == ESCAPED + value
    assert Codec("bytes").decode(ESCAPED + value) == value


@pytest.mark.parametrize("value", [bytearray(b"a"), memoryview(b"a"), Text("a"), 1])
def test_bytes_takes_nothing_but_bytes(value):
    wrappable = isinstance(value, (bytearray, memoryview))
    with pytest.raises(
        SerializationError, match="bytes\\(\\)" if wrappable else "only"
    ):
        Codec("bytes").encode(value)


# Custom serializers


class Returns:
    def __init__(self, result):
        self.result = result

    def dumps(self, value):
        return self.result

    def loads(self, data):
        return data


class Fails:
    def dumps(self, value):
        raise ZeroDivisionError("no dumps")

    def loads(self, data):
        raise ZeroDivisionError("no loads")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_custom_serializer_may_return_any_kind_of_bytes(kind):
    for content in (b"", b"abc", MARKER + b"abc"):
        codec = Codec(Returns(kind(content)))
        data = codec.encode(None)
        assert type(data) is bytes
        assert codec.decode(data) == content


@pytest.mark.parametrize("result", ["text", None, 7])
def test_custom_serializer_must_return_bytes(result):
    with pytest.raises(SerializationError, match=r"custom \(Returns\).*return bytes"):
        Codec(Returns(result)).encode(1)


def test_errors_of_a_custom_serializer_are_chained():
    codec = Codec(Fails())
    with pytest.raises(SerializationError, match=r"\(Fails\).*no dumps") as caught:
        codec.encode(1)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(DeserializationError, match=r"\(Fails\).*no loads") as caught:
        codec.decode(b"1")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_module_can_be_a_serializer():
    assert round_trip({Colour.RED}, Codec(pickle)) == {Colour.RED}


def test_serializer_name():
    choices = ["msgpack", "json", "bytes", pickle, MsgpackSerializer()]
    names = [Codec(choice).serializer_name for choice in choices]
    assert names == ["msgpack", "json", "bytes", "custom", "msgpack"]


# Compression


def test_compression_is_used_from_its_limit_on():
    codec = Codec("bytes", 100)
    assert codec.encode(b"a" * 99) == b"a" * 99
    assert codec.encode(b"a" * 100)[:2] == COMPRESSED
    assert codec.decode(codec.encode(b"a" * 100)) == b"a" * 100


def test_compression_is_not_used_where_it_gains_little():
    value = bytes(range(256)) * 2
    noise = bytes((i * i * 7919 + i * 31) % 251 for i in range(256))
    assert Codec("bytes", 0).encode(noise) == noise
    assert len(Codec("bytes", 0).encode(value)) < len(value)
    assert Codec("bytes", 0).encode(b"") == b""


def test_compressed_values_are_read_whatever_the_setting():
    value = {"text": "again and again " * 100}
    data = Codec("msgpack", 0, level=19).encode(value)
    assert data[:2] == COMPRESSED
    assert Codec("msgpack").decode(data) == value


def test_lying_or_missing_content_size_is_refused():
    plain = b"a" * 1000
    frame = zstandard.ZstdCompressor().compress(plain)
    sizeless = zstandard.ZstdCompressor(write_content_size=False).compress(plain)
    skippable = b"\x50\x2a\x4d\x18\x00\x00\x00\x00"
    lies = [
        sizeless,
        frame[:-1],
        frame + b"x",
        frame + frame,
        skippable,
        skippable + frame,
        claim(frame, 999),
        claim(frame, 1001),
        claim(frame, MAX_DECOMPRESSED_BYTES),
        claim(frame, MAX_DECOMPRESSED_BYTES + 1),
        claim(frame, 2**63),
    ]
    for lie in lies:
        with pytest.raises(DeserializationError, match="zstd"):
            Codec("bytes").decode(COMPRESSED + lie)


def claim(frame, size):
    """Return a single-segment frame whose header says another content size."""
    header = zstandard.frame_header_size(frame)
    return frame[:4] + b"\xe0" + size.to_bytes(8, "little") + frame[header:]


def test_claim_makes_valid_frames():
    frame = zstandard.ZstdCompressor().compress(b"a" * 1000)
    assert Codec("bytes").decode(COMPRESSED + claim(frame, 1000)) == b"a" * 1000


def test_bomb_is_refused_before_memory_is_taken():
    compressor = zstandard.ZstdCompressor().compressobj(MAX_DECOMPRESSED_BYTES + 1)
    block = bytes(1 << 20)
    pieces = [compressor.compress(block) for _ in range(MAX_DECOMPRESSED_BYTES >> 20)]
    bomb = b"".join([*pieces, compressor.compress(b"x"), compressor.flush()])
    assert len(bomb) < 1 << 20
    with pytest.raises(DeserializationError, match="claims to hold 1073741825"):
        Codec("bytes").decode(COMPRESSED + bomb)


def test_codec_is_shared_by_threads():
    codec, wrong = Codec("msgpack", 0), []

    def work(number):
        for turn in range(200):
            value = {"who": (number, turn), "text": f"{number} " * 200}
            if round_trip(value, codec) != value:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_codec_may_be_entered_again_while_it_packs():
    codec = Codec()

    class Entering(tzinfo):
        def utcoffset(self, moment):
            assert round_trip({"inner": (1, 2)}, codec) == {"inner": (1, 2)}
            return timedelta(0)

    moment = NAIVE.replace(tzinfo=Entering())
    found = round_trip(["before", moment, "after"], codec)
    assert found == ["before", NAIVE.replace(tzinfo=UTC), "after"]


# Settings and imports


@pytest.mark.parametrize(
    "settings",
    [
        {"compress_min_bytes": True},
        {"compress_min_bytes": -1},
        {"compress_min_bytes": 1.0},
        {"compress_min_bytes": "1"},
        {"level": 0},
        {"level": 23},
        {"level": True},
        {"level": None},
        {"serializer": None},
        {"serializer": 3.5},
    ],
    ids=str,
)
def test_wrong_setting_is_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Codec(**settings)


def test_unknown_serializer_names_the_known_ones():
    with pytest.raises(ConfigError, match="'msgpack', 'json', 'bytes'"):
        Codec("pickle")


def modules_after(script):
    script += "\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_pickle_is_never_imported():
    found = modules_after("from hypercache.codec import Codec; Codec().encode((1, 2))")
    assert "hypercache.codec" in found
    assert not found & {"pickle", "_pickle", "marshal_pickle"}


def test_slow_modules_are_imported_when_needed():
    # Without the package's own __init__, which imports much more than the codec.
    bare = """
import importlib.util, sys, types
package = types.ModuleType("hypercache")
spec = importlib.util.find_spec("hypercache")
package.__path__ = list(spec.submodule_search_locations)
sys.modules["hypercache"] = package
from hypercache.codec import Codec
Codec().decode(Codec().encode({"a": (1, 2)}))
"""
    slow = {"json", "zstandard", "uuid", "decimal", "pickle"}
    assert not modules_after(bare) & slow
    assert modules_after(bare + "Codec('json')") & slow == {"json"}
    compressed = bare + "Codec('bytes', 0).encode(b'a' * 1000)"
    assert "zstandard" in modules_after(compressed)

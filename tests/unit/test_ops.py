"""Ops keep their meaning in the bytes that docs/wal_format.md gives them."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercache import ops
from hypercache.errors import LimitError
from hypercache.ops import Clear, Delete, Put, Touch
from hypercache.options import MAX_KEY_BYTES, MAX_VALUE_BYTES

keys = st.binary(min_size=1, max_size=300)
expiries = st.integers(0, 2**63)
any_op = st.one_of(
    st.builds(Put, keys, st.binary(max_size=300), expiries),
    st.builds(Delete, keys),
    st.builds(Touch, keys, expiries),
    st.just(Clear()),
)


def encoded(*batch):
    return ops.encode(ops.Packer(), batch)


@given(st.lists(any_op, max_size=20))
def test_a_batch_reads_back_as_it_was_written(batch):
    assert list(ops.decode(encoded(*batch), len(batch))) == batch


@given(st.lists(any_op, max_size=20))
def test_the_sizes_of_ops_are_those_they_have_alone(batch):
    sized = ops.decode_sized(encoded(*batch), len(batch))
    assert list(sized) == [(op, len(encoded(op))) for op in batch]


@pytest.mark.parametrize("array", [{1: 2, 3: 4, 5: 6}, [1, "k", b"v"], [1, b"k", 7], 9])
def test_an_array_that_is_no_op_is_an_error(array):
    with pytest.raises(ValueError, match=r"no op|another type|map key"):
        ops.decode(msgpack.packb(array), 1)


@pytest.mark.parametrize(
    ("op", "array"),
    [
        (Put(b"k", b"v"), [1, b"k", b"v"]),
        (Put(b"k", b"v", 7), [1, b"k", b"v", 7]),
        (Delete(b"k"), [2, b"k"]),
        (Touch(b"k", 7), [3, b"k", 7]),
        (Touch(b"k", 0), [3, b"k", 0]),
        (Clear(), [4]),
    ],
)
def test_each_op_has_the_array_of_the_format(op, array):
    assert encoded(op) == msgpack.packb(array)


def test_a_payload_is_decoded_from_a_view_as_well():
    payload = encoded(Put(b"k", b"v"), Delete(b"k"))
    decoded = ops.decode(memoryview(payload), 2)
    assert list(decoded) == [Put(b"k", b"v"), Delete(b"k")]


def test_an_empty_payload_holds_no_ops():
    assert list(ops.decode(b"", 0)) == []


@pytest.mark.parametrize("count", [1, 2])
def test_every_cut_inside_an_op_is_an_error(count):
    whole = encoded(*[Put(b"key", b"value", 99)] * count)
    for length in range(1, len(whole)):
        with pytest.raises(ValueError, match=r"op|incomplete|exceeds"):
            ops.decode(whole[:length], count)


@pytest.mark.parametrize(("held", "announced"), [(0, 1), (1, 0), (1, 2), (2, 1)])
def test_another_count_than_the_header_has_is_an_error(held, announced):
    payload = encoded(*[Delete(b"k")] * held)
    with pytest.raises(ValueError, match=r"op|extra|incomplete"):
        ops.decode(payload, announced)


@given(st.binary(max_size=60), st.integers(0, 3))
def test_arbitrary_bytes_decode_to_ops_or_raise_value_error(payload, count):
    try:
        decoded = ops.decode(payload, count)
    except ValueError:
        return
    assert len(decoded) == count
    assert all(isinstance(op, Put | Delete | Touch | Clear) for op in decoded)


@pytest.mark.parametrize(
    "foreign",
    [
        [],
        [0],
        [5, b"k"],
        [1, b"k"],
        [1, "k", b"v"],
        [1, b"k", b"v", None],
        [1, b"k", b"v", 1.5],
        [1, b"k", "v"],
        [2, "k"],
        [1, b"k", b"v", 1, 2],
        [2],
        [2, b"k", b"v"],
        [3, b"k"],
        [3, b"k", 1.5],
        [3, b"k", float("inf")],
        [3, b"k", b"7"],
        [4, b"k"],
        1,
        None,
        {b"k": b"v"},
        b"k",
        msgpack.ExtType(1, b""),
        msgpack.Timestamp(1),
    ],
    ids=repr,
)
@pytest.mark.parametrize("count", [1, 2])
def test_what_is_no_op_is_refused(foreign, count):
    payload = msgpack.packb(foreign) * count
    with pytest.raises(ValueError, match=r".") as caught:
        ops.decode(payload, count)
    assert caught.type is not UnicodeDecodeError


def test_one_packer_serves_many_batches_without_remembering():
    packer = ops.Packer()
    first = ops.encode(packer, [Put(b"a", b"1")])
    assert ops.encode(packer, [Put(b"a", b"1")]) == first
    assert ops.encode(packer, []) == b""


@pytest.mark.parametrize("length", [1, MAX_KEY_BYTES])
def test_keys_in_range_pass(length):
    ops.check_key(bytes(length))


@pytest.mark.parametrize("length", [0, MAX_KEY_BYTES + 1])
def test_keys_out_of_range_are_refused_with_their_length(length):
    with pytest.raises(LimitError, match=f"this one has {length}"):
        ops.check_key(bytes(length))


def test_the_longest_message_about_a_key_stays_short():
    with pytest.raises(LimitError) as caught:
        ops.check_key(bytes(10**6))
    assert len(str(caught.value)) < 300


def test_a_value_over_the_limit_is_refused_by_its_length_and_key():
    class Huge(bytes):
        def __len__(self):
            return MAX_VALUE_BYTES + 1

    with pytest.raises(LimitError, match=r"b'k' has 536870913 bytes"):
        ops.check_value(b"k", Huge())

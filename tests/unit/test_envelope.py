"""What LMDB holds of an entry comes back whole, or is seen to be damaged."""

from itertools import pairwise

import pytest

from hypercache.engines import envelope
from hypercache.engines.envelope import (
    LMDB_KEY_BYTES,
    SHORT_KEY_BYTES,
    is_long,
    stored_key,
    summarize,
    unwrap,
    wrap,
)

LENGTHS = [1, 494, 495, 496, 511, 512, 65_535]


@pytest.mark.parametrize("length", LENGTHS)
def test_an_entry_under_a_key_of_any_length_comes_back(length):
    key = b"k" * length
    for value in (b"", b"value", b"\0" * 1_000):
        found = unwrap(stored_key(key), wrap(key, value, 1_234, 56))
        assert found == (key, value, 1_234, 56)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_stored_key_fits_lmdb_and_short_ones_are_themselves(length):
    key = b"k" * length
    found = stored_key(key)
    assert len(found) <= LMDB_KEY_BYTES
    assert is_long(found) == (length > SHORT_KEY_BYTES)
    assert (found == key) == (length <= SHORT_KEY_BYTES)


def test_long_keys_with_one_prefix_have_stored_keys_of_their_own():
    prefix = b"p" * SHORT_KEY_BYTES
    keys = [prefix + b"%d" % n for n in range(500)]
    assert len({stored_key(key) for key in keys}) == len(keys)


def test_stored_keys_order_as_their_keys_up_to_the_prefix():
    tails = [b"", b"\0", b"\xff", b"\xff" * 40]
    stems = [b"a", b"a" * 494, b"a" * 495, b"a" * 494 + b"b", b"b" * 600, b"\xff" * 495]
    keys = sorted(stem + tail for stem in stems for tail in tails)
    for lower, higher in pairwise(keys):
        if lower[:SHORT_KEY_BYTES] != higher[:SHORT_KEY_BYTES]:
            assert stored_key(lower) < stored_key(higher)


@pytest.mark.parametrize("key", [b"key", b"k" * 600], ids=["short", "long"])
def test_any_flipped_bit_is_seen(key):
    lmdb_key = stored_key(key)
    whole = wrap(key, b"value", 99, 7)
    for position in range(len(whole)):
        for bit in (1, 0x80):
            damaged = bytearray(whole)
            damaged[position] ^= bit
            assert unwrap(lmdb_key, bytes(damaged)) is None, position


@pytest.mark.parametrize("key", [b"key", b"k" * 600], ids=["short", "long"])
def test_a_cut_or_extended_envelope_is_seen(key):
    lmdb_key = stored_key(key)
    whole = wrap(key, b"value", 99, 7)
    for length in range(len(whole)):
        assert unwrap(lmdb_key, whole[:length]) is None
    assert unwrap(lmdb_key, whole + b"\0") is None


def test_an_envelope_under_another_key_is_seen():
    assert unwrap(b"other", wrap(b"key", b"value", 0, 1)) is None


def test_the_summary_tells_entries_apart():
    entries = [
        wrap(b"key", b"value", 0, 1),
        wrap(b"key", b"value", 0, 2),
        wrap(b"key", b"valuf", 0, 1),
        wrap(b"kez", b"value", 0, 1),
        wrap(b"key", b"value", 5, 1),
    ]
    summaries = [summarize(entry) for entry in entries]
    assert len({summary.digest for summary in summaries}) == len(entries)
    assert [summary.expires for summary in summaries] == [False] * 4 + [True]
    assert all(0 <= summary.digest <= envelope.DIGEST_MASK for summary in summaries)

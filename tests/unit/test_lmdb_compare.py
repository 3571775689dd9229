"""What a walk compares, and what an older file of LMDB does not get past."""

import pytest

from hypercache.engines import envelope, lmdb_trust, lmdb_walk
from hypercache.engines.envelope import DIGEST_MASK
from hypercache.engines.lmdb_batch import StoreState
from hypercache.engines.lmdb_store import LmdbStore
from hypercache.errors import CorruptionError
from hypercache.ops import Put
from hypercache.paths import StorePaths
from hypercache.storage import OsStorage
from hypercache.wal.checkpoint import Marker

LONG = b"k" * 600
UUID = bytes(range(16))


def walked(*entries):
    """Return entries as a walk yields them, each under the key it belongs to."""
    found = []
    for key, value, expires_at_ms, lsn in entries:
        data = envelope.wrap(key, value, expires_at_ms, lsn)
        found.append((envelope.stored_key(key), data, data))
    return found


def state_of(entries):
    summaries = [envelope.summarize(data) for _, data, _ in entries]
    return StoreState(
        9,
        len(entries),
        sum(each.digest for each in summaries) & DIGEST_MASK,
        sum(each.expires for each in summaries),
        sum(len(key) + len(data) for key, data, _ in entries),
    )


def findings(entries, state=None):
    return [
        (reason, key)
        for reason, _, key in lmdb_walk._compare(
            state or state_of(entries), iter(entries)
        )
    ]


ENTRIES = walked((b"a", b"1", 0, 1), (b"b", b"2", 5000, 2), (LONG, b"3", 0, 3))


def test_entries_that_agree_with_their_record_are_whole():
    assert findings(ENTRIES) == []
    assert findings([], StoreState()) == []


def test_a_value_that_does_not_match_its_checksum_is_named():
    key, data, _ = ENTRIES[0]
    damaged = data[:-1] + b"\xff"
    found = findings([(key, damaged, damaged), *ENTRIES[1:]])
    assert found == [("the stored value does not match its checksum", key)]


def test_a_long_key_stands_under_its_own_short_form_only():
    key, data, _ = ENTRIES[2]
    other = envelope.stored_key(b"k" * 601)
    body = bytearray(data)
    # As if whoever wrote it had put it there: the checksum is that of the place.
    body[:4] = envelope.pack_crc(
        envelope.crc32c(bytes(body[4:]), envelope.crc32c(other))
    )
    entry = (other, bytes(body), bytes(body))
    assert envelope.unwrap(other, bytes(body)).key == LONG
    found = findings([*ENTRIES[:2], entry])
    assert found == [("the stored value does not match its checksum", other)]
    assert key != other


def test_a_key_that_a_look_up_does_not_find_is_named():
    key, data, _ = ENTRIES[1]
    found = findings([ENTRIES[0], (key, data, None), ENTRIES[2]])
    assert found == [("a scan shows the key, a look-up does not find it", key)]


def test_keys_out_of_order_are_named():
    found = findings([ENTRIES[1], ENTRIES[0], ENTRIES[2]])
    assert found == [("the keys are out of order", b"a")]


@pytest.mark.parametrize("field", [1, 2, 3])
def test_a_record_that_says_something_else_is_told(field):
    state = list(state_of(ENTRIES))
    state[field] += 1
    [(reason, _)] = findings(ENTRIES, StoreState(*state))
    assert reason.startswith("it holds 3 entries where")


@pytest.fixture
def reached_2(tmp_path):
    """Return the paths of a store that has reached LSN 2, and its LMDB."""
    storage, paths = OsStorage(), StorePaths(str(tmp_path))
    storage.make_directory(paths.lmdb)
    store = LmdbStore(storage, paths.lmdb, 1 << 20, create=True)
    store.belong_to(UUID)
    store.fold([(1, Put(b"a", b"1")), (2, Put(b"b", b"2"))], 2)
    yield paths, store
    store.close()


def test_a_store_must_have_reached_what_was_noted_beside_it(reached_2):
    paths, store = reached_2
    txn = store.transaction_id()
    for lsn, number in ((0, 0), (2, txn), (1, txn - 1)):
        marker = Marker(checkpoint_lsn=lsn, lmdb_txn=number)
        lmdb_trust.refuse_other(paths, store, marker, UUID)
    for lsn, number in ((3, 0), (0, txn + 1)):
        marker = Marker(checkpoint_lsn=lsn, lmdb_txn=number)
        with pytest.raises(
            CorruptionError, match="older than the checkpoint"
        ) as caught:
            lmdb_trust.refuse_other(paths, store, marker, UUID)
        assert caught.value.lsn == 2


@pytest.mark.parametrize("other", [bytes(16), UUID[:-1] + b"!"])
def test_a_store_must_be_the_one_that_was_asked_for(reached_2, other):
    with pytest.raises(CorruptionError, match="belongs to another store"):
        lmdb_trust.refuse_other(*reached_2, Marker(), other)

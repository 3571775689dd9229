"""What the hybrid engine promises of its log and of LMDB below it."""

import pytest

from hypercache.errors import CorruptionError
from hypercache.testing.engine_conformance.restarts import write_a_bit_of_everything
from tests.support.engines import hybrid_engines
from tests.support.files import find_bytes, flipped

pytestmark = hybrid_engines


def test_after_a_checkpoint_the_log_that_held_it_is_gone(open_engine, store_path):
    engine = open_engine()
    write_a_bit_of_everything(engine)
    last = engine.apply([])
    assert engine.checkpoint() == last
    stats = engine.stats()
    assert stats.checkpoint_lsn == stats.synced_lsn == stats.appended_lsn == last
    assert stats.log_bytes == 0
    assert stats.memtable_count == 0
    assert find_bytes(store_path / "wal", b"last") == []
    assert engine.checkpoint() == last


def test_the_log_is_folded_by_itself_and_the_disk_stays_small(open_engine):
    engine = open_engine(checkpoint_bytes=8192)
    for n in range(300):
        engine.put(b"%d" % (n % 10), b"v" * 200)
    stats = engine.stats()
    assert stats.checkpoint_count > 0
    assert stats.maintenance_error is None
    assert stats.log_bytes < 30_000
    assert stats.disk_bytes < 300_000


def test_a_read_never_returns_a_damaged_value(open_engine, store_path):
    engine = open_engine(memory_bytes=0)
    engine.put(b"a", b"1")
    engine.put(b"key", b"needle-in-a-file" * 3)
    engine.checkpoint()
    places = find_bytes(store_path, b"needle-in-a-file")
    reads = (
        lambda: engine.get(b"key"),
        lambda: engine.get_entry(b"key"),
        lambda: engine.get_many([b"a", b"key"]),
        lambda: list(engine.scan()),
    )
    with flipped(places):
        for read in reads:
            with pytest.raises(CorruptionError, match="checksum") as caught:
                read()
            assert caught.value.key == b"key"
            assert caught.value.path == str(places[0][0])
        assert engine.get(b"a") == b"1"
    assert engine.get(b"key") == b"needle-in-a-file" * 3

"""What the durable engines promise beyond the conformance suite.

Sync policies, options, how they number ops, and what their files look like.
"""

import shutil
import threading

import pytest

from hypercache.engines.base import Delete, Put
from hypercache.testing.engine_conformance.restarts import write_a_bit_of_everything
from tests.support.contents import entries
from tests.support.engines import durable_engines

pytestmark = durable_engines
POLICIES = ["always", "everysec", "no"]


@pytest.mark.parametrize("sync", POLICIES)
def test_everything_is_there_after_close_and_open(open_engine, clock, sync):
    engine = open_engine(clock=clock, sync=sync)
    write_a_bit_of_everything(engine)
    before = entries(engine)
    engine.close()
    engine = open_engine(clock=clock, sync=sync)
    assert entries(engine) == before
    assert engine.count() == len(before)
    assert engine.get(b"p" * 600) == b"long"


@pytest.mark.parametrize("sync", POLICIES)
def test_everything_is_there_in_what_a_kill_leaves(
    open_engine, clock, store_path, tmp_path, sync
):
    engine = open_engine(clock=clock, sync=sync)
    write_a_bit_of_everything(engine)
    shutil.copytree(store_path, tmp_path / "copy")
    again = open_engine(tmp_path / "copy", clock=clock, sync=sync)
    assert entries(again) == entries(engine)
    assert again.count() == engine.count()


def test_lsns_rise_by_one_per_op_and_are_never_reused(open_engine):
    engine = open_engine()
    first = engine.put(b"a", b"1")
    assert first > 0
    assert engine.put(b"b", b"1") == first + 1
    assert engine.apply([Put(b"c", b"1"), Delete(b"a"), Put(b"d", b"1")]) == first + 4
    assert engine.update(b"b", lambda entry: Delete(b"b")) == first + 5
    assert engine.apply([]) == first + 5
    last = engine.clear()
    assert last == first + 6
    engine.checkpoint()
    engine.close()
    engine = open_engine()
    assert engine.apply([]) == last
    assert engine.put(b"a", b"1") == last + 1


def test_under_always_a_write_is_durable_when_the_call_returns(open_engine):
    engine = open_engine(sync="always")
    writes = [
        lambda: engine.put(b"a", b"1"),
        lambda: engine.apply([Put(b"b", b"1"), Put(b"c", b"1")]),
        lambda: engine.update(b"a", lambda entry: Put(b"a", b"2")),
        engine.clear,
    ]
    for write in writes:
        lsn = write()
        assert engine.stats().synced_lsn >= lsn
    with engine.exclusive():
        lsn = engine.put(b"d", b"1")
    assert engine.stats().synced_lsn >= lsn


def test_everysec_brings_a_write_to_the_medium_by_itself(open_engine):
    engine = open_engine(sync="everysec", segment_bytes=1 << 20)
    lsn = engine.put(b"a", b"1")
    assert engine.stats().synced_lsn < lsn
    timer = threading.Event()
    for _ in range(40):
        if engine.stats().synced_lsn >= lsn:
            break
        timer.wait(0.05)
    assert engine.stats().synced_lsn >= lsn


def test_everything_can_be_verified_at_open(open_engine):
    engine = open_engine()
    write_a_bit_of_everything(engine)
    before = entries(engine)
    engine.close()
    engine = open_engine(verify="full")
    assert entries(engine) == before
    report = engine.check()
    assert report.ok, report.problems
    assert report.entry_count == len(before)


def test_directories_are_0700_and_files_0600(open_engine, store_path):
    engine = open_engine()
    write_a_bit_of_everything(engine)
    for path in (store_path, *store_path.rglob("*")):
        mode = path.stat().st_mode & 0o777
        assert mode == (0o700 if path.is_dir() else 0o600), path

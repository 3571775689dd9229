"""What was deleted, cleared or has expired never comes back through a compaction.

Random ops on the engine, with compactions and reopens at random moments, some of them
in the middle of a compaction that goes on step by step, against a dict.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypercache.engines.base import Delete, Entry, Put, Touch
from hypercache.testing.simulated_disk import SimDisk
from tests.support import crashstore
from tests.support.clock import START_MS, FakeClock
from tests.support.crashstore import open_engine

keys = st.sampled_from([b"a", b"b", b"c", b"d", b"\xff" * 300])
values = st.sampled_from([b"", b"v", b"x" * 90, b"y" * 900])
expiries = st.sampled_from([0, 0, 1, 1_500, 4_000, 10_000_000])  # ms from the start
ops = st.one_of(
    st.builds(Put, keys, values, expiries),
    st.builds(Put, keys, values, st.just(0)),
    st.builds(Delete, keys),
    st.builds(Touch, keys, expiries),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("apply"), st.lists(ops, min_size=1, max_size=4)),
        st.tuples(st.just("apply"), st.lists(ops, min_size=1, max_size=4)),
        st.tuples(st.just("clear"), st.none()),
        st.tuples(st.just("pass"), st.sampled_from([0.4, 1.0, 3.0])),
        st.tuples(st.just("compact"), st.none()),
        st.tuples(st.just("reopen"), st.sampled_from(["closed", "killed"])),
    ),
    min_size=3,
    max_size=40,
)


class Model:
    """A dict of entries with the meaning of each op, and a clock."""

    def __init__(self):
        self.clock = FakeClock()
        self.entries = {}

    def live(self):
        now_ms = self.clock.wall_ms()
        return {
            key: entry
            for key, entry in self.entries.items()
            if not 0 < entry.expires_at_ms <= now_ms
        }

    def apply(self, op):
        present = self.live().get(op.key)
        if isinstance(op, Put):
            self.entries[op.key] = Entry(op.value, op.expires_at_ms)
        elif isinstance(op, Delete):
            self.entries.pop(op.key, None)
        elif present is not None:
            self.entries[op.key] = Entry(present.value, op.expires_at_ms)


def at_time(op):
    """Return the op with an expiry in ms since the epoch."""
    until = getattr(op, "expires_at_ms", 0)
    return op._replace(expires_at_ms=START_MS + until) if until else op


@pytest.fixture(scope="module", autouse=True)
def _small_steps():
    with crashstore.small_steps():
        yield


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    steps=steps,
    sync=st.sampled_from(["always", "no"]),
    log_io=st.sampled_from(["write", "mmap"]),
    by_itself=st.sampled_from([4096, 1 << 30]),
)
def test_compaction_and_reopen_leave_what_a_dict_would_hold(
    steps, sync, log_io, by_itself
):
    disk, model = SimDisk(), Model()
    options = {"sync": sync, "log_io": log_io, "compact_min_bytes": by_itself}

    def opened():
        return open_engine(disk, "memory", model.clock, **options)

    engine = opened()
    for step, argument in steps:
        if step == "apply":
            batch = [at_time(op) for op in argument]
            engine.apply(batch)
            for op in batch:
                model.apply(op)
        elif step == "clear":
            engine.clear()
            model.entries.clear()
        elif step == "pass":
            model.clock.advance(argument)
        elif step == "compact":
            engine.compact()
        elif argument == "closed":
            engine.close()
            engine = opened()
        else:
            disk.let_go()  # the process is gone, what it wrote is there
            engine = opened()
        assert dict(engine.scan()) == model.live()
        assert engine.count() == len(model.live())
    engine.compact()
    assert dict(engine.scan()) == model.live()
    assert engine.check().ok
    engine.close()
    engine = opened()
    assert dict(engine.scan()) == model.live()
    engine.close()

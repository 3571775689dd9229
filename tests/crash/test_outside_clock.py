"""The wall clock jumps: nothing expires early, nothing is removed for its age."""

import pytest

from hypercache.testing.clock import START_MS
from tests.support.engines import durable_engines

pytestmark = durable_engines

HOUR_S, YEAR_S = 3600, 365 * 24 * 3600
JUMPS = {"-1 h": -HOUR_S, "-10 y": -10 * YEAR_S, "+1 y": YEAR_S, "frozen": 0}
each_jump = pytest.mark.parametrize("jump_s", JUMPS.values(), ids=JUMPS.keys())
LIFE_S = 60


class StoppedClock:
    """The wall stands still while the machine goes on."""

    def __init__(self, clock):
        self._clock = clock

    def wall_ms(self):
        return START_MS

    def monotonic(self):
        return self._clock.monotonic()


@pytest.fixture
def ticking(clock, jump_s):
    return clock if jump_s else StoppedClock(clock)


def put_one(engine):
    engine.put(b"key", b"v", START_MS + LIFE_S * 1000)
    engine.put(b"for ever", b"v")


@each_jump
def test_in_a_process_a_ttl_is_monotonic_time_to_the_second(
    open_engine, clock, ticking, jump_s
):
    engine = open_engine(clock=ticking)
    put_one(engine)
    clock.jump(jump_s)
    clock.advance(LIFE_S - 1)
    assert engine.get(b"key") == b"v"
    assert engine.count() == 2
    clock.jump(-2 * jump_s)
    clock.advance(2)
    assert engine.get(b"key") is None
    assert engine.count() == 1
    assert engine.get(b"for ever") == b"v"


@each_jump
def test_across_a_restart_nothing_expires_early(open_engine, clock, ticking, jump_s):
    engine = open_engine(clock=ticking)
    put_one(engine)
    engine.close()
    clock.jump(min(jump_s, 0))
    clock.advance(LIFE_S - 1)
    engine = open_engine(clock=ticking)
    assert engine.get(b"key") == b"v"
    assert {key for key, _ in engine.scan()} == {b"key", b"for ever"}


@each_jump
def test_whatever_the_clock_says_nothing_is_removed_from_the_files(
    open_engine, clock, ticking, jump_s
):
    engine = open_engine(clock=ticking)
    put_one(engine)
    engine.close()
    clock.jump(jump_s)
    for _ in range(2):
        engine = open_engine(clock=ticking)
        gone = jump_s > 0
        assert (engine.get(b"key") is None) == gone
        assert engine.count() == 2 - gone
        engine.compact()
        engine.checkpoint()
        engine.close()
    clock.jump(-jump_s)
    engine = open_engine(clock=ticking)
    assert engine.get(b"key") == b"v"
    assert engine.count() == 2
    clock.advance(LIFE_S + 1)
    if jump_s:
        assert engine.get(b"key") is None


@each_jump
def test_segments_and_bases_outlive_any_time(
    open_engine, clock, ticking, jump_s, store_path
):
    engine = open_engine(clock=ticking)
    for number in range(40):
        engine.put(b"key%02d" % number, b"%d" % number * 100)
        if number == 20:
            engine.compact()
    clock.jump(jump_s)
    clock.advance(YEAR_S)
    engine.put(b"last", b"v")
    engine.close()
    engine = open_engine(clock=ticking, verify="full")
    assert engine.count() == 41
    assert engine.check().ok

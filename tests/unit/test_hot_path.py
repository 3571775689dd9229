"""The hot calls do no more work than they did: counted, because times are noise."""

import shutil
import sys
from pathlib import Path

import pytest

from hypercache import Cache
from tests.support import hot_path
from tests.support.counting import bytecodes_of, calls_of, instructions_of

KEY, VALUE = b"key", b"value"
ENGINES = ("memory", "hybrid")
# What is counted may grow by a tenth before somebody has to look at it.
SLACK = 1.1


@pytest.fixture(params=ENGINES)
def cache(request, tmp_path):
    with Cache(tmp_path / "store", engine=request.param, serializer="bytes") as found:
        found.set(KEY, VALUE)
        found.set(KEY, VALUE)
        found.get(KEY)
        yield found


def frames(calls):
    """Leave the calls of C out."""
    return [name.rpartition(".")[2] for name in calls if not name.startswith("[")]


def test_a_hit_of_a_durable_cache_is_three_calls(cache):
    assert frames(calls_of(lambda: cache.get(KEY))) == ["get", "get", "_decode_bytes"]


def test_a_set_of_a_durable_cache_passes_each_layer_once(cache):
    calls = frames(calls_of(lambda: cache.set(KEY, VALUE)))
    accounts = ["_place", "account", "_frame_bytes", "_frame_bytes"]
    layers = ["set", "_encode_bytes", "put", "append", "append"]
    assert [name for name in calls if name not in accounts] == layers


def test_a_hit_of_a_volatile_cache_calls_nothing_but_c():
    cache = Cache()
    cache.set(KEY, "value")
    cache.get(KEY)
    calls = calls_of(lambda: cache.get(KEY))
    assert frames(calls) == ["get"]
    assert len(calls) <= 3  # the look-up, and what notes it


BYTECODES = {"memory": {"get": 124, "set": 322}, "hybrid": {"get": 125, "set": 275}}


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="counted on CPython 3.11")
@pytest.mark.parametrize("call", ["get", "set"])
def test_a_hot_call_executes_no_more_bytecodes(cache, call):
    arguments = (KEY,) if call == "get" else (KEY, VALUE)
    engine = cache.stats().engine
    count = bytecodes_of(lambda: getattr(cache, call)(*arguments))
    assert count <= BYTECODES[engine][call] * SLACK


# Instructions of a thousand calls over those of the floor in the same interpreter.
INSTRUCTIONS = {
    "volatile set": 0.69,
    "volatile get": 3.13,
    "memory set": 1.82,
    "memory get": 6.32,
    "hybrid set": 1.65,
    "hybrid get": 6.38,
}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="no valgrind")
def test_a_hot_call_takes_no_more_instructions(tmp_path):
    counts = instructions_of(Path(hot_path.__file__), tmp_path)
    floors = {"set": counts[0], "get": counts[1]}
    found = dict(zip(INSTRUCTIONS, counts[2:], strict=False))
    ratios = {name: found[name] / floors[name[-3:]] for name in INSTRUCTIONS}
    too_many = {n: r for n, r in ratios.items() if r > INSTRUCTIONS[n] * SLACK}
    assert not too_many, ratios

"""The hot calls do no more work than they did: counted, because times are noise."""

import shutil
import sys
import sysconfig
from pathlib import Path

import pytest

from hypercache import Cache
from tests.support import hot_path
from tests.support.counting import bytecodes_of, calls_of, instructions_of

KEY, VALUE = b"key", b"value"
ENGINES = ("memory", "hybrid")
FLOORS = ("set", "get")
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


# Instructions of a thousand calls over those of the floor in the same interpreter. How
# it was built moves them by a tenth; one that was not measured gets the highest.
CALLS = tuple(f"{cache} {call}" for cache in ("volatile", *ENGINES) for call in FLOORS)
INSTRUCTIONS = {
    "3.11 -O2": (0.77, 3.22, 1.97, 6.32, 1.78, 6.39),
    "3.11 -O3": (0.69, 3.13, 1.82, 6.32, 1.65, 6.38),
    "3.12 -O3": (0.67, 3.02, 1.82, 5.94, 1.66, 6.00),
    "3.13 -O3": (0.67, 3.46, 1.83, 6.91, 1.67, 6.98),
}


def instructions_of_this_build():
    flags = (sysconfig.get_config_var("CFLAGS") or "").split()
    optimised = "-O3" if "-O3" in flags else "-O2"
    build = "{}.{} {}".format(*sys.version_info[:2], optimised)
    highest = tuple(map(max, zip(*INSTRUCTIONS.values(), strict=True)))
    return dict(zip(CALLS, INSTRUCTIONS.get(build, highest), strict=True))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="no valgrind")
def test_a_hot_call_takes_no_more_instructions(tmp_path):
    counts = instructions_of(Path(hot_path.__file__), tmp_path)
    floors = dict(zip(FLOORS, counts, strict=False))
    found = dict(zip(CALLS, counts[2:], strict=False))
    ratios = {name: found[name] / floors[name[-3:]] for name in CALLS}
    most = instructions_of_this_build()
    too_many = {n: r for n, r in ratios.items() if r > most[n] * SLACK}
    assert not too_many, ratios

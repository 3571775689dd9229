"""Writes of a signal handler: done, or refused; never a hang, never a loss."""

import json

import pytest

from hypercache import Cache
from tests.support.processes import run_python

# Signals come one after the other, at moments that change from write to write.
WRITES = """
    import faulthandler, itertools, json, random, signal, sys
    from hypercache import Cache
    from hypercache.errors import ReentrantCallError

    faulthandler.dump_traceback_later(50, exit=True)
    path, engine, sync, maintenance, count = sys.argv[1:]
    small = dict(segment_bytes=8192, checkpoint_bytes=16384, compact_min_bytes=16384)
    cache = Cache(
        path, engine=engine, sync=sync, maintenance=maintenance, serializer="bytes",
        **small,
    )
    table, draw, numbers = {}, random.Random(1), itertools.count()
    told = {"done": 0, "refused": 0}

    def write():
        number = next(numbers)
        key, value = b"key%d" % (number % 50), b"%06d" % number * 30
        # The older of two writes of one key must not be noted over the newer.
        lsn = cache.set(key, value)
        table[key] = max(table.get(key, (0, b"")), (lsn, value))

    def handler(*_):
        try:
            write()
            if told["done"] % 7 == 0:
                cache.sync()
            told["done"] += 1
        except ReentrantCallError:
            told["refused"] += 1
        signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.00002, 0.0004))

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002)
    for _ in range(int(count)):
        try:
            write()
        except ReentrantCallError:
            raise SystemExit("a write that interrupts nothing was refused")
        if draw.random() < 0.01:
            cache.checkpoint() if engine == "hybrid" else cache.compact()
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    assert {key: cache.get(key) for key in table} == {
        key: value for key, (_, value) in table.items()
    }
    assert cache.check().ok
    cache.close()
    told["table"] = {key.decode(): value.decode() for key, (_, value) in table.items()}
    print(json.dumps(told))
"""


@pytest.mark.parametrize("maintenance", ["inline", "process"])
@pytest.mark.parametrize("sync", ["always", "everysec"])
@pytest.mark.parametrize("engine", ["hybrid", "memory"])
def test_a_signal_handler_writes_or_is_refused_and_nothing_is_lost(
    tmp_path, engine, sync, maintenance
):
    path = tmp_path / "store"
    count = 400 if sync == "always" else 1500
    told = json.loads(run_python(WRITES, path, engine, sync, maintenance, count))
    assert told["done"] > 0
    with Cache(path, engine=engine, serializer="bytes", verify="full") as cache:
        assert cache.check().ok
        found = {key.decode(): value.decode() for key, value in cache.scan()}
    assert found == told["table"]

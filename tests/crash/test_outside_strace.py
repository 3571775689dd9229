"""The n-th sync of a real process fails with EIO, made to by strace."""

import json
import os
import textwrap

import pytest

from hypercache import Cache
from tests.support.tracing import needs_strace, skip_unless_traceable, trace

# HYPERCACHE_EVERY_SYNC=1 tries each one until none fails any more.
EVERY = os.environ.get("HYPERCACHE_EVERY_SYNC")
NUMBERS = range(1, 80) if EVERY else (1, 3, 6)

pytestmark = [
    pytest.mark.privileged,
    needs_strace,
]

WRITE = """
    import json, sys
    from hypercache import Cache
    from hypercache.errors import HyperCacheError, StorageFailedError

    told = {"opened": False, "acknowledged": [], "late": [], "closed": False}
    try:
        cache = Cache(sys.argv[1], engine=sys.argv[2], sync="always",
                      maintenance="inline")
        told["opened"] = True
        for number in range(8):
            try:
                cache.set(f"k{number}", number)
            except HyperCacheError as error:
                told.setdefault("failed", str(error))
            else:
                told["late" if "failed" in told else "acknowledged"].append(number)
        told["reads"] = [cache.get(f"k{n}") for n in told["acknowledged"]]
        told["failure"] = cache.stats().failure
        try:
            cache.close()
            told["closed"] = True
        except HyperCacheError as error:
            told["close"] = str(error)
    except HyperCacheError as error:
        told["failed"] = str(error)
    print(json.dumps(told))
"""


@pytest.fixture(scope="module", autouse=True)
def _may_trace(tmp_path_factory):
    skip_unless_traceable(tmp_path_factory.mktemp("strace"))


def write_with_a_failing_sync(path, engine, number, out):
    inject = f"inject=fdatasync,fsync,msync:error=EIO:when={number}"
    options = ("-e", "trace=fdatasync,fsync,msync", "-e", inject)
    done = trace(out, options, "-c", textwrap.dedent(WRITE), path, engine)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), "(INJECTED)" in out.read_text()


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("engine", ["memory", "hybrid", "persistent"])
def test_after_a_failed_sync_nothing_is_acknowledged_and_nothing_is_lost(
    tmp_path, engine, number
):
    path = tmp_path / "store"
    with Cache(path, engine=engine) as cache:
        cache.set("before", "kept")
    told, injected = write_with_a_failing_sync(path, engine, number, tmp_path / "out")
    if not injected:
        assert told["closed"]
        assert len(told["acknowledged"]) == 8
        pytest.skip("it makes fewer syncs than that")
    if told["opened"]:
        # Either a write has failed, and then all behind it, or the close has.
        assert told["late"] == []
        assert told["reads"] == told["acknowledged"]
        acknowledged_all = len(told["acknowledged"]) == 8
        assert acknowledged_all == (told["failure"] is None)
        assert acknowledged_all or "put/output error" in told["failure"]
    else:
        assert "put/output error" in told["failed"]
    with Cache(path, engine=engine, verify="full") as cache:
        assert cache["before"] == "kept"
        for key in told["acknowledged"]:
            assert cache[f"k{key}"] == key
        cache.set("after", 1)
        assert cache.check().ok

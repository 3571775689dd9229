"""The kernel is asked to sync, and before anybody is told: seen from outside."""

import os
import re
import textwrap

import pytest

from tests.support.tracing import needs_strace, skip_unless_traceable, trace

MARK = re.compile(r'write\(1<.*?"mark (\w+)')
# "-f" tells of a call in two lines when another thread came in between.
SYNC = re.compile(r"(?:fdatasync|fsync)(?:\(| resumed>).*= 0$")

pytestmark = needs_strace


@pytest.fixture(scope="module", autouse=True)
def _may_trace(tmp_path_factory):
    skip_unless_traceable(tmp_path_factory.mktemp("strace"))


def syncs_before_marks(tmp_path, code, *arguments):
    """Return by mark how many syncs had ended since the mark before it."""
    out = tmp_path / "trace"
    head = "import os, sys\ndef mark(name): os.write(1, f'mark {name}\\n'.encode())\n"
    options = ("-y", "-e", "trace=fdatasync,fsync,write")
    code = head + textwrap.dedent(code)
    trace(out, options, "-c", code, *arguments, cwd=tmp_path).check_returncode()
    counts, count = {}, 0
    for line in out.read_text(errors="replace").splitlines():
        if found := MARK.search(line):
            counts[found[1]], count = count, 0
        count += SYNC.search(line) is not None
    return counts


WRITES = """
    from hypercache import Cache
    cache = Cache(
        sys.argv[1], engine=sys.argv[2], sync="always", log_io=sys.argv[3],
        maintenance="inline",
    )
    cache.set("first", 1)
    mark("begin")
    for number in range(3):
        cache.set("key", number)
        mark(f"put{number}")
    with cache.transaction() as batch:
        batch.set("a", 1)
        batch.set("b", 2)
    mark("batch")
    cache.clear()
    mark("clear")
    cache.close()
"""


@pytest.mark.parametrize(
    ("engine", "log_io"),
    [
        ("hybrid", "mmap"),
        ("hybrid", "write"),
        ("memory", "write"),
        ("persistent", "auto"),
    ],
)
def test_each_acknowledged_write_has_a_sync_of_its_own(tmp_path, engine, log_io):
    counts = syncs_before_marks(tmp_path, WRITES, tmp_path / "store", engine, log_io)
    counts.pop("begin")
    assert list(counts) == ["put0", "put1", "put2", "batch", "clear"]
    assert min(counts.values()) >= 1, counts


UNSAFE = """
    from hypercache.engines.persistent import PersistentEngine
    from hypercache.options import Options
    options = Options.resolve(engine="persistent", sync="no", allow_unsafe_sync=True)
    engine = PersistentEngine(sys.argv[1], options)
    mark("begin")
    engine.put(b"a", b"1")
    mark("put")
    engine.sync()
    mark("sync")
    lsn = engine.put(b"b", b"2")
    mark("another")
    engine.wait_durable(lsn)
    mark("wait")
    engine.wait_durable(lsn)
    mark("again")
    engine.put(b"c", b"3")
    mark("third")
    engine.close()
    mark("close")
"""


def test_without_sync_a_store_is_synced_when_asked_and_when_closed(tmp_path):
    counts = syncs_before_marks(tmp_path, UNSAFE, tmp_path / "store")
    assert [counts[name] for name in ("put", "another", "again", "third")] == [0] * 4
    assert counts["sync"] >= 1
    assert counts["wait"] >= 1
    # The files that say "clean" take two: the temporary one, and the directory.
    assert counts["close"] >= 3


MAINTENANCE = """
    from hypercache import Cache
    cache = Cache(
        sys.argv[1], engine=sys.argv[2], sync="no", maintenance="inline",
        log_io="write", segment_bytes=4096,
    )
    mark("begin")
    for number in range(3):
        cache.set(f"key{number}", number)
    mark("puts")
    cache.sync()
    mark("sync")
    cache.set("a", 1)
    cache.checkpoint() if sys.argv[2] == "hybrid" else cache.compact()
    mark("maintenance")
    cache.backup(sys.argv[1] + "-copy")
    mark("backup")
    cache.close()
"""


@pytest.mark.parametrize("engine", ["hybrid", "memory"])
def test_maintenance_syncs_also_where_writes_do_not(tmp_path, engine):
    counts = syncs_before_marks(tmp_path, MAINTENANCE, tmp_path / "store", engine)
    assert counts["sync"] == 1
    # The segment, its successor's names, the data, the file that names it.
    assert counts["maintenance"] >= 4
    assert counts["backup"] >= 4
    assert os.path.isdir(tmp_path / "store-copy")

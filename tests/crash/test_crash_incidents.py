"""Defects of this store that its own crash explorer has found.

Each is told as the incident it could have been, and is one promise here.
"""

import contextlib
import errno
import logging

import pytest

from hypercache.engines import backup_helper
from hypercache.errors import StorageError, StorageFailedError
from hypercache.testing.disk_state import Directory
from hypercache.testing.power_cut import PowerCuts, after_power_cut
from hypercache.testing.simulated_disk import Fault, SimDisk
from tests.support.crashstore import ENGINES, ROOT, open_engine, simulated

both_engines = pytest.mark.parametrize("engine", ENGINES)
MARKERS = {"hybrid": "/store/CHECKPOINT", "memory": "/store/aof/MANIFEST"}
DEAD_PID = (1 << 22) + 1  # above what Linux gives out
STEPS = {"compact_min_bytes": 6000, "checkpoint_bytes": 4096, "sync": "no"}


@pytest.fixture(autouse=True)
def _simulated():
    logging.disable(logging.CRITICAL)
    with simulated():
        yield
    logging.disable(logging.NOTSET)


class KilledError(BaseException):
    """The process dies here."""


def dies_behind(disk, action, path, *, nth=1):
    """Let the process die behind the n-th such step; the machine goes on."""
    left = [nth]

    def on_step():
        if disk.trace[-1] == (action, path):
            left[0] -= 1
            if left[0] == 0:
                disk.on_step = None
                raise KilledError

    disk.on_step = on_step


def next_process(disk, engine, **changes):
    disk.on_step = None
    disk.let_go()
    return open_engine(disk, engine, **changes)


def content_after_power_cut(disk, engine):
    again = open_engine(SimDisk(after_power_cut(disk)), engine)
    return {key: entry.value for key, entry in again.scan()}


# The process was killed between the rename of STORE and the sync of its directory. The
# next one read "ready", took writes and synced them. Then the power went, STORE said
# "creating" again, and the open after that started over: everything was gone.


@both_engines
def test_a_death_at_the_end_of_creation_loses_nothing_written_after_it(engine):
    disk = SimDisk()
    dies_behind(disk, "rename", "/store/STORE", nth=2)
    with pytest.raises(KilledError):
        open_engine(disk, engine)
    store = next_process(disk, engine)
    store.put(b"key", b"acknowledged")
    assert content_after_power_cut(disk, engine) == {b"key": b"acknowledged"}


# The process was killed between the making of the directory and the sync of the one
# above. The next one found it there and never synced its name: a power cut took the
# directory away with all that had been acknowledged.


@both_engines
def test_a_death_behind_the_making_of_the_directory_loses_nothing_written_after_it(
    engine,
):
    disk = SimDisk()
    dies_behind(disk, "mkdir", "/store")
    with pytest.raises(KilledError):
        open_engine(disk, engine)
    store = next_process(disk, engine)
    store.put(b"key", b"acknowledged")
    assert content_after_power_cut(disk, engine) == {b"key": b"acknowledged"}


# The same with the marker, or the manifest: the next process removed, on its word, what
# the one before had named, and a power cut brought that one back. The store did not
# open any more.


@both_engines
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_death_behind_the_rename_of_what_names_the_log_leaves_a_store_that_opens(
    engine, nth
):
    disk = SimDisk()
    store = open_engine(disk, engine)
    store.put(b"a", b"1" * 3000)
    dies_behind(disk, "rename", MARKERS[engine], nth=nth)

    def go_on():
        for number in range(4):
            store.put(b"b", b"%d" % number * 2000)
            getattr(store, "compact" if engine == "memory" else "checkpoint")()

    with pytest.raises(KilledError):
        go_on()
    store = next_process(disk, engine)
    assert content_after_power_cut(disk, engine)[b"a"] == b"1" * 3000
    store.put(b"c", b"3")
    assert content_after_power_cut(disk, engine)[b"c"] == b"3"


# The same with a store that had been closed: nothing of the log was to be written
# again, which brings the names to the medium, and the removals got there first.


@both_engines
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_death_in_the_maintenance_of_a_closed_store_leaves_one_that_opens(
    engine, nth
):
    disk = SimDisk()
    with contextlib.closing(open_engine(disk, engine)) as store:
        for number in range(4):
            store.put(b"a", b"%d" % number * 2000)
    store = open_engine(disk, engine)
    dies_behind(disk, "rename", MARKERS[engine], nth=nth)
    with contextlib.suppress(KilledError):
        getattr(store, "compact" if engine == "memory" else "checkpoint")()
        store.close()
    disk.on_step = None
    disk.let_go()
    cuts = PowerCuts(disk, limit=100)
    disk.on_step = cuts.collect
    open_engine(disk, engine)
    disk.on_step = None
    cuts.collect()
    for image, _ in cuts.images.values():
        again = open_engine(SimDisk(image), engine)
        assert again.get(b"a") == b"3" * 2000


# The process was killed between the footer of a segment and its sync. The next one saw
# a sealed segment, left it at that, and went on in a new one. After a power cut the
# old one had no footer: corruption, where there was only a crash.


@both_engines
def test_a_death_before_a_footer_is_synced_leaves_a_store_that_opens(engine):
    disk = SimDisk()
    store = open_engine(disk, engine, sync="no")
    store.put(b"a", b"1")
    [path] = [path for action, path in disk.trace if action == "create"][-1:]
    segment = path if "0001." in path else store._log._paths.segment(1)
    dies_behind(disk, "truncate", segment)
    with pytest.raises(KilledError):
        store._log.seal_active()
    store = next_process(disk, engine)
    store.put(b"b", b"2")
    assert content_after_power_cut(disk, engine) == {b"a": b"1", b"b": b"2"}


# A sync failed, and the system called the pages clean. The store was closed and opened
# again, as it says itself; the frames were still to be read, so they were kept. No
# later sync brought them to the medium. After a power cut there was a hole in the
# middle of the log, and behind it everything that had been acknowledged since.


@both_engines
@pytest.mark.parametrize("sync", ["always", "no"])
def test_what_a_failed_sync_has_dropped_is_written_again_by_the_next_open(engine, sync):
    disk = SimDisk()
    store = open_engine(disk, engine, sync=sync)
    store.put(b"a", b"1")
    store.sync()
    disk.choose_fault = lambda action, _path: Fault() if action == "sync" else None
    with contextlib.suppress(StorageError):
        store.put(b"b", b"2")
    with pytest.raises(StorageError):
        store.sync()
    store.close()
    disk.repair()
    store = open_engine(disk, engine)
    kept = store.get(b"b")
    store.put(b"c", b"3")
    found = content_after_power_cut(disk, engine)
    assert (found[b"a"], found.get(b"b"), found[b"c"]) == (b"1", kept, b"3")


@both_engines
def test_where_there_is_no_room_to_write_the_log_again_the_store_opens_all_the_same(
    engine,
):
    disk = SimDisk()
    store = open_engine(disk, engine)
    store.put(b"a", b"1")
    full = Fault(errno.ENOSPC)
    disk.choose_fault = lambda action, _path: full if action == "create" else None
    store = next_process(disk, engine)
    assert store.get(b"a") == b"1"
    disk.repair()
    store.put(b"b", b"2")
    assert content_after_power_cut(disk, engine) == {b"a": b"1", b"b": b"2"}
    store.close()
    assert not [name for name in files(disk) if name.endswith(".tmp")]


# A segment that is sealed where it stands is cut first, and that is synced: else the
# footer may reach the medium alone, with the torn tail behind it, or without the frame
# before it. That looks like a sealed segment in which something is damaged.


@both_engines
def test_a_power_cut_while_a_torn_segment_is_sealed_in_place_leaves_a_store_that_opens(
    engine,
):
    disk = SimDisk()
    store = open_engine(disk, engine, sync="no")
    store.put(b"a", b"1")
    store.sync()
    store.put(b"b", b"2" * 500)
    segment = store._log._paths.segment(1)
    disk.let_go()
    end = len(disk.read(segment))
    disk.open(segment).write_at(end, b"the beginning of a frame" * 9)
    full = Fault(errno.ENOSPC)
    disk.choose_fault = lambda action, _path: full if action == "create" else None
    cuts = PowerCuts(disk, limit=200)
    disk.on_step = cuts.collect
    open_engine(disk, engine)
    assert len(cuts.images) > 20
    for image, _ in cuts.images.values():
        again = open_engine(SimDisk(image), engine)
        found = {key: entry.value for key, entry in again.scan()}
        assert found in ({b"a": b"1"}, {b"a": b"1", b"b": b"2" * 500})


def files(disk, path="/store"):
    node = disk._find(path)
    if not isinstance(node, Directory):
        return [path]
    return [found for name in node.seen for found in files(disk, f"{path}/{name}")]


# The log failed while a checkpoint in steps was under way. The checkpoint went on, and
# replaced the marker whose fate was unknown.


@both_engines
def test_after_a_failure_of_the_log_no_maintenance_goes_on(engine):
    disk = SimDisk()
    store = open_engine(disk, engine, **STEPS)
    for number in range(60):
        store.put(b"key%d" % (number % 4), b"v" * 1300)
        if store._upkeep._pending is not None:
            break
    else:
        pytest.fail("no maintenance was under way")
    disk.choose_fault = lambda action, _path: Fault() if action == "write" else None
    with pytest.raises(StorageError):
        store.put(b"key", b"x")
    disk.repair()
    taken = len(disk.trace)
    with pytest.raises(StorageFailedError):
        getattr(store, "compact" if engine == "memory" else "checkpoint")()
    assert disk.trace[taken:] == []


# An open that failed at its very last look at the disk kept the lock: the store could
# not be opened in that process any more.


@both_engines
def test_an_open_that_fails_at_any_look_at_the_disk_gives_the_lock_back(engine):
    disk = SimDisk()
    store = open_engine(disk, engine, sync="no", compact_min_bytes=1 << 30)
    for number in range(8):
        store.put(b"key", b"%d" % number * 2000)
    left, looked = disk.detached(), disk.detached()
    open_engine(looked, engine, **STEPS)
    refused = 0
    for at in range(len(looked.looks)):
        again = left.detached()
        again.look_faults = {at: Fault()}
        try:
            store = open_engine(again, engine, **STEPS)
        except StorageError:
            refused += 1
            store = open_engine(again, engine, **STEPS)
        assert store.get(b"key") == b"7" * 2000
    assert refused > 5


# A backup whose name could not be synced was told as failed and stood there all the
# same, and a crash could leave half of it. What is taken back leaves nothing behind.


@both_engines
def test_a_backup_whose_name_cannot_be_synced_leaves_nothing(engine):
    disk = SimDisk()
    store = open_engine(disk, engine)
    store.put(b"key", b"value")
    failed = []

    def once_it_has_its_name(action, path):
        named = disk.is_directory("/copies/copy")
        if (action, path) == ("sync", "/copies") and named and not failed:
            failed.append(path)
            return Fault()
        return None

    disk.choose_fault = once_it_has_its_name
    with pytest.raises(StorageError):
        backup_helper.back_up_here(disk, store._paths, engine, "/copies/copy")
    assert failed
    assert disk.list("/copies") == []


# A backup that was killed is removed by the next one. Its name is synced first: a crash
# between the two could bring it back, half removed, as the backup that it once was.


@both_engines
def test_what_a_killed_backup_left_is_never_found_half_removed_under_its_name(engine):
    disk = SimDisk()
    store = open_engine(disk, engine)
    store.put(b"key", b"value")
    backup_helper.back_up_here(disk, store._paths, engine, "/copies/copy")
    left = f"/copies/copy.{DEAD_PID}-01234567.partial"
    dies_behind(disk, "rename", left)
    with pytest.raises(KilledError):
        disk.rename("/copies/copy", left)
    cuts = PowerCuts(disk, limit=60)
    disk.on_step = cuts.collect
    backup_helper.back_up_here(disk, store._paths, engine, "/copies/copy")
    assert disk.list("/copies") == ["copy"]
    copies = [image for image, _ in cuts.images.values() if "/copies/copy" in image]
    assert copies
    for image in copies:
        copy = open_engine(SimDisk(image), engine, root="/copies/copy")
        assert copy.get(b"key") == b"value"


# A backup to a disk that failed said that the log of the store had failed, and that it
# must be closed.


@both_engines
def test_a_disk_that_fails_under_a_backup_is_no_failure_of_the_store(engine):
    disk = SimDisk()
    store = open_engine(disk, engine)
    store.put(b"key", b"value")
    marker, done = MARKERS[engine].removeprefix(f"{ROOT}/"), []

    def when_the_copy_is_verified(action, path):
        if action == "rename" and path.endswith(f"partial/{marker}"):
            done.append(path)
        return Fault() if action == "rename" and len(done) > 1 else None

    disk.choose_fault = when_the_copy_is_verified
    with pytest.raises(StorageError) as caught:
        backup_helper.back_up_here(disk, store._paths, engine, "/copies/copy")
    assert not isinstance(caught.value, StorageFailedError)
    disk.repair()
    assert not disk.is_directory("/copies/copy")
    store.put(b"key", b"goes on")

"""LMDB grows by itself, counts what it holds, and its damage becomes our errors."""

import hashlib
import json
import os
import random
import shutil
import sys

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypercache.engines import envelope, lmdb_errors, lmdb_walk
from hypercache.engines.lmdb_errors import mapped_error
from hypercache.engines.lmdb_snapshot import LmdbSnapshot
from hypercache.engines.lmdb_store import LmdbStore, StoreState
from hypercache.errors import (
    CorruptionError,
    DiskFullError,
    HyperCacheError,
    StorageError,
    UnsupportedFormatError,
)
from hypercache.ops import Delete, Put, Touch
from hypercache.options import KIB, MAX_KEY_BYTES, MIB
from hypercache.storage import OsStorage
from tests.support.processes import run_python

# What may stay a plain StorageError: it tells of no damage, no format and no full disk.
PLAIN = {
    lmdb.Error: "the base class: an error number of the operating system",
    lmdb.BadRslotError: "a reader slot used twice: ours to avoid",
    lmdb.BadTxnError: "a transaction after its failure: ours to avoid",
    lmdb.BadValsizeError: "a key too long for LMDB: envelope prevents it",
    lmdb.DbsFullError: "more databases than declared: there are two",
    lmdb.DiskError: "ENOSPC is told by its text, see below; else the cause is unknown",
    lmdb.InvalidParameterError: "EINVAL",
    lmdb.KeyExistsError: "never asked for with overwrite=False",
    lmdb.LockError: "lock.mdb cannot be used",
    lmdb.MapFullError: "caught where it can happen: the map grows",
    lmdb.MapResizedError: "another process grew the map: adopted where it can happen",
    lmdb.MemoryError: "ENOMEM",
    lmdb.ReadersFullError: "512 readers at once",
    lmdb.ReadonlyError: "a write to a read-only environment: ours to avoid",
    lmdb.TlsFullError: "no thread-local slot left",
    lmdb.TxnFullError: "a transaction too large: fold_batch bounds it",
}
keys = st.one_of(
    st.binary(min_size=1, max_size=4),
    st.sampled_from(
        [b"x" * 494, b"x" * 495, b"x" * 496, b"x" * 600, b"x" * 600 + b"y"]
    ),
)
key_ops = st.one_of(
    st.builds(Put, keys, st.binary(max_size=50), st.sampled_from([0, 0, 5, 2**40])),
    st.builds(Delete, keys),
    st.builds(Touch, keys, st.sampled_from([0, 7])),
)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path)


@pytest.fixture
def open_store(path):
    """Open the store of this test; closed at the end."""
    opened = []

    def open_one(map_bytes=MIB, *, create=True):
        opened.append(LmdbStore(OsStorage(), path, map_bytes, create=create))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()


def put_all(store, entries, first_lsn=1):
    batch = [Put(key, value) for key, value in entries.items()]
    store.fold(list(enumerate(batch, first_lsn)), first_lsn + len(batch) - 1)


def content(store):
    found, more = store.scan_step(None, None, reverse=False)
    assert not more
    return {entry.key: entry.value for entry in found}


def fresh_walk(store):
    """Count everything again, without the bookkeeping."""
    count = digest = expiring = size = 0
    for key, data, looked_up in store.walk():
        assert data == looked_up
        summary = envelope.summarize(data)
        count, digest = count + 1, digest + summary.digest
        expiring += summary.expires
        size += len(key) + len(data)
    return count, digest & envelope.DIGEST_MASK, expiring, size


# Errors


def errors_of_lmdb():
    return [
        kind
        for kind in vars(lmdb).values()
        if isinstance(kind, type) and issubclass(kind, lmdb.Error)
    ]


@pytest.mark.parametrize("kind", errors_of_lmdb(), ids=lambda kind: kind.__name__)
def test_every_error_of_lmdb_has_a_place(kind):
    mapped = mapped_error(kind("message"), "/s/data.mdb", b"k")
    assert "/s/data.mdb" in str(mapped)
    assert "message" in str(mapped)
    if kind in PLAIN:
        assert type(mapped) is StorageError
    else:
        assert isinstance(mapped, CorruptionError | UnsupportedFormatError)


def test_no_error_is_listed_twice():
    listed = [*lmdb_errors.DAMAGE, *lmdb_errors.FORMAT, *PLAIN]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(errors_of_lmdb())


@pytest.mark.parametrize(
    "text", ["mdb_txn_commit: No space left on device", "x: Disk quota exceeded"]
)
def test_a_full_disk_is_told_from_other_failures(text):
    assert type(mapped_error(lmdb.DiskError(text), "/s")) is DiskFullError


# Growth, keys, folding


def test_a_map_of_64_kib_grows_as_far_as_it_must(open_store):
    store = open_store(64 * KIB)
    entries = {b"%06d" % number: bytes(1000) for number in range(2000)}
    put_all(store, entries)
    assert content_of_steps(store) == entries
    assert store.state().entry_count == 2000


def test_one_entry_larger_than_the_map_is_stored(open_store):
    store = open_store(64 * KIB)
    put_all(store, {b"k": bytes(MIB)})
    assert store.get(b"k").value == bytes(MIB)


def test_a_grown_store_opens_with_a_small_map_again(open_store):
    first = open_store(64 * KIB)
    put_all(first, {b"%d" % number: bytes(1000) for number in range(500)})
    first.close()
    second = open_store(64 * KIB, create=False)
    put_all(second, {b"more": b"x"}, first_lsn=501)
    assert second.state().entry_count == 501


GROW = """
    import sys
    from hypercache.engines.lmdb_store import LmdbStore
    from hypercache.ops import Put
    from hypercache.storage import OsStorage
    store = LmdbStore(OsStorage(), sys.argv[1], 1 << 16, create=False)
    store.fold([(n, Put(b"%d" % n, bytes(1000))) for n in range(1, 501)], 500)
    store.close()
"""


@pytest.mark.parametrize("first", ["get", "state", "scan_step", "fold", "clear"])
def test_a_store_that_another_process_has_grown_is_read_and_written_on(
    open_store, path, first
):
    store = open_store(64 * KIB)
    run_python(GROW, path)
    act = {
        "get": lambda: store.get(b"7"),
        "state": store.state,
        "scan_step": lambda: store.scan_step(None, None, reverse=False),
        "fold": lambda: store.fold([(501, Put(b"more", b"x"))], 501),
        "clear": lambda: store.clear(501),
    }
    act[first]()
    if first != "clear":
        assert store.get(b"7").value == bytes(1000)
        assert store.state().entry_count == 500 + (first == "fold")
    store.fold([(502, Put(b"last", b"y"))], 502)
    assert store.get(b"last").value == b"y"


def content_of_steps(store):
    found, start, more = {}, None, True
    while more:
        batch, more = store.scan_step(start, None, reverse=False)
        found.update((entry.key, entry.value) for entry in batch)
        start = batch[-1].key + b"\0" if batch else None
    return found


@pytest.mark.parametrize("length", [1, 494, 495, 496, 510, 511, 512, MAX_KEY_BYTES])
def test_keys_of_every_length_are_found_and_removed(store, length):
    key = random.Random(length).randbytes(length)
    near = [key[:-1] + bytes([key[-1] ^ 1]), key[:-1], key + b"\0"]
    put_all(store, {key: b"value"})
    assert store.get(key) == (key, b"value", 0, 1)
    assert [store.get(other) for other in near if other] == [None] * sum(
        map(bool, near)
    )
    store.fold([(2, Delete(key))], 2)
    assert store.get(key) is None
    assert store.state() == StoreState(checkpoint_lsn=2)


def test_long_keys_with_one_prefix_stay_apart_and_in_order(store):
    prefix = b"p" * 600
    entries = {prefix + b"%02d" % number: b"%d" % number for number in range(50)}
    entries |= {b"p" * 495: b"short", b"p" * 494 + b"q": b"behind"}
    put_all(store, entries)
    assert content(store) == entries
    found, _ = store.scan_step(None, None, reverse=False)
    assert [entry.key for entry in found] == sorted(entries)
    found, _ = store.scan_step(prefix + b"10", prefix + b"20", reverse=True)
    assert [entry.key for entry in found] == sorted(
        (prefix + b"%02d" % number for number in range(10, 20)), reverse=True
    )


def test_a_key_that_equals_the_stored_form_of_a_long_one_is_another_key(store):
    long_key = b"k" * 600
    impostor = envelope.stored_key(long_key)
    put_all(store, {long_key: b"long", impostor: b"impostor"})
    assert store.get(long_key).value == b"long"
    assert store.get(impostor).value == b"impostor"


def test_folding_the_same_ops_again_changes_nothing(store):
    batch = [
        (1, Put(b"a", b"1")),
        (2, Put(b"b", b"2", 9)),
        (3, Delete(b"a")),
        (4, Touch(b"b", 0)),
        (5, Put(b"c" * 600, b"3", 7)),
    ]
    store.fold(batch, 5)
    once = (store.state(), list(store.walk()))
    store.fold(batch, None)
    store.fold(batch, 5)
    assert (store.state(), list(store.walk())) == once


def test_touch_keeps_the_value_and_makes_no_key(store):
    store.fold([(1, Put(b"a", b"1")), (2, Touch(b"a", 9)), (3, Touch(b"b", 9))], 3)
    assert store.get(b"a") == (b"a", b"1", 9, 2)
    assert store.get(b"b") is None
    assert store.state()[1:5] == fresh_walk(store)


def test_a_fold_in_steps_reaches_its_lsn_only_with_the_last(store):
    store.fold([(1, Put(b"a", b"1"))], None)
    assert store.state().checkpoint_lsn == 0
    store.fold([], 1)
    assert store.state().checkpoint_lsn == 1


def test_clear_removes_all_and_keeps_the_lsn(store):
    put_all(store, {b"a": b"1", b"k" * 600: b"2"})
    store.clear(7)
    assert (content(store), store.state()) == ({}, StoreState(checkpoint_lsn=7))


@settings(max_examples=40, deadline=None)
@given(folds=st.lists(st.lists(key_ops, max_size=12), max_size=6))
def test_bookkeeping_equals_a_fresh_walk_after_any_folds(tmp_path_factory, folds):
    path = tmp_path_factory.mktemp("folds")
    store = LmdbStore(OsStorage(), str(path), 64 * KIB, create=True)
    model, lsn = {}, 0
    for batch in folds:
        numbered = list(enumerate(batch, lsn + 1))
        lsn += len(batch)
        store.fold(numbered, lsn)
        for at, op in numbered:
            apply_to(model, at, op)
    assert store.state() == (lsn, *fresh_walk(store), b"")
    found, _ = store.scan_step(None, None, reverse=False)
    assert {entry.key: entry[1:] for entry in found} == model
    assert [entry.key for entry in found] == sorted(model)
    store.close()
    assert list(lmdb_walk.walk(str(path))) == []
    shutil.rmtree(path)


def apply_to(model, lsn, op):
    match op:
        case Put(key, value, expires_at_ms):
            model[key] = (value, expires_at_ms, lsn)
        case Touch(key, expires_at_ms) if key in model:
            model[key] = (model[key][0], expires_at_ms, lsn)
        case Delete(key):
            model.pop(key, None)


# Damage


def sample(store):
    entries = {
        b"key-%02d" % number: b"value %02d " % number * 9 for number in range(20)
    }
    entries[b"long" * 200] = b"long value"
    put_all(store, entries)
    return entries


def leaf_of(path, entries):
    """Return the offset of the page that the values lie in."""
    with open(f"{path}/data.mdb", "rb") as file:
        data = file.read()
    places = [data.rfind(value) // 4096 for value in entries.values()]
    assert len(set(places)) == 1
    return places[0] * 4096


FLIPPER = """
    import hashlib, json, os, sys
    from hypercache.engines import lmdb_walk
    from hypercache.engines.lmdb_store import LmdbStore
    from hypercache.errors import HyperCacheError
    from hypercache.storage import OsStorage

    path, sound, flips = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    data_path = path + "/data.mdb"

    def content():
        store = LmdbStore(OsStorage(), path, 1 << 20, create=False, read_only=True)
        digest, start, more = hashlib.sha256(), None, True
        while more:
            batch, more = store.scan_step(start, None, False)
            for entry in batch:
                assert store.get(entry.key) == entry
                digest.update(repr(entry).encode())
                start = entry.key + b"\\0"
        return digest.hexdigest()

    def verdict():
        try:
            if list(lmdb_walk.walk(path)):
                return 1
            return 0 if content() == sound else 2
        except HyperCacheError:
            return 1
        except BaseException:
            return 3

    results = {}
    for at, mask in flips:
        with open(data_path, "r+b") as file:
            byte = os.pread(file.fileno(), 1, at)
            os.pwrite(file.fileno(), bytes([byte[0] ^ mask]), at)
            pid = os.fork()
            if pid == 0:
                os.close(2)
                os._exit(verdict())
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            os.pwrite(file.fileno(), byte, at)
        results.setdefault(code, []).append((at, mask))
    print(json.dumps(results))
"""


def test_a_flipped_byte_in_the_page_of_a_value_is_reported_or_harmless(store, path):
    entries = sample(store)
    digest = hashlib.sha256()
    for entry in store.scan_step(None, None, reverse=False)[0]:
        digest.update(repr(entry).encode())
    store.close()
    page, rng = leaf_of(path, entries), random.Random(20)
    value = entries[b"key-07"]
    with open(f"{path}/data.mdb", "rb") as file:
        at_value = file.read().rfind(value)
    wanted = {*range(page, page + 100), *range(at_value - 40, at_value + len(value))}
    wanted |= {page + rng.randrange(4096) for _ in range(200)}
    flips = [(at, rng.choice([0xFF, 1, 0x80])) for at in sorted(wanted)]
    # Killing the reader is no silence: verify runs it in a process of its own.
    told = json.loads(run_python(FLIPPER, path, digest.hexdigest(), json.dumps(flips)))
    assert "2" not in told, f"silent damage at {told['2']}, page {page}, seed 20"
    assert "3" not in told, f"a foreign exception at {told['3']}, page {page}, seed 20"
    reported = {
        tuple(flip) for code, found in told.items() if code != "0" for flip in found
    }
    in_value = [flip for flip in flips if 0 <= flip[0] - at_value < len(value)]
    assert set(in_value) <= reported


def test_get_reports_a_damaged_value_with_its_key(store, path, open_store):
    entries = sample(store)
    store.close()
    with open(f"{path}/data.mdb", "r+b") as file:
        at = file.read().rfind(entries[b"key-07"])
        os.pwrite(file.fileno(), b"V", at)
    damaged = open_store(create=False)
    with pytest.raises(CorruptionError, match="does not match its checksum") as caught:
        damaged.get(b"key-07")
    assert caught.value.key == b"key-07"
    assert caught.value.path == f"{path}/data.mdb"
    assert damaged.get(b"key-08").value == entries[b"key-08"]
    with pytest.raises(CorruptionError):
        damaged.scan_step(None, None, reverse=False)
    with pytest.raises(CorruptionError):
        damaged.fold([(99, Touch(b"key-07", 1))], 99)


def test_verify_finds_every_damaged_value_and_names_its_key(store, path):
    entries = sample(store)
    store.close()
    with open(f"{path}/data.mdb", "r+b") as file:
        data = file.read()
        for key in (b"key-03", b"key-11"):
            os.pwrite(file.fileno(), b"V", data.rfind(entries[key]))
    assert [(p.key, p.path) for p in lmdb_walk.verify(path)] == [
        (b"key-03", f"{path}/data.mdb"),
        (b"key-11", f"{path}/data.mdb"),
    ]


def test_verify_finds_a_lost_and_a_doubled_entry(store, path):
    sample(store)
    state = store.state()
    with store._env.begin(write=True) as txn:
        txn.delete(b"key-05", db=store._data)
    store.close()
    [problem] = lmdb_walk.verify(path)
    assert problem.reason == "it holds 20 entries where 21 belong"
    assert state.entry_count == 21


def test_a_sound_store_has_no_problems(store, path):
    sample(store)
    store.close()
    assert lmdb_walk.verify(path) == []


def test_an_open_store_is_verified_where_no_helper_process_can_start(
    store, path, monkeypatch
):
    sample(store)
    monkeypatch.setattr(sys, "executable", "")
    assert lmdb_walk.verify(path, store) == []


def test_a_closed_store_is_verified_where_no_helper_process_can_start(
    store, path, monkeypatch
):
    entries = sample(store)
    store.close()
    monkeypatch.setattr(sys, "executable", "")
    assert lmdb_walk.verify(path) == []
    with open(f"{path}/data.mdb", "r+b") as file:
        os.pwrite(file.fileno(), b"V", file.read().rfind(entries[b"key-03"]))
    assert [problem.key for problem in lmdb_walk.verify(path)] == [b"key-03"]


@pytest.mark.parametrize("pages", [2, 3, 5])
def test_a_shortened_file_kills_nobody_where_no_helper_process_can_start(
    store, path, pages
):
    put_all(store, {b"%04d" % number: bytes(500) for number in range(200)})
    store.close()
    os.truncate(f"{path}/data.mdb", pages * 4096)
    # In a process of its own, for the case that it does kill.
    code = """
        import sys
        from hypercache.engines import lmdb_walk
        from hypercache.errors import HyperCacheError
        sys.executable = ""
        try:
            print(lmdb_walk.verify(sys.argv[1]))
        except HyperCacheError as error:
            print(error)
    """
    assert "too short" in run_python(code, path)


@pytest.mark.parametrize("pages", [0, 1, 2, 3, 5])
def test_a_shortened_file_is_reported_and_kills_nobody(store, path, pages):
    put_all(store, {b"%04d" % number: bytes(500) for number in range(200)})
    store.close()
    os.truncate(f"{path}/data.mdb", pages * 4096)
    assert lmdb_walk.verify(path) != []


@pytest.mark.parametrize("less", [1, 4095, 4096])
def test_missing_bytes_at_the_end_are_counted(store, path, open_store, less):
    put_all(store, {b"%04d" % number: bytes(500) for number in range(200)})
    needed = store.missing_bytes() + os.path.getsize(f"{path}/data.mdb")
    store.close()
    os.truncate(f"{path}/data.mdb", needed - less)
    assert open_store(create=False).missing_bytes() == less


@pytest.mark.parametrize("garbage", [None, b"", b"x", bytes(8192), b"\xff" * 8192])
def test_lock_mdb_may_be_missing_or_garbage(store, path, open_store, garbage):
    entries = sample(store)
    store.close()
    os.unlink(f"{path}/lock.mdb")
    if garbage is not None:
        with open(f"{path}/lock.mdb", "wb") as file:
            file.write(garbage)
    again = open_store(create=False)
    assert content(again) == entries
    put_all(again, {b"more": b"x"}, first_lsn=100)
    assert again.get(b"more").value == b"x"


@pytest.mark.parametrize(
    "data", [b"", b"x" * 100, b"\xff" * 16384], ids=["empty", "short", "ones"]
)
def test_a_file_that_is_no_lmdb_is_an_error_of_ours_and_lets_go(path, data):
    with open(f"{path}/data.mdb", "wb") as file:
        file.write(data)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(HyperCacheError):
        LmdbStore(OsStorage(), path, MIB, create=False)
    assert os.listdir("/proc/self/fd") == before


def test_a_missing_directory_is_an_error_of_ours(path):
    with pytest.raises(StorageError):
        LmdbStore(OsStorage(), f"{path}/nowhere", MIB, create=False)


def test_files_are_for_their_owner_alone(store, path):
    modes = [os.stat(f"{path}/{name}").st_mode & 0o777 for name in os.listdir(path)]
    assert modes == [0o600] * 2


def test_reading_takes_no_lock_and_changes_no_file(store, path):
    sample(store)
    store.close()
    before = {name: os.stat(f"{path}/{name}").st_mtime_ns for name in os.listdir(path)}
    assert list(lmdb_walk.walk(path)) == []
    after = {name: os.stat(f"{path}/{name}").st_mtime_ns for name in os.listdir(path)}
    assert after == before


def test_a_reader_joins_a_writer_whose_map_has_filled_in_the_middle_of_a_write(
    tmp_path,
):
    store = LmdbStore(OsStorage(), str(tmp_path), 64 * KIB, create=True)
    while os.path.getsize(tmp_path / "data.mdb") * 2 <= store._env.info()["map_size"]:
        store.fold([(1, Put(os.urandom(8), b"x" * 500))], None)
    with store._env.begin(write=True):
        reader = LmdbSnapshot(OsStorage(), str(tmp_path), shared=True)
        assert reader.scan_step(None, None, False)[0]
        reader.close()
    store.close()

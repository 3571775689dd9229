"""Files whose checksums are right and whose content no writer would write.

Each was found by a fuzzer, and came out as another error than the documented ones, as
an entry that broke the next checkpoint, or as memory that the file did not need.
"""

import json
import struct
import time
import tracemalloc
from dataclasses import asdict

import msgpack
import pytest
import zstandard
from crc32c import crc32c

from hypercache import frame, ops, recovery
from hypercache.aof import manifest
from hypercache.aof.base import decode_block
from hypercache.engines import envelope, identity
from hypercache.errors import CorruptionError
from hypercache.inspection import layout, summary
from hypercache.inspection.layout import Kind
from hypercache.inspection.report import State
from hypercache.log_reader import LogReader
from hypercache.ops import Delete, Put, Touch
from hypercache.paths import StorePaths
from hypercache.recovery import metafiles
from hypercache.segment import SegmentHeader, SegmentReader, SegmentWriter, seed_of
from hypercache.testing.simulated_disk import SimDisk
from hypercache.wal import checkpoint

PATHS = StorePaths("/store")
UUID = bytes(range(16))
STORE = {"engine": "hybrid", "format": 1, "serializer": None, "state": "ready"}
MARKER = asdict(checkpoint.Marker())
MANIFEST = asdict(manifest.Manifest())
decompress = zstandard.ZstdDecompressor().decompress


def sealed(line):
    return b"%s\n%08x\n" % (line, crc32c(line))


def disk_with(files):
    folders = {"/store": None, PATHS.wal: None, PATHS.aof: None}
    return SimDisk({**folders, **files})


def json_disk(path, fields):
    return disk_with({path: sealed(json.dumps(fields).encode())})


# A metafile with a right checksum was believed: what its JSON said came out as
# TypeError, RecursionError or ValueError, in the reader or far behind it.


@pytest.mark.parametrize("path", [PATHS.store, PATHS.checkpoint, PATHS.manifest])
def test_json_nested_too_deep_is_corruption(path):
    disk = disk_with({path: sealed(b'{"base":' + b"[" * 100_000)})
    load = {
        PATHS.store: identity.load_identity,
        PATHS.checkpoint: checkpoint.load,
        PATHS.manifest: manifest.load,
    }[path]
    with pytest.raises(CorruptionError, match="no JSON"):
        load(disk, PATHS)
    layout.load(disk, PATHS, Kind.WAL)


def test_a_metafile_is_not_read_when_it_is_far_too_long():
    disk = disk_with({PATHS.store: sealed(b'{"a": "%s"}' % (b"x" * (2 << 20)))})
    with pytest.raises(CorruptionError, match="it has 2097"):
        identity.load_identity(disk, PATHS)


WRONG_NUMBERS = [None, "7", [], {}, 1.0, True, -1, 1 << 63, 10**400]


@pytest.mark.parametrize("value", WRONG_NUMBERS, ids=repr)
@pytest.mark.parametrize("name", ["first_segment", "active_segment", "next_lsn"])
def test_a_number_that_is_none_or_out_of_range_is_corruption(name, value):
    marker = {**MARKER, name: value}
    with pytest.raises(CorruptionError, match=name):
        checkpoint.load(json_disk(PATHS.checkpoint, marker), PATHS)
    named = {**MANIFEST, name: value}
    with pytest.raises(CorruptionError, match=name):
        manifest.load(json_disk(PATHS.manifest, named), PATHS)


@pytest.mark.parametrize("value", WRONG_NUMBERS[:-2], ids=repr)
@pytest.mark.parametrize(
    "name", ["number", "lsn", "entry_count", "length_bytes", "digest"]
)
def test_a_base_is_not_named_by_nonsense(name, value):
    base = {"number": 1, "lsn": 2, "entry_count": 3, "length_bytes": 4, "digest": 5}
    disk = json_disk(PATHS.manifest, {**MANIFEST, "base": {**base, name: value}})
    with pytest.raises(CorruptionError, match=name):
        manifest.load(disk, PATHS)


@pytest.mark.parametrize("clean", [0, 1, None, "true"])
def test_clean_is_a_flag_and_nothing_like_one(clean):
    marker = {**MARKER, "clean": clean}
    with pytest.raises(CorruptionError, match="clean"):
        checkpoint.load(json_disk(PATHS.checkpoint, marker), PATHS)


@pytest.mark.parametrize(
    "changed",
    [
        {"uuid": "00" * 15},
        {"uuid": "zz" * 16},
        {"uuid": 7},
        {"uuid": "00" * 16 + "\n"},
        {"engine": None},
        {"state": []},
        {"serializer": {}},
    ],
    ids=repr,
)
def test_an_identity_of_nonsense_is_corruption(changed):
    disk = json_disk(PATHS.store, {**STORE, "uuid": "00" * 16, **changed})
    with pytest.raises(CorruptionError, match="make no sense"):
        identity.load_identity(disk, PATHS)


# An envelope that ended inside its long key was a struct.error, and one with a flag of
# another version passed for an entry.


def enveloped(lmdb_key, body):
    return struct.pack("<I", crc32c(body, crc32c(lmdb_key))) + body


def test_an_envelope_that_ends_inside_its_key_is_none():
    key = b"k" * 600
    whole, lmdb_key = envelope.wrap(key, b"", 0, 7), envelope.stored_key(key)
    assert envelope.unwrap(lmdb_key, whole) == (key, b"", 0, 7)
    for length in range(4, len(whole)):
        assert envelope.unwrap(lmdb_key, enveloped(lmdb_key, whole[4:length])) is None


@pytest.mark.parametrize("flags", [2, 3, 255])
def test_an_envelope_with_flags_that_nobody_writes_is_none(flags):
    body = struct.pack("<BQQ", flags, 0, 7) + b"\x01\x00kvalue"
    assert envelope.unwrap(b"key", enveloped(b"key", body)) is None


# Keys and expiries that no store accepts passed through replay; the next checkpoint
# failed on them with struct.error or lmdb.BadValsizeError, and so did each after it.


@pytest.mark.parametrize(
    "op",
    [
        Put(b"", b"v"),
        Put(b"", b"v", 5),
        Put(b"k" * 65_536, b"v"),
        Put(b"k" * 65_536, b"v", 5),
        Put(b"k", b"v", -1),
        Delete(b""),
        Delete(b"k" * 65_536),
        Touch(b"", 5),
        Touch(b"k", -5),
    ],
    ids=lambda op: f"{type(op).__name__}-{len(op.key)}-{op[-1]!r:.6}",
)
def test_an_op_that_no_store_accepts_is_no_op(op):
    payload = ops.encode(ops.Packer(), [Put(b"k", b"v"), op, Put(b"k", b"v")])
    with pytest.raises(ValueError, match=r"no op|another type"):
        ops.decode(payload, 3)


def test_the_longest_key_beside_long_values_is_an_op():
    batch = [Put(b"k" * 65_535, b"v" * 70_000), Put(b"\xc6", b"\xc6" * 65_536)]
    assert ops.decode(ops.encode(ops.Packer(), batch), 2) == batch


def test_an_ext_whose_code_is_that_of_an_op_is_no_op():
    payload = msgpack.packb(msgpack.ExtType(2, b"key"))
    with pytest.raises(ValueError, match="no op"):
        ops.decode(payload, 1)


# Each of a thousand nested arrays took the memory for as many items as it announced,
# up to the bytes of the payload: gigabytes for a megabyte.


def test_arrays_inside_arrays_take_no_memory_for_what_they_announce():
    count = 100_000
    hostile = (b"\xdd" + struct.pack(">I", count)) * 1000 + bytes(count)
    block = zstandard.ZstdCompressor().compress(b"\x81\xc4\x01k" + hostile)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="no 1 ops"):
            ops.decode(hostile, 1)
        with pytest.raises(ValueError, match="max_array_len"):
            decode_block(block, decompress)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "block",
    [{b"": b"v"}, {b"k" * 65_536: b"v"}, {b"k": (b"v", -1)}],
    ids=["empty-key", "long-key", "expiry"],
)
def test_a_block_of_entries_that_no_store_accepts_is_refused(block):
    packed = zstandard.ZstdCompressor().compress(msgpack.packb(block))
    with pytest.raises(ValueError, match="no map of keys"):
        decode_block(packed, decompress)


def test_a_block_that_claims_more_than_zstd_can_hold_takes_no_memory():
    size = struct.pack("<Q", 1 << 30)
    packed = b"\x28\xb5\x2f\xfd\xe0" + size + b"\x01\x00\x00"
    assert zstandard.frame_content_size(packed) == 1 << 30
    with pytest.raises(ValueError, match="would take 1073741824 bytes"):
        decode_block(packed, decompress)


def test_what_follows_the_zstd_frame_of_a_block_is_not_passed_over():
    packed = zstandard.ZstdCompressor().compress(msgpack.packb({b"k": b"v"}))
    assert decode_block(packed, decompress) == {b"k": b"v"}
    with pytest.raises(ValueError, match="unused"):
        decode_block(packed + packed, decompress)


# A footer whose payload was no msgpack was an error of msgpack.


@pytest.mark.parametrize(
    ("op_count", "payload"),
    [
        (0, b""),
        (0, b"\xc1"),
        (0, b"\xdd\xff\xff\xff\xff"),
        (0, b"\x93\x00\x00\x00\x00"),
        (7, msgpack.packb([0, 0, 0])),
    ],
    ids=["empty", "unused-byte", "endless", "too-long", "with-ops"],
)
def test_a_footer_that_nobody_writes_is_corruption(op_count, payload):
    header = SegmentHeader(UUID, 1, 1).encode()
    place = seed_of(header), len(header), 1, 0
    footer = frame.encode(*place, op_count, frame.KIND_FOOTER, payload)[1]
    reader = SegmentReader(header + footer, "segment")
    with pytest.raises(CorruptionError, match="footer disagrees"):
        list(reader)


# With an older marker in its place, a segment whose first frame was damaged passed for
# one that was just begun, and the next one written would have replaced it.


def written(disk, number, lsn, payloads, *, flip=None):
    path = PATHS.wal_log.segment(number)
    file = disk.create(path, mapped=False)
    writer = SegmentWriter(file, SegmentHeader(UUID, number, lsn), 4096)
    for payload in payloads:
        writer.append(payload, 1, 0)
    if flip is not None:
        file.write_at(flip, b"\xff")
    file.close()


def verdicts(disk, marker):
    checkpoint.store(disk, PATHS, marker)
    reader = LogReader(disk, PATHS.wal_log, UUID, marker.extent)
    list(reader.replay())
    try:
        reader.refuse_unknown_segments()
        refused = False
    except CorruptionError:
        refused = True
    report = summary.inspect(disk, PATHS, Kind.WAL, 0)
    return refused, report.state is State.DAMAGED


@pytest.fixture
def marker():
    return checkpoint.Marker(active_segment=0, next_lsn=1)


PUT = ops.encode(ops.Packer(), [Put(b"k", b"v")])


def test_a_segment_that_nothing_names_and_that_holds_something_is_refused(marker):
    disk = disk_with({})
    written(disk, 1, 1, [PUT, PUT], flip=70)
    assert verdicts(disk, marker) == (True, True)


def test_its_header_being_damaged_as_well_is_no_excuse(marker):
    # Found by fuzzing: with it the segment passed for one that was just begun.
    disk = disk_with({})
    written(disk, 1, 1, [PUT], flip=0)
    assert verdicts(disk, marker) == (True, True)


@pytest.mark.parametrize("flip", [None, 0])
def test_a_segment_that_nothing_names_and_that_was_just_begun_is_not(marker, flip):
    disk = disk_with({})
    written(disk, 1, 1, [], flip=flip)
    assert verdicts(disk, marker) == (False, False)


def test_a_segment_behind_the_next_one_is_refused_even_if_it_holds_nothing(marker):
    disk = disk_with({})
    for number in (1, 2):
        written(disk, number, 1, [], flip=0)
    assert verdicts(disk, marker) == (True, True)


def test_a_marker_without_segments_whose_log_ends_too_early_is_refused():
    marker = checkpoint.Marker(checkpoint_lsn=31, first_segment=3, active_segment=2)
    disk = disk_with({})
    checkpoint.store(disk, PATHS, marker)
    with pytest.raises(CorruptionError, match="too short"):
        list(LogReader(disk, PATHS.wal_log, UUID, marker.extent).replay())
    report = summary.inspect(disk, PATHS, Kind.WAL, 0)
    assert [problem.reason for problem in report.problems] == ["the log is too short"]


# A damaged file that an open removes without reading it was reported as damage.


def test_a_leftover_with_a_damaged_header_is_worth_a_note():
    disk = disk_with({PATHS.wal_log.segment(1): b"damaged"})
    marker = checkpoint.Marker(first_segment=2, active_segment=1)
    assert verdicts(disk, marker) == (False, False)
    report = summary.inspect(disk, PATHS, Kind.WAL, 0)
    assert "no longer part" in report.notes[0]
    assert (report.bytes.leftover, report.bytes.damaged) == (7, 0)


def test_a_base_of_another_store_that_nothing_names_is_worth_a_note():
    header = SegmentHeader(bytes(16), 1, 1).encode()
    fields = {**STORE, "engine": "memory", "uuid": UUID.hex()}
    disk = json_disk(PATHS.store, fields)
    manifest.store(disk, PATHS, manifest.Manifest())
    disk.create(PATHS.bases.segment(1), mapped=False).write_at(0, header)
    report = summary.inspect(disk, PATHS, Kind.AOF, 0)
    assert report.state is State.CLEAN
    assert "cut short" in report.notes[0]


# A recovery that looked for the one damaged byte of a metafile tried them all: garbage
# of some KiB kept it busy for minutes.


def test_whichever_byte_of_a_metafile_is_damaged_recovery_puts_it_right():
    whole = sealed(json.dumps({**MARKER, "lmdb_mtime_ns": 1 << 60}).encode())
    fields = json.loads(whole[:-10])
    for at, byte in enumerate(whole):
        for changed in {byte ^ 1, byte ^ 0x20, 0xFF, 0x0A} - {byte}:
            disk = disk_with({"/M": whole[:at] + bytes([changed]) + whole[at + 1 :]})
            found = metafiles.read(disk, "/M", metafiles.marker_is_sound)
            assert (found.fields, found.whole) == (fields, False)


@pytest.mark.parametrize("tail", [b"\n00000000\n", b"", b"\n\n"])
def test_a_metafile_of_garbage_does_not_keep_recovery_busy(tail):
    garbage = bytes(range(256)) * 63 + tail
    before = time.process_time()
    disk = disk_with({"/M": garbage})
    assert metafiles.read(disk, "/M", metafiles.marker_is_sound).fields is None
    assert time.process_time() - before < 2


def test_recovery_takes_json_nested_too_deep_for_damage():
    disk = disk_with({"/M": sealed(b'{"base":' + b"[" * 10_000)})
    assert metafiles.read(disk, "/M", metafiles.manifest_is_sound).fields is None


# Such a segment was called begun and empty by a recovery, too: it advised to open the
# store, which refused.


def test_recovery_does_not_take_a_damaged_segment_for_an_empty_one():
    fields = {**STORE, "engine": "memory", "uuid": UUID.hex()}
    disk = json_disk(PATHS.store, fields)
    manifest.store(disk, PATHS, manifest.Manifest())
    file = disk.create(PATHS.increments.segment(1), mapped=False)
    writer = SegmentWriter(file, SegmentHeader(UUID, 1, 1), 4096)
    writer.append(PUT, 1, 0)
    assert not recovery.examine(disk, PATHS.root).next.startswith("open it")
    file.write_at(70, b"\xff")
    assert not recovery.examine(disk, PATHS.root).next.startswith("open it")

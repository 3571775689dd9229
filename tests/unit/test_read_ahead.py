"""What a helper reads ahead is taken only if it is all of what it was asked for."""

import json
import subprocess
import sys

import pytest

from hypercache import ops
from hypercache.aof import manifest as manifests
from hypercache.aof.manifest import Manifest
from hypercache.aof.writer import AofWriter
from hypercache.engines.replay_helper import _HEAD, HelperFailedError, ReadAhead
from hypercache.group_commit import CommitState, GroupCommit
from hypercache.log_reader import Extent, LogReader
from hypercache.ops import Put
from hypercache.options import Options, SyncPolicy
from hypercache.paths import StorePaths
from hypercache.storage import OsStorage, SystemClock

UUID = bytes(range(16))
OPTIONS = Options.resolve(segment_bytes=4096, log_io="write")


class Increments:
    """Three sealed increments of one op each; a helper reads the first two."""

    def __init__(self, root):
        self.storage, self.paths = OsStorage(), StorePaths(str(root))
        self.storage.make_directory(self.paths.aof)
        manifests.store(self.storage, self.paths, Manifest())
        writer = AofWriter(self.storage, self.paths, OPTIONS, UUID, Manifest())
        writer.attach(
            GroupCommit(
                CommitState(SyncPolicy.ALWAYS, 0),
                SystemClock(),
                sync_file=writer.sync_active,
                appended_lsn=writer.appended_lsn,
                on_synced=lambda _lsn: None,
            )
        )
        self.payloads = []
        for number in range(3):
            op = Put(b"key%d" % number, b"value")
            self.payloads.append(bytes(ops.encode(ops.Packer(), [op])))
            writer.append(self.payloads[-1], 1)
            writer.seal_active()
        self.extent = writer.extent
        ahead = LogReader(self.storage, self.paths.increments, UUID, self.ahead)
        assert len(list(ahead.packed())) == 2
        self.progress = ahead.progress

    @property
    def ahead(self):
        return Extent(0, 1, 2, 1, clean=True)

    def message(self, number):
        return (
            _HEAD.pack(number, 1, len(self.payloads[number - 1]))
            + (self.payloads[number - 1])
        )

    def last(self, **changes):
        next_lsn, facts, ends = self.progress
        fields = {"next_lsn": next_lsn, "ends": ends, **changes}
        ends = [(number, *end) for number, end in fields["ends"].items()]
        payload = json.dumps([fields["next_lsn"], facts, ends]).encode()
        return _HEAD.pack(0, 0, len(payload)) + payload

    def read(self, *messages):
        """Return the ops that a load gets where a helper has said this."""
        said = b"".join(messages)
        code = "import sys; sys.stdout.buffer.write(bytes.fromhex(sys.argv[1]))"
        process = subprocess.Popen(
            [sys.executable, "-c", code, said.hex()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        reader = LogReader(self.storage, self.paths.increments, UUID, self.extent)
        with ReadAhead(process, self.ahead, self.paths.aof) as ahead:
            found = [*ahead.beside(reader), *reader.unpacked()]
        return [op.key for _, unpacked in found for op in ops.as_ops(unpacked)]


@pytest.fixture
def increments(tmp_path):
    return Increments(tmp_path)


def test_what_the_helper_and_the_load_read_is_the_whole_log(increments):
    first, second = increments.message(1), increments.message(2)
    assert increments.read(first, second, increments.last()) == [
        b"key0",
        b"key1",
        b"key2",
    ]


def test_a_helper_that_stops_early_is_not_believed(increments):
    first, second = increments.message(1), increments.message(2)
    for said in ((), (first,), (first, second)):
        with pytest.raises(HelperFailedError, match="it stopped"):
            increments.read(*said)
    with pytest.raises(HelperFailedError, match="in the middle of a message"):
        increments.read(first, second[:-1])
    with pytest.raises(HelperFailedError, match="it stopped"):
        increments.read(first, second[:10])


def test_a_helper_that_leaves_something_out_is_not_believed(increments):
    first, second = increments.message(1), increments.message(2)
    with pytest.raises(HelperFailedError, match="must follow"):
        increments.read(second, first, increments.last())
    with pytest.raises(HelperFailedError, match="did not read all"):
        increments.read(first, increments.last())
    with pytest.raises(HelperFailedError, match="did not read all"):
        increments.read(first, second, increments.last(next_lsn=4))
    ends = dict(increments.progress.ends)
    ends.pop(2)
    with pytest.raises(HelperFailedError, match="did not read all"):
        increments.read(first, second, increments.last(ends=ends))


def test_a_helper_that_talks_nonsense_is_not_believed(increments):
    for payload in (b"no json", b"[]", b"[1, 2, 3]", b"{}"):
        said = _HEAD.pack(0, 0, len(payload)) + payload
        with pytest.raises(HelperFailedError):
            increments.read(increments.message(1), increments.message(2), said)

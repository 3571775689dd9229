"""A disk that cannot read some blocks costs what was in them, and nothing more."""

import errno
import shutil

import pytest

from hypercache import recovery
from hypercache.errors import StorageError
from hypercache.os_errors import translated
from hypercache.recovery.findings import Loss
from hypercache.storage import OsStorage
from tests.recovery.stores import build, build_lmdb, contents, leaf_pages
from tests.support.tracing import needs_strace, skip_unless_traceable, trace

BLOCK = 4096


class BadBlocks(OsStorage):
    """A real disk with blocks of one file that no read returns."""

    def __init__(self, path, blocks, number=errno.EIO):
        self.path, self.number, self.asked = str(path), number, []
        self.ranges = [range(at, at + BLOCK) for at in blocks]

    def open_read(self, path):
        file = super().open_read(path)
        return _BadFile(file, self) if path == self.path else file

    def read(self, path):
        with self.open_read(path) as file:
            return file.read_at(0, file.size_bytes)


class _BadFile:
    def __init__(self, file, disk):
        self._file, self._disk, self.before_read = file, disk, lambda: None
        self.path, self.size_bytes = file.path, file.size_bytes

    def read_at(self, offset, length):
        self.before_read()
        for bad in self._disk.ranges:
            if bad.start < offset + length and offset < bad.stop:
                self._disk.asked.append((offset, length))
                with translated("read", self.path):
                    raise OSError(self._disk.number, "the medium is bad")
        return self._file.read_at(offset, length)

    def close(self):
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def zeroed(path, blocks):
    """Put zeros where the disk has bad blocks."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        for at in blocks:
            file.seek(at)
            file.write(bytes(min(BLOCK, size - at)))


def unreadable(report):
    return [
        (found.file, found.offset, found.length_bytes)
        for found in report.findings
        if found.kind == "unreadable"
    ]


@pytest.mark.parametrize("engine", ["memory", "hybrid"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EBADMSG])
def test_a_log_gives_all_but_what_was_in_the_bad_blocks(
    tmp_path, engine, number, in_this_process
):
    store = build(tmp_path / "store", engine, 400, killed=engine == "hybrid")
    blocks = (BLOCK, 3 * BLOCK)
    disk = BadBlocks(store.log, blocks, number)
    report = recovery.salvage(disk, str(store.path), str(tmp_path / "out"))

    lost = [
        rec.lsn
        for rec in store.records
        if any(rec.start < at + BLOCK and at < rec.end for at in blocks)
    ]
    assert lost
    assert contents(tmp_path / "out", engine) == store.without(*lost)
    assert report.loss is Loss.CERTAIN
    name = str(store.log.relative_to(store.path))
    assert unreadable(report) == [(name, at, BLOCK) for at in blocks]
    examination = recovery.examine(disk, str(store.path))
    assert unreadable(examination) == unreadable(report)


@pytest.mark.parametrize("page", ["meta", "first leaf", "last leaf"])
def test_lmdb_gives_what_it_would_with_zeros_in_the_bad_block(
    tmp_path, page, in_this_process
):
    build_lmdb(tmp_path / "store", 300)
    data = tmp_path / "store" / "lmdb" / "data.mdb"
    leaves = leaf_pages(data)
    at = BLOCK * {"meta": 0, "first leaf": leaves[0], "last leaf": leaves[-1]}[page]
    disk = BadBlocks(data, [at])
    report = recovery.salvage(disk, str(tmp_path / "store"), str(tmp_path / "out"))
    assert unreadable(report) == [("lmdb/data.mdb", at, BLOCK)]

    shutil.copytree(tmp_path / "store", tmp_path / "zeroed")
    zeroed(tmp_path / "zeroed" / "lmdb" / "data.mdb", [at])
    expected = recovery.salvage(
        OsStorage(), str(tmp_path / "zeroed"), str(tmp_path / "out2")
    )
    found = contents(tmp_path / "out", "persistent")
    assert found == contents(tmp_path / "out2", "persistent")
    assert len(found) > 100
    others = tuple(each for each in report.findings if each.kind != "unreadable")
    assert others == expected.findings


@pytest.mark.parametrize("name", ["STORE", "aof/MANIFEST"])
def test_a_metafile_that_cannot_be_read_is_one_that_is_lost(
    tmp_path, name, in_this_process
):
    store = build(tmp_path / "store", "memory", 50, killed=False)
    size = (store.path / name).stat().st_size
    disk = BadBlocks(store.path / name, [0])
    report = recovery.salvage(disk, str(store.path), str(tmp_path / "out"))
    assert unreadable(report) == [(name, 0, size)]
    assert contents(tmp_path / "out", "memory") == store.without()


def test_a_bad_block_is_asked_for_once(tmp_path, in_this_process):
    # A disk tries for seconds before it gives up: twice the blocks is twice the time.
    store = build(tmp_path / "store", "memory", 400, killed=False)
    disk = BadBlocks(store.log, [2 * BLOCK])
    recovery.examine(disk, str(store.path))
    asked = [(at, size) for at, size in disk.asked if size <= BLOCK]
    assert len(asked) == 1
    assert len(disk.asked) <= 3


class GettingWorse(BadBlocks):
    """A disk on which the blocks go bad behind so many reads of the file."""

    def __init__(self, path, blocks, reads):
        super().__init__(path, blocks)
        self.later, self.ranges, self.left = self.ranges, [], reads

    def open_read(self, path):
        file = super().open_read(path)
        if path == self.path:
            file.before_read = self.count
        return file

    def count(self):
        self.left -= 1
        if self.left < 0:
            self.ranges = self.later


@pytest.mark.parametrize("engine", ["memory", "hybrid", "persistent"])
def test_a_disk_that_gets_worse_meanwhile_loses_nothing_without_a_word(
    tmp_path, engine, in_this_process
):
    # A block that was read by the first pass and not by the second was left out of a
    # store whose report said that nothing was missing.
    path = tmp_path / "store"
    if engine == "persistent":
        build_lmdb(path, 300)
        file = path / "lmdb" / "data.mdb"
        blocks = [BLOCK * page for page in leaf_pages(file)[:3]]
    else:
        file = build(path, engine, 200, killed=engine == "hybrid").log
        blocks = [BLOCK, 2 * BLOCK, 9 * BLOCK]
    whole, told, refused = contents(path, engine), 0, 0
    reads = 0
    while True:
        disk = GettingWorse(file, blocks, reads)
        out = tmp_path / f"out{reads}"
        try:
            report = recovery.salvage(disk, str(path), str(out))
        except StorageError:
            assert not out.exists()
            refused += 1
        else:
            if disk.left >= 0:
                break
            told += report.loss is not Loss.NONE
            assert report.loss is not Loss.NONE or contents(out, engine) == whole
        reads += 1 + reads // 16
    assert told
    assert refused


def test_an_error_that_is_none_of_the_medium_ends_the_recovery(tmp_path):
    store = build(tmp_path / "store", "memory", 50, killed=False)
    disk = BadBlocks(store.log, [0], errno.EACCES)
    with pytest.raises(StorageError, match="the medium is bad"):
        recovery.salvage(disk, str(store.path), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.privileged
@needs_strace
def test_the_command_reads_on_where_the_kernel_says_eio(tmp_path):
    skip_unless_traceable(tmp_path)
    store = build(tmp_path / "store", "memory", 400, killed=False)
    code = "from hypercache.cli.recover import main; main()"
    options = ("-e", "trace=pread64", "-e", "inject=pread64:error=EIO:when=2..3")
    options += ("-P", store.log)
    done = trace(tmp_path / "trace", options, "-c", code, store.path)
    assert "INJECTED" in (tmp_path / "trace").read_text()
    assert done.returncode == 3, done.stderr
    said = f"{store.log}, offset 0: the disk cannot read it"
    assert said in done.stdout, done.stdout

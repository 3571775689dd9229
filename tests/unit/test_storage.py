"""The seam writes all or says why, syncs what it must, and follows no symlinks."""

import errno
import os
import stat

import pytest

from hypercache import os_file, read_file
from hypercache import storage as seam
from hypercache.errors import DiskFullError, StorageError
from hypercache.mounts import mount_type_in
from hypercache.os_errors import NO_SPACE, mapped_error
from hypercache.os_file import MappedFile, OsFile
from hypercache.storage import OsStorage, SystemClock

RECORDED = (
    "pwrite",
    "fsync",
    "fdatasync",
    "ftruncate",
    "replace",
    "mkdir",
    "unlink",
)


@pytest.fixture
def storage():
    return OsStorage()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "file")


@pytest.fixture
def calls(monkeypatch):
    """Record file system calls in order, descriptors by the names of their files."""
    log = []

    def recorder(name, real):
        def call(first, *rest, **named):
            known = isinstance(first, int)
            what = os.readlink(f"/proc/self/fd/{first}") if known else str(first)
            result = real(first, *rest, **named)
            log.append((name, os.path.basename(what)))
            return result

        return call

    for name in RECORDED:
        monkeypatch.setattr(seam.os, name, recorder(name, getattr(os, name)))
    return log


def failing(number):
    def call(*_args, **_named):
        raise OSError(number, os.strerror(number))

    return call


def content(path):
    with open(path, "rb") as file:
        return file.read()


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


# Writing


def test_one_byte_at_a_time_still_writes_everything(storage, path, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(seam.os, "pwrite", lambda fd, data, at: real(fd, data[:1], at))
    file = storage.create(path, mapped=False)
    file.write_at(3, b"hello")
    file.window[8:11] = b"you"
    file.close()
    assert content(path) == b"\0\0\0helloyou"


def test_a_short_write_before_a_full_disk_raises_disk_full(storage, path, monkeypatch):
    real = os.pwrite

    def two_bytes_then_full(fd, data, at):
        if at >= 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[:2], at)

    file = storage.create(path, mapped=False)
    monkeypatch.setattr(seam.os, "pwrite", two_bytes_then_full)
    with pytest.raises(DiskFullError, match=r"cannot write .*/file: No space left"):
        file.write_at(0, b"hello")
    file.close()
    assert content(path) == b"he"


def test_writes_are_cut_where_the_kernel_would_cut_them(storage, path, monkeypatch):
    sizes = []

    def count(fd, data, at):
        sizes.append(len(data))
        return len(data)

    monkeypatch.setattr(os_file, "_WRITE_LIMIT", 4)
    monkeypatch.setattr(seam.os, "pwrite", count)
    file = storage.create(path, mapped=False)
    file.write_at(0, bytes(10))
    file.close()
    assert sizes == [4, 4, 2]


@pytest.mark.parametrize("number", sorted(NO_SPACE))
@pytest.mark.parametrize("action", ["write", "create", "truncate", "replace"])
def test_no_space_is_disk_full(number, action):
    error = mapped_error(OSError(number, os.strerror(number)), action, "/x")
    assert type(error) is DiskFullError
    assert f"cannot {action} /x: {os.strerror(number)}" in str(error)
    assert "nothing was lost" in str(error)


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EACCES, errno.EMFILE])
def test_other_errors_are_plain_storage_errors(number):
    error = mapped_error(OSError(number, os.strerror(number)), "write", "/x")
    assert type(error) is StorageError
    assert str(error) == f"cannot write /x: {os.strerror(number)}"


@pytest.mark.parametrize("number", [*sorted(NO_SPACE), errno.EIO])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_failed_sync_is_never_a_full_disk(storage, path, monkeypatch, number, mapped):
    file = storage.create(path, 4096, mapped=mapped)
    monkeypatch.setattr(seam.os, "fdatasync", failing(number))
    with pytest.raises(StorageError, match="cannot sync") as caught:
        file.sync()
    file.close()
    assert type(caught.value) is StorageError
    assert caught.value.__cause__.errno == number


@pytest.mark.parametrize("number", sorted(NO_SPACE))
def test_a_failed_sync_of_a_directory_is_never_a_full_disk(
    storage, tmp_path, monkeypatch, number
):
    monkeypatch.setattr(seam.os, "fsync", failing(number))
    with pytest.raises(StorageError) as caught:
        storage.sync_directory(str(tmp_path))
    assert type(caught.value) is StorageError


@pytest.mark.parametrize("number", sorted(NO_SPACE))
def test_a_failed_sync_inside_replace_is_never_a_full_disk(
    storage, path, monkeypatch, number
):
    monkeypatch.setattr(seam.os, "fdatasync", failing(number))
    with pytest.raises(StorageError) as caught:
        storage.replace(path, b"new")
    assert type(caught.value) is StorageError
    assert not os.path.exists(path)


# Mapped files


def test_a_mapped_file_writes_and_syncs_through_its_window(storage, path):
    file = storage.create(path, 4096, mapped=True)
    assert isinstance(file, MappedFile)
    file.window[10:14] = b"data"
    file.write_at(14, b"more")
    file.sync()
    assert content(path)[10:18] == b"datamore"
    file.truncate(18)
    file.sync()
    file.close()
    assert len(content(path)) == 18


def test_a_mapped_file_refuses_what_does_not_fit(storage, path):
    file = storage.create(path, 4096, mapped=True)
    with pytest.raises((ValueError, IndexError)):
        file.write_at(4090, b"too long")
    file.close()


@pytest.mark.parametrize("mapped", [False, True])
def test_reserved_bytes_are_zeros_already_there(storage, path, mapped):
    file = storage.create(path, 8192, mapped=mapped)
    file.close()
    assert content(path) == bytes(8192)


# Create, open, read


def test_create_refuses_a_file_that_exists(storage, path):
    storage.create(path, mapped=False).close()
    with pytest.raises(StorageError, match="cannot create"):
        storage.create(path, mapped=False)


@pytest.mark.parametrize("broken", ["posix_fallocate", "mmap"])
def test_a_failed_create_leaves_no_file_and_no_descriptor(
    storage, path, monkeypatch, broken
):
    place = os_file.mmap if broken == "mmap" else seam.os
    monkeypatch.setattr(place, broken, failing(errno.ENOSPC))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(DiskFullError, match="cannot create"):
        storage.create(path, 4096, mapped=True)
    assert not os.path.exists(path)
    assert os.listdir("/proc/self/fd") == before


def test_open_needs_an_existing_file_and_keeps_its_content(storage, path):
    with pytest.raises(StorageError, match="cannot open"):
        storage.open(path)
    storage.replace(path, b"content")
    file = storage.open(path)
    file.write_at(0, b"C")
    file.close()
    assert storage.read(path) == b"Content"


def test_files_are_0600_and_directories_0700_whatever_the_umask(storage, tmp_path):
    old = os.umask(0)
    try:
        storage.make_directory(str(tmp_path / "a" / "b"))
        storage.create(str(tmp_path / "created"), mapped=False).close()
        storage.replace(str(tmp_path / "replaced"), b"x")
        storage.lock(str(tmp_path), str(tmp_path / "LOCK")).release()
    finally:
        os.umask(old)
    assert [mode(tmp_path / name) for name in ("a", "a/b")] == [0o700] * 2
    files = ("created", "replaced", "LOCK")
    assert [mode(tmp_path / name) for name in files] == [0o600] * 3


def test_no_symlink_is_followed(storage, tmp_path):
    target, link = tmp_path / "target", str(tmp_path / "link")
    target.write_bytes(b"precious")
    os.symlink(target, link)
    for act in (
        lambda: storage.create(link, mapped=False),
        lambda: storage.open(link),
        lambda: storage.open_read(link),
        lambda: storage.read(link),
        lambda: storage.lock(str(tmp_path), link),
    ):
        with pytest.raises(StorageError):
            act()
    assert target.read_bytes() == b"precious"


def test_replace_follows_no_symlink_neither_the_old_nor_the_temporary(
    storage, tmp_path
):
    target, link = tmp_path / "target", str(tmp_path / "link")
    target.write_bytes(b"precious")
    os.symlink(target, link)
    storage.replace(link, b"new")
    assert (target.read_bytes(), content(link)) == (b"precious", b"new")
    assert not os.path.islink(link)
    os.symlink(target, f"{link}.tmp")
    with pytest.raises(StorageError):
        storage.replace(link, b"newer")
    assert target.read_bytes() == b"precious"


def test_descriptors_do_not_pass_into_other_programs(storage, path):
    file = storage.create(path, mapped=False)
    inheritable = os.get_inheritable(file._fd)
    file.close()
    assert not inheritable


def test_closing_twice_closes_no_descriptor_of_somebody_else(storage, path):
    file = storage.create(path, mapped=False)
    number = file._fd
    file.close()
    other = os.open(path, os.O_RDONLY)
    assert other == number
    file.close()
    os.fstat(other)
    os.close(other)


# Names and directories


def test_replace_syncs_the_data_then_renames_then_syncs_the_directory(
    storage, path, calls
):
    storage.replace(path, b"data")
    directory = os.path.basename(os.path.dirname(path))
    assert calls == [
        ("pwrite", "file.tmp"),
        ("fdatasync", "file.tmp"),
        ("replace", "file.tmp"),
        ("fsync", directory),
    ]


def test_replace_leaves_the_old_content_when_it_cannot_write(
    storage, path, monkeypatch
):
    storage.replace(path, b"old")
    monkeypatch.setattr(seam.os, "pwrite", failing(errno.ENOSPC))
    with pytest.raises(DiskFullError):
        storage.replace(path, b"new")
    assert content(path) == b"old"


def test_replace_survives_a_temporary_file_that_a_crash_left(storage, path):
    with open(f"{path}.tmp", "wb") as file:
        file.write(b"a much longer leftover")
    storage.replace(path, b"new")
    assert (content(path), os.path.exists(f"{path}.tmp")) == (b"new", False)


def test_each_new_directory_is_synced_into_its_parent(storage, tmp_path, calls):
    storage.make_directory(str(tmp_path / "a" / "b"))
    assert calls == [
        ("mkdir", "a"),
        ("fsync", tmp_path.name),
        ("mkdir", "b"),
        ("fsync", "a"),
    ]
    calls.clear()
    storage.make_directory(str(tmp_path / "a" / "b"))
    assert calls == []


def test_a_directory_below_a_file_is_refused(storage, path):
    storage.replace(path, b"")
    with pytest.raises(StorageError):
        storage.make_directory(f"{path}/sub")


def test_unlink_of_what_is_not_there_is_no_error(storage, path):
    storage.unlink(path)
    storage.replace(path, b"")
    storage.unlink(path)
    assert storage.info(path) is None


def test_a_file_knows_whether_it_still_has_a_name(storage, path):
    file = storage.create(path, mapped=False)
    assert file.is_linked()
    storage.replace(path, b"another one")
    assert not file.is_linked()
    file.close()


def test_info_tells_size_and_time_and_is_none_without_a_file(storage, path):
    assert storage.info(path) is None
    storage.replace(path, b"12345")
    assert storage.info(path) == (5, os.stat(path).st_mtime_ns)


def test_info_below_a_file_is_an_error_of_ours(storage, path):
    storage.replace(path, b"")
    with pytest.raises(StorageError, match="cannot stat"):
        storage.info(f"{path}/sub")


def test_names_are_listed_in_order(storage, tmp_path):
    for name in ("b", "a", "10", "9"):
        (tmp_path / name).touch()
    assert storage.list(str(tmp_path)) == ["10", "9", "a", "b"]


@pytest.mark.parametrize("name", ["read", "open", "list", "sync_directory"])
def test_what_is_missing_is_a_storage_error_with_its_cause(storage, path, name):
    with pytest.raises(StorageError, match=r"/file: No such file") as caught:
        getattr(storage, name)(path)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


# Mounts and clock

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:5 / /proc rw - proc proc rw
24 22 0:30 / /mnt rw - tmpfs tmpfs rw
25 24 0:31 / /mnt/deep/er rw shared:9 master:2 - nfs4 host:/x rw
26 22 0:32 / /mnt/with\040space rw - cifs //h/s rw
27 22 0:33 / /back\134slash rw - xfs /dev/sdb rw
28 22 0:34 / /twice rw - ext4 /dev/sdc rw
29 28 0:35 / /twice rw - fuse.sshfs host: rw
""".strip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/home/x", "ext4"),
        ("/mnt", "tmpfs"),
        ("/mnt/deep", "tmpfs"),
        ("/mnt/deep/er", "nfs4"),
        ("/mnt/deep/er/est", "nfs4"),
        ("/mnt/deep/error", "tmpfs"),
        ("/mnto", "ext4"),
        ("/mnt/with space/store", "cifs"),
        ("/mnt/with", "tmpfs"),
        ("/back\\slash/store", "xfs"),
        ("/twice/store", "fuse.sshfs"),
    ],
)
def test_the_innermost_and_last_mount_counts(path, kind):
    assert mount_type_in(MOUNTS, path) == kind


def test_a_mount_point_may_have_a_name_beyond_ascii():
    table = f"{MOUNTS}\n30 22 0:36 / /mnt/donn\u00e9es rw - nfs4 host:/d rw"
    assert mount_type_in(table, "/mnt/donn\u00e9es/store") == "nfs4"


def test_a_mount_table_that_is_no_utf8_is_read_all_the_same(
    storage, tmp_path, monkeypatch
):
    table = tmp_path / "mountinfo"
    table.write_bytes(MOUNTS.encode() + b"\n30 22 0:36 / /caf\xe9 rw - nfs4 h:/d rw\n")
    real = open
    monkeypatch.setattr(
        "builtins.open", lambda path, *args, **named: real(table, *args, **named)
    )
    assert storage.mount_type("/home/x") == "ext4"


def test_an_empty_mount_table_knows_nothing():
    assert mount_type_in("", "/x") == ""


def test_a_symlink_is_judged_by_where_it_leads(storage, tmp_path):
    (tmp_path / "link").symlink_to("/proc")
    assert storage.mount_type(str(tmp_path / "link")) == "proc"


def test_the_clock_tells_the_time_of_the_system():
    import time

    clock = SystemClock()
    assert abs(clock.wall_ms() - time.time() * 1000) < 1000
    assert abs(clock.monotonic() - time.monotonic()) < 1


def test_os_file_is_its_own_window(storage, path):
    file = storage.create(path, mapped=False)
    assert isinstance(file, OsFile)
    assert file.window is file
    file.close()


def test_a_file_is_read_at_offsets(storage, path):
    storage.replace(path, b"0123456789")
    with storage.open_read(path) as file:
        assert (file.path, file.size_bytes) == (path, 10)
        assert file.read_at(0, 10) == b"0123456789"
        assert file.read_at(3, 4) == b"3456"
        assert file.read_at(8, 4) == b"89"
        assert file.read_at(10, 4) == file.read_at(11, 4) == b""


def test_reading_goes_on_without_the_name_and_behind_a_cut(storage, path):
    storage.replace(path, b"0123456789")
    with storage.open_read(path) as file:
        os.truncate(path, 5)
        storage.unlink(path)
        assert (file.size_bytes, file.read_at(3, 7)) == (10, b"34")


def test_short_reads_are_continued(storage, path, monkeypatch):
    real = os.pread
    storage.replace(path, b"0123456789")
    monkeypatch.setattr(
        read_file.os, "pread", lambda fd, n, at: real(fd, min(n, 3), at)
    )
    with storage.open_read(path) as file:
        assert file.read_at(1, 8) == b"12345678"
        assert file.read_at(1, 20) == b"123456789"


def test_what_cannot_be_read_is_mapped(storage, path, tmp_path):
    before = os.listdir("/proc/self/fd")
    with pytest.raises(StorageError, match="cannot open") as caught:
        storage.open_read(path)
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    with (
        storage.open_read(str(tmp_path)) as directory,
        pytest.raises(StorageError, match=f"cannot read {tmp_path}"),
    ):
        directory.read_at(0, 10)
    assert os.listdir("/proc/self/fd") == before


def test_a_read_file_is_closed_once(storage, path):
    storage.replace(path, b"x")
    file = storage.open_read(path)
    file.close()
    file.close()
    with pytest.raises(StorageError, match="cannot read"):
        file.read_at(0, 1)

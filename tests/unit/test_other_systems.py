"""Where the system has other calls for it, a sync is still a full one."""

import errno
import os

import pytest

from hypercache import os_file
from hypercache.errors import StorageError
from hypercache.storage import OsStorage

FULL = 51  # the number of F_FULLFSYNC on macOS


@pytest.fixture
def storage():
    return OsStorage()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "file")


@pytest.fixture
def synced(monkeypatch):
    """Record by which call each descriptor was synced; the calls are made."""
    log = []

    def recorder(name):
        real = getattr(os, name)

        def call(fd):
            log.append(name)
            real(fd)

        return call

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os_file.os, name, recorder(name))
    return log


def full_fsync(monkeypatch, log, error=None):
    """Let fcntl know F_FULLFSYNC, which ends like this."""

    def call(fd, command):
        assert command == FULL
        assert os.fstat(fd)
        log.append("F_FULLFSYNC")
        if error is not None:
            raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os_file, "_F_FULLFSYNC", FULL)
    monkeypatch.setattr(os_file.fcntl, "fcntl", call)


def test_without_fdatasync_a_file_is_synced_with_all_its_metadata(
    storage, path, monkeypatch, synced
):
    monkeypatch.delattr(os_file.os, "fdatasync")
    file = storage.create(path, mapped=False)
    file.sync()
    file.close()
    assert synced == ["fsync"]


def test_where_a_drive_can_be_told_to_flush_it_is_told(
    storage, path, monkeypatch, synced
):
    monkeypatch.delattr(os_file.os, "fdatasync")
    full_fsync(monkeypatch, synced)
    storage.replace(path, b"new")
    assert synced == ["F_FULLFSYNC", "F_FULLFSYNC"]  # the file, then the directory


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EINVAL, errno.ENOTTY])
def test_a_file_system_that_cannot_do_that_is_synced_as_far_as_it_can(
    storage, path, monkeypatch, synced, number
):
    full_fsync(monkeypatch, synced, number)
    storage.sync_directory(os.path.dirname(path))
    assert synced == ["F_FULLFSYNC", "fsync"]


def test_a_full_sync_that_fails_is_not_made_up_for_by_a_lesser_one(
    storage, path, monkeypatch, synced
):
    monkeypatch.delattr(os_file.os, "fdatasync")
    full_fsync(monkeypatch, synced, errno.EIO)
    file = storage.create(path, mapped=False)
    with pytest.raises(StorageError, match="cannot sync"):
        file.sync()
    file.close()
    assert synced == ["F_FULLFSYNC"]


@pytest.mark.parametrize("mapped", [False, True])
def test_without_fallocate_reserved_bytes_are_zeros_all_the_same(
    storage, path, monkeypatch, mapped
):
    monkeypatch.delattr(os_file.os, "posix_fallocate")
    file = storage.create(path, 8192, mapped=mapped)
    file.window[100:104] = b"data"
    file.sync()
    file.close()
    with open(path, "rb") as written:
        data = written.read()
    assert len(data) == 8192
    assert data[100:104] == b"data"

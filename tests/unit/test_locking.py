"""A directory has one owner, who is named, and a forked child is not one."""

import contextlib
import gc
import os
import re

import pytest

from hypercache.errors import StorageError, StoreLockedError
from hypercache.locking import DirectoryLock
from hypercache.storage import OsStorage
from tests.support.processes import in_fork, run_python, start_python

HOLD = """
    import sys
    from hypercache.storage import OsStorage
    lock = OsStorage().lock(sys.argv[1], sys.argv[2])
    print("held", flush=True)
    sys.stdin.read()
"""
TRY = """
    import sys
    from hypercache.errors import StoreLockedError
    from hypercache.storage import OsStorage
    try:
        OsStorage().lock(sys.argv[1], sys.argv[2]).release()
        print("free")
    except StoreLockedError as error:
        print("held by", error.pid)
"""


@pytest.fixture
def root(tmp_path):
    return str(tmp_path)


@pytest.fixture
def path(root):
    return f"{root}/LOCK"


@pytest.fixture
def take(root, path):
    """Take the lock, and release it at the end whatever happens."""
    locks = []

    def take_one():
        locks.append(OsStorage().lock(root, path))
        return locks[-1]

    yield take_one
    for lock in locks:
        lock.release()


def others_see(root, path):
    return run_python(TRY, root, path).strip()


def test_a_second_lock_in_this_process_names_this_process(take, root):
    take()
    with pytest.raises(StoreLockedError, match=re.escape(root)) as caught:
        take()
    assert caught.value.pid == os.getpid()


def test_another_path_to_the_directory_is_the_same_directory(take, root, tmp_path):
    take()
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(root)
    with pytest.raises(StoreLockedError):
        DirectoryLock(str(link), f"{link}/LOCK")


def test_two_directories_do_not_stand_in_each_others_way(take, tmp_path):
    take()
    other = tmp_path / "other"
    other.mkdir()
    OsStorage().lock(str(other), f"{other}/LOCK").release()


def test_a_refused_second_lock_takes_nothing_from_the_first(take, root, path):
    take()
    with pytest.raises(StoreLockedError):
        take()
    gc.collect()
    assert others_see(root, path) == f"held by {os.getpid()}"


def test_another_process_is_named_and_its_death_frees_the_lock(take, root, path):
    with start_python(HOLD, root, path) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreLockedError, match=f"process {holder.pid};") as caught:
            take()
        assert caught.value.pid == holder.pid
        holder.kill()
        holder.communicate()
    take()


def test_a_lock_file_without_a_pid_still_refuses(take, root, path):
    with start_python(HOLD, root, path) as holder:
        assert holder.stdout.readline() == "held\n"
        with open(path, "wb"):
            pass
        with pytest.raises(StoreLockedError, match="another process") as caught:
            take()
        assert caught.value.pid is None
        holder.kill()
        holder.communicate()


def test_the_file_holds_the_pid_as_text(take, path):
    take()
    with open(path, "rb") as file:
        assert file.read() == b"%d\n" % os.getpid()


def test_a_longer_pid_of_an_earlier_owner_is_overwritten_whole(take, path):
    with open(path, "wb") as file:
        file.write(b"12345678901234567890\n")
    take()
    with open(path, "rb") as file:
        assert file.read() == b"%d\n" % os.getpid()


def test_the_file_is_never_removed_nor_replaced(take, path):
    take().release()
    first = os.stat(path).st_ino
    take().release()
    assert os.stat(path).st_ino == first


def test_release_may_be_repeated_and_frees_for_all(take, root, path):
    lock = take()
    lock.release()
    lock.release()
    assert others_see(root, path) == "free"
    take()


def test_a_repeated_release_does_not_free_the_next_owner(take):
    first = take()
    first.release()
    take()
    first.release()
    with pytest.raises(StoreLockedError):
        take()


def test_the_lock_of_a_parent_survives_the_exit_of_its_child(take, root, path):
    take()
    assert in_fork(lambda: None) is None
    assert others_see(root, path) == f"held by {os.getpid()}"


def test_a_child_that_releases_the_inherited_lock_takes_nothing(take, root, path):
    lock = take()
    in_fork(lock.release)
    assert others_see(root, path) == f"held by {os.getpid()}"


def test_a_child_is_refused_with_the_pid_of_its_parent(take, root, path):
    take()

    def attempt():
        try:
            OsStorage().lock(root, path)
        except StoreLockedError as error:
            return error.pid
        return None

    assert in_fork(attempt) == os.getpid()


def test_a_child_of_a_former_owner_may_take_the_lock(take, root, path):
    take().release()

    def attempt():
        OsStorage().lock(root, path).release()
        return "taken"

    assert in_fork(attempt) == "taken"


def test_a_child_keeps_no_lock_when_its_parent_has_ended(root, path):
    orphan = """
        import os, sys
        from hypercache.storage import OsStorage
        lock = OsStorage().lock(sys.argv[1], sys.argv[2])
        if os.fork() == 0:
            print("forked", flush=True)
            sys.stdin.read()
    """
    with start_python(orphan, root, path) as parent:
        assert parent.stdout.readline() == "forked\n"
        parent.wait()
        assert others_see(root, path) == "free"
        parent.communicate()


def test_the_handle_is_told_of_the_fork_in_the_child_alone(take):
    told = []
    take().on_fork = lambda: told.append(os.getpid())
    assert in_fork(lambda: len(told)) == 1
    assert told == []


def test_a_released_lock_is_not_told(take):
    lock = take()
    told = []
    lock.release()
    lock.on_fork = lambda: told.append(1)
    del lock
    in_fork(lambda: None)


def test_a_lock_file_that_cannot_be_made_is_a_storage_error(root):
    with pytest.raises(StorageError, match="cannot lock") as caught:
        OsStorage().lock(root, f"{root}/missing/LOCK")
    assert not isinstance(caught.value, StoreLockedError)
    OsStorage().lock(root, f"{root}/LOCK").release()


# Shared by several processes

JOIN = """
    import sys
    from hypercache.storage import OsStorage
    lock = OsStorage().lock(sys.argv[1], sys.argv[2], shared=True)
    print("alone" if lock.alone else "joined", flush=True)
    for line in sys.stdin:
        print(getattr(lock, line.strip())(), flush=True)
"""


def ask(process, name):
    process.stdin.write(f"{name}\n")
    process.stdin.flush()
    return process.stdout.readline()


def test_the_first_to_share_is_alone_and_lets_the_others_in(root, path):
    with start_python(JOIN, root, path) as first:
        assert first.stdout.readline() == "alone\n"
        with start_python(JOIN, root, path) as second:
            assert ask(first, "share") == "True\n"
            assert second.stdout.readline() == "joined\n"
            assert ask(first, "release") == "None\n"
            assert ask(second, "try_alone") == "True\n"
            second.communicate()
        first.communicate()


def test_one_of_several_is_not_alone_and_has_lost_the_lock_when_it_asks(root, path):
    with start_python(JOIN, root, path) as first:
        assert first.stdout.readline() == "alone\n"
        assert ask(first, "share") == "True\n"
        with start_python(JOIN, root, path) as second:
            assert second.stdout.readline() == "joined\n"
            assert ask(second, "try_alone") == "False\n"
            assert ask(first, "try_alone") == "True\n"
            second.communicate()
        first.communicate()


def test_who_waits_to_share_follows_an_owner_that_was_killed_before_it_was_ready(
    root, path
):
    with start_python(JOIN, root, path) as first:
        assert first.stdout.readline() == "alone\n"
        with start_python(JOIN, root, path) as second:
            first.kill()
            assert second.stdout.readline() == "alone\n"
            second.communicate()
        first.communicate()


def test_an_owner_is_refused_while_the_lock_is_shared_and_told_who_lives(
    take, root, path
):
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(start_python(JOIN, root, path))
        assert first.stdout.readline() == "alone\n"
        assert ask(first, "share") == "True\n"
        second = stack.enter_context(start_python(JOIN, root, path))
        assert second.stdout.readline() == "joined\n"
        with pytest.raises(StoreLockedError) as caught:
            take()
        assert caught.value.pid == second.pid
        second.kill()
        second.communicate()
        with pytest.raises(StoreLockedError) as caught:
            take()
        assert caught.value.pid == first.pid
        first.communicate()
    take()

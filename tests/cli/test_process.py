"""The command as a process: its streams, its signals, what it leaves behind."""

import signal
import subprocess

import pytest

import hypercache


def test_version_is_that_of_the_package(start):
    with start("--version") as process:
        assert process.communicate() == (
            f"hypercache, version {hypercache.__version__}\n".encode(),
            b"",
        )
    assert process.returncode == 0


def test_what_one_process_sets_another_gets(start, tmp_path):
    with start("set", tmp_path / "new", "key", "value") as process:
        assert process.communicate() == (b"1\n", b"")
    with start("get", tmp_path / "new", "key") as process:
        assert process.communicate() == (b"value\n", b"")


def test_an_error_is_one_line_and_no_traceback(start, tmp_path):
    with start("get", tmp_path, "key") as process:
        stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (2, b"")
    assert len(stderr.splitlines()) == 1


def test_a_reader_that_goes_away_ends_the_command_quietly(start, store):
    with hypercache.Cache(store) as cache:
        cache.set_many({f"key {number}": "x" * 1000 for number in range(500)})
    with start("scan", store) as process:
        assert process.stdout.readline() == b'apple\t"green"\n'
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
    with hypercache.Cache(store) as cache:
        assert cache.stats().recovery == ()
        assert cache.check().ok


@pytest.fixture
def interruptible():
    """Let children be interrupted even where we run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_exits_with_130_and_says_nothing(start, tmp_path):
    with start("set", tmp_path / "new", "key", "-", stdin=subprocess.PIPE) as process:
        # It has read all of this when it takes the rest: then it is in the command.
        process.stdin.write(b"x" * 200_000)
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
    assert (process.returncode, stdout, stderr) == (130, b"", b"")
    assert not (tmp_path / "new").exists()

"""wal inspect and aof inspect tell what is in a log, and never touch it."""

import base64
import json
import os
import shutil
import subprocess
import sys

import pytest

import hypercache
from hypercache.inspection.layout import Kind
from hypercache.ops import Clear, Delete, Put, Touch
from tests.support.files import flip, unchanged
from tests.support.logs import BuiltLog
from tests.support.mounts import read_only_directory
from tests.support.processes import environment

DAY_3000 = 32_503_680_000_000


@pytest.fixture(params=list(Kind), ids=str)
def log(request, tmp_path):
    """Build a log whose last segment is still open, with all kinds of ops."""
    built = BuiltLog(tmp_path / "store", request.param)
    built.segment([[Put(b"apple", b"green")], [Put(b"\xff", b"\0" * 3000)]])
    built.segment(
        [
            [Put(b"apple", b"red", DAY_3000), Delete(b"bread")],
            [Touch(b"apple", DAY_3000 + 1)],
            [Put("gr\u00fcn".encode(), b"")],
        ],
        sealed=False,
        synced=True,
        mapped=True,
    )
    built.name()
    return built


@pytest.fixture
def inspect(run):
    """Run the command on a log; it must not change a byte."""

    def invoke(log, *options, where=None):
        with unchanged(log.root):
            return run(log.kind, "inspect", where or log.root, *options)

    return invoke


def objects(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_summary_for_people(inspect, log):
    result = inspect(log)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].endswith(f" log {log.log.directory}")
    assert lines[1] == "verdict: open: ends at LSN 6"
    facts = {line[:16].strip(): line[16:].strip() for line in lines}
    assert facts["frames"] == "5"
    assert "put 4, delete 1, touch 1, clear 0" in facts["ops"]
    assert facts["LSNs"] == "1 to 6"
    assert facts["expiries"] == "3000-01-01T00:00:00.000Z to 3000-01-01T00:00:00.001Z"
    assert "(1.0 MiB)" in facts["unused bytes"] or "KiB" in facts["unused bytes"]
    assert lines[lines.index("  biggest keys") + 1].split() == [
        "3,000",
        "(2.9",
        "KiB)",
        "\\xff",
    ]


def test_a_summary_for_programs_is_one_object(inspect, log):
    [summary] = objects(inspect(log, "--json"))
    assert summary["state"] == "clean"
    assert summary["verdict"] == "open: ends at LSN 6"
    assert summary["lsns"] == {"first": 1, "last": 6}
    assert summary["op_counts"].items() >= {"put": 4, "touch": 1}.items()
    parts = summary["bytes"]
    assert parts.pop("total") == sum(parts.values())
    assert summary["biggest_keys"][0]["key"] == {"base64": "/w=="}
    assert [file["role"] for file in summary["files"]] == ["sealed", "active"]


def test_one_line_for_each_op(inspect, log):
    result = inspect(log, "--frames")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].endswith(f"0000000000000001.{log.kind} (sealed)")
    ops = [line.split() for line in lines if line[:14].strip().isdigit()]
    assert [(op[1], op[2], op[-1]) for op in ops] == [
        ("1", "put", "apple"),
        ("2", "put", "\\xff"),
        ("3", "put", "apple"),
        ("4", "delete", "bread"),
        ("5", "touch", "apple"),
        ("6", "put", "gr\u00fcn"),
    ]
    assert ops[2][3] == "3"
    assert ops[2][6] == "3000-01-01T00:00:00.000Z"
    assert lines[-1] == "open: ends at LSN 6"


def test_one_object_for_each_op(inspect, log):
    found = objects(inspect(log, "--frames", "--json"))
    assert [each["lsn"] for each in found] == [1, 2, 3, 4, 5, 6]
    assert found[3] == {
        "file": f"0000000000000002.{log.kind}",
        "offset": 64,
        "lsn": 4,
        "op": "delete",
        "key": "bread",
        "value_bytes": None,
        "stored_bytes": 9,
        "frame_bytes": found[2]["frame_bytes"],
        "frame_ops": 2,
        "expires_at_ms": None,
    }
    assert found[2]["offset"] == found[3]["offset"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--key", "apple"], [1, 3, 5]),
        (["--key", b"\xff"], [2]),
        (["--key-base64", base64.b64encode(b"\xff").decode()], [2]),
        (["--from-lsn", "4"], [4, 5, 6]),
        (["--to-lsn", "1"], [1]),
        (["--frames", "--key", "apple", "--from-lsn", 2, "--to-lsn", 4], [3]),
        (["--key", "absent"], []),
    ],
    ids=["key", "bytes", "base64", "from", "to", "all", "none"],
)
def test_filters(inspect, log, options, expected):
    result = inspect(log, *options, "--json")
    assert [each["lsn"] for each in objects(result)] == expected
    assert result.exit_code == 0


def test_the_directory_of_the_log_itself_may_be_named(inspect, log):
    whole, part = (
        inspect(log, "--json"),
        inspect(log, "--json", where=log.log.directory),
    )
    assert whole.stdout == part.stdout


def test_damage_is_shown_where_it_is_and_what_is_behind_it_as_well(inspect, log):
    path, offset = log.offsets[5]
    flip(path, offset + 33)
    result = inspect(log)
    assert result.exit_code == 3
    assert f"verdict: corruption at {path}, offset {offset}, LSN 5: " in result.stdout
    result = inspect(log, "--frames", "--json")
    assert result.exit_code == 3
    found = objects(result)
    assert [each["lsn"] for each in found] == [1, 2, 3, 4, 5, 6]
    assert found[4]["problem"] == "the checksum does not match"
    assert (found[4]["path"], found[4]["offset"]) == (str(path), offset)
    lines = inspect(log, "--frames").stdout.splitlines()
    assert sum("the checksum does not match" in line for line in lines) == 2


def test_a_torn_tail_is_no_damage(inspect, log):
    path, offset = log.offsets[6]
    flip(path, offset + 20)
    result = inspect(log)
    assert result.exit_code == 1
    assert f"verdict: torn tail at offset {offset} of {path}" in result.stdout
    result = inspect(log, "--frames", "--json")
    assert (result.exit_code, objects(result)[-1]["torn_tail"]) == (
        1,
        "the checksum does not match",
    )


def test_a_damaged_metafile_is_named_and_the_log_is_still_read(inspect, log):
    name = log.paths.checkpoint if log.kind is Kind.WAL else log.paths.manifest
    with open(name, "r+b") as file:
        file.write(b"[")
    result = inspect(log, "--json")
    [summary] = objects(result)
    assert (result.exit_code, summary["frame_count"]) == (3, 5)
    assert summary["problems"][0]["path"] == name


@pytest.mark.privileged
def test_a_read_only_directory_is_no_hindrance(run, log, tmp_path):
    with read_only_directory(tmp_path / "read-only", log.root) as path, unchanged(path):
        assert run(log.kind, "inspect", path).exit_code == 0
        assert run(log.kind, "inspect", path, "--frames").exit_code == 0


def test_wrong_usage_says_what_there_is(run, log, tmp_path):
    other = Kind.AOF if log.kind is Kind.WAL else Kind.WAL
    for words, arguments in (
        (f"`hypercache {log.kind} inspect {log.root}`", [other, "inspect", log.root]),
        ("does not exist", [log.kind, "inspect", tmp_path / "none"]),
        ("it is empty", [log.kind, "inspect", empty(tmp_path)]),
        ("names no directory", [log.kind, "inspect", ""]),
        ("exclude each other", [*inspect_keys(log), "--key-base64", "YQ=="]),
        ("--key-base64", [log.kind, "inspect", log.root, "--key-base64", "?"]),
        ("1 to 65535 bytes", [log.kind, "inspect", log.root, "--key", ""]),
    ):
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert words in result.stderr


def empty(tmp_path):
    (tmp_path / "empty").mkdir(exist_ok=True)
    return tmp_path / "empty"


def inspect_keys(log):
    return [log.kind, "inspect", log.root, "--key", "a"]


def test_what_cannot_be_read_exits_with_4(run, log):
    segment = log.log.segment(2)
    os.unlink(segment)
    os.symlink(log.log.segment(1), segment)
    result = run(log.kind, "inspect", log.root)
    assert (result.exit_code, result.stdout) == (4, "")
    assert f"cannot open {segment}" in result.stderr


# Real stores


@pytest.mark.parametrize(("engine", "kind"), [("hybrid", "wal"), ("memory", "aof")])
def test_a_store_that_is_open_is_read_as_it_is(run, tmp_path, engine, kind):
    path = tmp_path / "store"
    with hypercache.Cache(path, engine=engine, serializer="bytes") as cache:
        for number in range(50):
            cache.set(f"key-{number}", b"x" * number)
        cache.delete("key-3")
        with unchanged(path):
            result = run(kind, "inspect", path, "--json")
        [summary] = objects(result)
        assert (result.exit_code, summary["verdict"]) == (0, "open: ends at LSN 51")
        assert summary["op_counts"].items() >= {"put": 50, "delete": 1}.items()
        copy = shutil.copytree(path, tmp_path / "killed")
    assert run(kind, "inspect", copy).exit_code == 0
    result = run(kind, "inspect", path, "--json")
    assert (result.exit_code, objects(result)[0]["state"]) == (0, "clean")


WRITER = """
import sys, hypercache
options = dict(engine=sys.argv[2], serializer="bytes", log_io=sys.argv[3])
with hypercache.Cache(sys.argv[1], segment_bytes=1 << 16, **options) as cache:
    print("open", flush=True)
    number = 0
    while True:
        cache.set(f"key-{number % 1000}", bytes(number % 3000))
        number += 1
"""


@pytest.mark.parametrize("log_io", ["mmap", "write"])
@pytest.mark.parametrize(("engine", "kind"), [("hybrid", "wal"), ("memory", "aof")])
def test_a_writer_at_work_is_never_taken_for_damage(
    run, tmp_path, engine, kind, log_io
):
    path = tmp_path / "store"
    command = [sys.executable, "-c", WRITER, str(path), engine, log_io]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as child:
        try:
            assert child.stdout.readline() == b"open\n"
            lsn = 0
            while lsn < 2_000:
                result = run(kind, "inspect", path, "--json")
                [summary] = objects(result)
                # The last frame may be half there, and nothing else.
                assert result.exit_code in (0, 1), summary["problems"]
                lsn = summary["lsns"]["last"] or 0
        finally:
            child.kill()


def test_memory_does_not_grow_with_the_log(tmp_path):
    """150 MB: many small frames, all of other keys, and some large ones."""
    log = BuiltLog(tmp_path / "store", Kind.WAL)
    large_bytes = 8 << 20
    for number in range(3):
        small = ([Put(b"%d-%d" % (number, at), b"x" * 60)] for at in range(7_000))
        large = ([Put(b"large-%d" % at, bytes(large_bytes))] for at in range(6))
        log.segment([*small, *large], capacity=64 << 20)
    log.segment([[Clear()]])
    log.name()
    size = sum(path.stat().st_size for path in (log.root / "wal").iterdir())
    assert size > 150_000_000
    code = (
        "import resource, sys, subprocess\n"
        "subprocess.run([sys.executable, '-m', 'hypercache', 'wal', 'inspect',"
        " sys.argv[1], *sys.argv[2:]], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    for options in ([], ["--frames"]):
        done = subprocess.run(
            [sys.executable, "-c", code, log.root, *options],
            capture_output=True,
            check=True,
            env=environment(),
        )
        scale = 1 if sys.platform == "darwin" else 1024
        assert int(done.stdout) * scale < 110 << 20

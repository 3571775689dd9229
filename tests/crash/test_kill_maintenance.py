"""Kill the writer, or only its helper, while a compaction or a checkpoint runs.

A child writes as in test_kill_loop.py, with limits so small that a helper process is
nearly always at work. The helper is found as the writer's child. After the death of a
helper the writer must go on, and say so in its log; after its own the next open must be
clean, and nothing acknowledged lost. Nobody leaves anything behind.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hypercache import Cache
from hypercache.engines.base import Put
from tests.support.engines import ENGINES, EngineCase, case_name
from tests.support.kill_writer import Contents
from tests.support.killed import Told, Totals, reopen_and_compare, whole_map
from tests.support.processes import ROOT, environment, start_python
from tests.support.seeds import tell

SEED = 20_261_207
WAIT_S = 60
WRITER_KILLS, HELPER_KILLS = 3, 5  # of each engine
BALLAST_COUNT = 200  # so that there is something to do for a helper
SETTINGS: dict[str, dict[str, Any]] = {
    "memory": {"compact_min_bytes": 64 * 1024, "segment_bytes": 64 * 1024},
    "hybrid": {"checkpoint_bytes": 128 * 1024, "segment_bytes": 64 * 1024},
}
LOGGED = [case for case in ENGINES if case.name in ("memory-write", "hybrid-write")]


def children(pid: int) -> list[int]:
    """Return the pids of the processes that a process has started and not reaped."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except FileNotFoundError:
        pass  # a thread, or the process, has just ended
    return found


def is_running(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_for(reached: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> Any:
    end = time.monotonic() + timeout_s
    while not (found := reached()):
        assert time.monotonic() < end, f"{what}: not within {timeout_s} s"
        time.sleep(0.0005)
    return found


class Writer:
    """A child that writes, and a thread that hears what it tells."""

    def __init__(self, arguments: list[str], contents: Contents) -> None:
        command = [sys.executable, "-m", "tests.support.kill_writer", *arguments]
        self.child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.told, self.contents = Told(), contents
        self._ears = threading.Thread(target=self._hear)
        self._ears.start()

    def helper(self) -> int:
        """Wait for a helper at work and return its pid."""

        def found() -> int | None:
            assert self.child.poll() is None, self.complaint()
            running = filter(is_running, children(self.child.pid))
            return next(running, None)

        return int(wait_for(found, "a helper"))

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()
        self._ears.join()

    def complaint(self) -> str:
        assert self.child.stderr is not None
        return self.child.stderr.read()

    def close(self) -> None:
        for pipe in (self.child.stdout, self.child.stderr):
            assert pipe is not None
            pipe.close()

    def _hear(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.told.hear(line, self.contents)


def has_begun(helper: int, path: Path) -> bool:
    """Tell whether a helper has come to its work, from what it has open."""
    try:
        if (path / "aof").exists():
            names = Path(f"/proc/{helper}/fd").iterdir()
            return any("/aof/" in os.readlink(name) for name in names)
        return "data.mdb" in Path(f"/proc/{helper}/maps").read_text()
    except OSError:
        return False


def random_moment(rng: random.Random, helper: int, path: Path) -> None:
    """Wait for a moment of the helper's life: half of them while it really works."""
    if rng.random() < 0.5:
        time.sleep(rng.uniform(0, 0.25))
        return
    wait_for(lambda: has_begun(helper, path) or not is_running(helper), "its work")
    time.sleep(rng.uniform(0, 0.02))


def kill_helper(rng: random.Random, writer: Writer, path: Path) -> None:
    """Kill a running helper, and see the writer go on and reap it."""
    while True:
        helper = writer.helper()
        random_moment(rng, helper, path)
        if is_running(helper):
            os.kill(helper, signal.SIGKILL)
            break  # it may have ended just now: the writer's log tells
    count = writer.told.acknowledged_count
    wait_for(lambda: helper not in children(writer.child.pid), "reaped")
    wait_for(lambda: writer.told.acknowledged_count > count + 5, "the writer goes on")


def names_in(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*.tmp")}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", SETTINGS)
def test_no_kill_during_maintenance_loses_anything(tmp_path: Path, engine: str) -> None:
    rng = random.Random(f"{SEED}-{engine}")
    settings = {"engine": engine, "sync": "no", **SETTINGS[engine]}
    settings |= {"maintenance": "process", "fold_batch": 20}
    path = tmp_path / "store"
    with Cache(path, **settings) as cache:
        for number in range(BALLAST_COUNT):
            cache.set(f"ballast{number:03d}", rng.randbytes(2000))
        contents = whole_map(cache)
    totals, logged, helpers_killed, slowest_s = Totals(), 0, 0, 0.0
    for round_number in range(WRITER_KILLS):
        tell(f"seed {SEED} {engine} {round_number}")
        arguments = [str(path), str(round_number), str(SEED), "4"]
        # A checkpoint that is asked for runs in the writer itself.
        arguments += [json.dumps(settings), json.dumps(["checkpoint"])]
        writer = Writer(arguments, contents)
        try:
            share = HELPER_KILLS * (round_number + 1) // WRITER_KILLS
            while helpers_killed < share:
                kill_helper(rng, writer, path)
                helpers_killed += 1
            helper = writer.helper()
            random_moment(rng, helper, path)
        finally:
            writer.kill()
        began = time.monotonic()
        wait_for(lambda pid=helper: not is_running(pid), "the helper's end")
        slowest_s = max(slowest_s, time.monotonic() - began)
        complaint = writer.complaint()
        writer.close()
        assert "Traceback" not in complaint, complaint
        logged += complaint.count("signal 9")
        totals.kills += 1
        found = reopen_and_compare(str(path), settings, contents, writer.told, totals)
        assert found is not None, totals.failed_opens
        assert names_in(path) <= {"CHECKPOINT.tmp", "aof/MANIFEST.tmp"}
        contents = found
    tell(f"{totals}; {helpers_killed} kills of helpers, {logged} of them logged")
    tell(f"a helper ended at most {slowest_s:.3f} s after its parent")
    assert (totals.lost, totals.invented) == ([], [])
    assert totals.kills + helpers_killed == WRITER_KILLS + HELPER_KILLS
    # Some may have ended by themselves between the look at them and the kill.
    assert logged >= helpers_killed // 2


# What a helper leaves behind

OWNER = """
    import os, sys, threading, time
    from hypercache.engines import helper
    run = helper.maybe_run
    if sys.argv[1] == "fork":
        def fork_when_it_runs():
            while not started.is_set():
                time.sleep(0.001)
            if os.fork() == 0:
                sys.stdin.read()
                os._exit(0)
            print("forked", flush=True)
        started = threading.Event()
        popen = helper.subprocess.Popen
        def noting(*arguments, **options):
            process = popen(*arguments, **options)
            started.set()
            return process
        helper.subprocess.Popen = noting
        threading.Thread(target=fork_when_it_runs, daemon=True).start()
    run("tests.support.busy_helper")
"""


@pytest.mark.parametrize("how", ["alone", "fork"])
def test_a_busy_helper_ends_within_a_second_of_its_parents_death(how: str) -> None:
    # Also when the parent has forked a child that inherits the end of the pipe by
    # which the helper knows that its parent lives.
    with start_python(OWNER, how) as owner:
        try:
            if how == "fork":
                assert owner.stdout.readline() == "forked\n"

            def spinning() -> int | None:
                for pid in children(owner.pid):
                    command = Path(f"/proc/{pid}/cmdline").read_text()
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
                    # Its thread waits for the parent: it has come to its work.
                    if "busy_helper" in command and int(fields.split()[17]) > 1:
                        return pid
                return None

            helper = wait_for(spinning, "the helper")
            owner.kill()
            began = time.monotonic()
            wait_for(lambda: not is_running(helper), "the helper's end", 10)
            seconds = time.monotonic() - began
        finally:
            owner.kill()
            owner.stdin.close()
    tell(f"{seconds:.3f} s")
    assert seconds < 1.0


@pytest.mark.parametrize("engine_case", LOGGED, ids=case_name, indirect=True)
def test_maintenances_leave_no_zombie_no_descriptor_and_no_file(
    engine_case: EngineCase, opened: Any, store_path: Path
) -> None:
    engine = opened.add(engine_case.open_engine(store_path, maintenance="process"))
    upkeep = engine._upkeep
    descriptors: list[int] = []
    others = children(os.getpid())  # of other tests
    for number in range(12):
        engine.apply([Put(b"key%d" % (number % 3), b"v" * 500)])
        with upkeep.turn():
            upkeep.run(in_process=upkeep.in_process)
        # The first one opens what stays open.
        descriptors.append(len(os.listdir("/proc/self/fd")))
    assert upkeep.count == 12
    assert engine.stats().maintenance_error is None
    assert max(descriptors[1:]) == descriptors[1], descriptors
    assert set(children(os.getpid())) <= set(others)
    assert names_in(store_path) == set()

"""What must be measured in a process of its own: `python -m hypercache.bench.child`.

It is killed with a store open, or tells what memory its entries take.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

from hypercache.bench import data
from hypercache.bench.subjects import BY_NAME

IMPORT_MS = """
from time import perf_counter
began = perf_counter()
import {}
print((perf_counter() - began) * 1e3)
"""


def fill_and_be_killed(name: str, path: Path, count: int, seed: int) -> None:
    """Fill a store in a child that ends with kill -9 before it closes it."""
    done = _run("killed", name, path, count, seed)
    if done.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the child for {name} ended by itself: {done.stderr}")


def resident_bytes_per_key(name: str, path: Path, count: int, seed: int) -> float:
    """Return by how much the resident memory of a child grows for each key."""
    done = _run("resident", name, path, count, seed)
    if done.returncode:
        raise RuntimeError(f"the child for {name} failed: {done.stderr}")
    return float(done.stdout)


def import_ms(module: str) -> float:
    """Return what importing takes in a fresh interpreter."""
    command = [sys.executable, "-c", IMPORT_MS.format(module)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def _run(
    task: str, name: str, path: Path, count: int, seed: int
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", __name__, task, name, str(path)]
    command += [str(count), str(seed)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def _main(task: str, name: str, path: Path, count: int, seed: int) -> None:
    store = BY_NAME[name].open(path, count)
    put = store.set
    gc.collect()
    before = _resident_bytes()
    # Made one by one: what a list of them took would be free for the store to use.
    pool = data.values(data.POOL_COUNT, seed)
    keys = data.stream(count, seed)
    for number, key in enumerate(keys):
        put(key, bytes(memoryview(pool[number % data.POOL_COUNT])))
    if task == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    gc.collect()
    sys.stdout.write(str((_resident_bytes() - before) / count))
    store.close()


def _resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell the resident memory of a process")


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *map(int, sys.argv[4:]))

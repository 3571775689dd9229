"""Overwrite the same keys for a long time; show that disk and memory stay flat.

Each engine runs in a process of its own. Its directory and its resident memory, helper
processes included, are looked at while it works, so the curve has the peaks.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from itertools import cycle, islice
from pathlib import Path

from hypercache import Cache
from hypercache.options import Options

KEY_BYTES, VALUE_BYTES = 16, 100
ENTRY_BYTES = KEY_BYTES + VALUE_BYTES + 44
LOOK_EVERY_S = 0.05
WIDTH = 60


def work(engine: str, path: str, keys: int, sets: int, seed: int) -> None:
    """Overwrite; print one line of JSON when done."""
    rng = random.Random(seed)
    names = [rng.randbytes(KEY_BYTES) for _ in range(keys)]
    order = rng.choices(names, k=min(sets, 1_000_000))
    value = bytes(VALUE_BYTES)
    looks: list[tuple[float, int, int]] = []
    done = threading.Event()
    began = time.monotonic()
    count = 0

    def look() -> None:
        looks.append((count / sets, disk_bytes(path), resident_bytes()))

    def go_on_looking() -> None:
        while not done.wait(LOOK_EVERY_S):
            look()

    with Cache(path, engine=engine, serializer="bytes") as cache:
        looker = threading.Thread(target=go_on_looking)
        looker.start()
        piece, endless = max(1, sets // WIDTH), cycle(order)
        while count < sets:
            for key in islice(endless, min(piece, sets - count)):
                cache.set(key, value)
            count += piece
            look()
        done.set()
        looker.join()
        stats = cache.stats()
        took_s = time.monotonic() - began
        whole = len(cache) == len(set(order)) and cache.check().ok
    rounds = stats.compaction_count + stats.checkpoint_count
    found = {"looks": looks, "took_s": took_s, "rounds": rounds, "whole": whole}
    print(json.dumps(found | {"waited_ms": stats.maintenance_wait_ms}))


def disk_bytes(path: str) -> int:
    """Return what the files take, reserved blocks included."""
    total = 0
    for file in Path(path).rglob("*"):
        try:
            stat = file.stat()
            total += stat.st_blocks * 512 if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def resident_bytes() -> int:
    """Return the memory of this process that is its own."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def curve(title: str, looks: list[list[float]], column: int) -> None:
    """Draw the maxima of equal parts of the run."""
    parts: list[float] = [0.0] * WIDTH
    for look in looks:
        part = min(int(look[0] * WIDTH), WIDTH - 1)
        parts[part] = max(parts[part], look[column])
    top = max(parts) or 1
    marks = " .:-=+*#%@"
    drawn = "".join(marks[int(value / top * (len(marks) - 1))] for value in parts)
    print(f"  {title:9} |{drawn}| top {top / 1e6:.1f} MB")


def show(engine: str, found: dict, keys: int) -> bool:
    """Print the curves and the verdict; tell whether the bounds were kept."""
    looks, options = found["looks"], Options.resolve()
    live_bytes = keys * ENTRY_BYTES
    first = options.compact_min_bytes
    if engine == "hybrid":
        first = 2 * options.checkpoint_bytes
    bound = 2 * live_bytes + first + 2 * options.segment_bytes + live_bytes
    peak = max(look[1] for look in looks)
    third = [look[2] for look in looks if look[0] >= 2 / 3]
    half = len(third) // 2
    early, late = max(third[:half]), max(third[half:])
    print(
        f"{engine}: {found['took_s']:.0f} s, {found['rounds']} rounds of maintenance,"
        f" waited {found['waited_ms']} ms, whole: {found['whole']}"
    )
    curve("disk", looks, 1)
    curve("resident", looks, 2)
    print(
        f"  disk at most {peak / 1e6:.1f} MB; bound {bound / 1e6:.1f} MB = 2 x live"
        f" ({live_bytes / 1e6:.1f}) + threshold + 2 segments + one output"
    )
    print(f"  resident in the last third: {early / 1e6:.1f}, then {late / 1e6:.1f} MB")
    return bool(found["whole"]) and peak <= bound and late <= early * 1.05 + 4e6


def main() -> int:
    """Run both engines one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--sets", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engines", nargs="+", default=["memory", "hybrid"])
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.engines[0], given.work, given.keys, given.sets, given.seed)
        return 0
    good = True
    print(f"{given.sets} sets over {given.keys} keys, seed {given.seed}")
    for engine in given.engines:
        with tempfile.TemporaryDirectory(prefix="soak-") as directory:
            command = [sys.executable, __file__, "--work", f"{directory}/store"]
            for name in ("keys", "sets", "seed"):
                command += [f"--{name}", str(getattr(given, name))]
            run = subprocess.run(
                [*command, "--engines", engine], check=True, stdout=subprocess.PIPE
            )
        good = show(engine, json.loads(run.stdout), given.keys) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

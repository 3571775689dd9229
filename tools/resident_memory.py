"""Measure what a limit on memory is worth: resident memory beside the limit.

Each line is a process of its own: it opens a cache, notes its resident memory, writes
and reads several times what the limit allows, and notes how much more it has had at the
most. `python tools/resident_memory.py [ENGINE...] [--mib N] [--json]`
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MIB = 1 << 20
ENGINES = ("memory", "memory with a log", "hybrid")
ALLOWED = 1.15
_SAMPLE_EVERY = 500
_ENTRY_BYTES = 150  # roughly, beside key and value

Mix = Callable[[random.Random], tuple[int, int]]
# Lengths of key and value.
MIXES: dict[str, Mix] = {
    "tiny": lambda _: (12, 8),
    "small": lambda _: (16, 100),
    "medium": lambda rng: (40, rng.randrange(500, 1500)),
    "large": lambda rng: (24, rng.randrange(8_000, 24_000)),
    "mixed": lambda rng: (rng.randrange(8, 200), int(10 ** rng.uniform(1, 4.8))),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; return 1 if a line is over what is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", nargs="*", help=", ".join(ENGINES))
    parser.add_argument("--mib", type=int, default=32)
    parser.add_argument("--mix", choices=MIXES)
    parser.add_argument("--times", type=float, default=3.0, help="limits written")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        print(json.dumps(load(options.child, options)))
        return 0
    mixes = [options.mix] if options.mix else list(MIXES)
    rows = [
        measure(engine, mix, options)
        for engine in options.engines or ENGINES
        for mix in mixes
    ]
    print(json.dumps(rows) if options.json else _table(rows))
    return any(row["ratio"] > ALLOWED for row in rows)


def measure(engine: str, mix: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return a line of the table, measured in a process of its own."""
    command = [sys.executable, __file__, "--child", engine, "--mix", mix]
    done = subprocess.run(
        [*command, f"--mib={options.mib}", f"--times={options.times}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{engine}, {mix}: {done.stderr}")
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def load(engine: str, options: argparse.Namespace) -> dict[str, Any]:
    """Fill a cache far beyond its limit; return what that took."""
    mix, limit_bytes = options.mix, options.mib * MIB
    rng, lengths = random.Random(f"{engine} {mix}"), MIXES[mix]
    with tempfile.TemporaryDirectory() as folder:
        cache = open_cache(engine, Path(folder) / "store", limit_bytes)
        key_count = _key_count(rng, lengths, limit_bytes)
        for number in range(200):  # what is imported and allocated once
            cache.set(b"%d" % number, rng.randbytes(100))
            cache.get(b"%d" % number)
        cache.clear()
        empty, peak, written = resident(), {}, 0
        count = 0
        while written < options.times * limit_bytes:
            number = int(key_count * rng.random() ** 2)
            key_length, value_length = lengths(rng)
            key = (b"%x." % number).ljust(key_length, b"k")
            if cache.get(key) is None or rng.random() < 0.3:
                ttl = 3600 if number % 8 == 0 else None
                cache.set(key, rng.randbytes(value_length), ttl)
                written += key_length + value_length + _ENTRY_BYTES
            count += 1
            if count % _SAMPLE_EVERY == 0:
                peak = _highest(peak, resident())
        cache.close()
    grown = {name: peak[name] - empty[name] for name in peak}
    return {
        "engine": engine,
        "mix": mix,
        "limit_mib": limit_bytes / MIB,
        "ratio": grown["total"] / limit_bytes,
        **{f"{name}_mib": size / MIB for name, size in grown.items()},
    }


def open_cache(engine: str, path: Path, limit_bytes: int) -> Any:
    """Open a cache with this much memory."""
    sys.path.insert(0, str(ROOT))
    from hypercache import Cache

    if engine == "hybrid":
        return Cache(path, memory_bytes=limit_bytes)
    if engine == "memory":
        return Cache(max_bytes=limit_bytes)
    return Cache(path, engine="memory", max_bytes=limit_bytes)


def resident() -> dict[str, int]:
    """Return the resident bytes of this process: its own, of files, and shared."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("RssAnon", "RssFile", "RssShmem"):
            found[name[3:].lower()] = int(value.split()[0]) * 1024
    return {"total": sum(found.values()), **found}


def _highest(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return max(one or other, other, key=lambda each: each["total"])


def _key_count(rng: random.Random, lengths: Mix, limit_bytes: int) -> int:
    sizes = [sum(lengths(rng)) + _ENTRY_BYTES for _ in range(200)]
    return 3 * limit_bytes * len(sizes) // sum(sizes)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["| engine | mix | limit | grown | ratio | own | files | shared |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    lines += [
        f"| {row['engine']} | {row['mix']} | {row['limit_mib']:.0f} MiB "
        f"| {row['total_mib']:.1f} | {row['ratio']:.2f} "
        f"| {row['anon_mib']:.1f} | {row['file_mib']:.1f} | {row['shmem_mib']:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())

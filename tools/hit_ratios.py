"""Print the hit ratios that eviction policies make on request traces.

    python tools/hit_ratios.py TRACE... [--share 0.01 0.1] [--policy s3fifo lru]

A trace is a file of little-endian 32-bit key numbers, one for each request, as it is or
compressed (.xz). It is played through a real `Cache(max_items=...)`: a miss is a set.
"""

from __future__ import annotations

import argparse
import lzma
import sys
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

from hypercache import Cache
from hypercache.eviction import NAMES

SHARES = (0.01, 0.1)  # of the distinct keys of a trace
POLICIES = tuple(name for name in NAMES if name not in ("ttl", "none"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row for each trace and size, and the means."""
    options = _parser().parse_args(arguments)
    policies = options.policy
    _print_row("trace", "items", policies)
    ratios: list[list[float]] = []
    for path in options.trace:
        requests = read_trace(path)
        distinct = len(set(requests))
        for share in options.share:
            max_items = max(1, int(distinct * share))
            row = [hit_ratio(requests, max_items, policy) for policy in policies]
            ratios.append(row)
            _print_row(path.name.split(".")[0], max_items, _rounded(row))
    means = [sum(column) / len(column) for column in zip(*ratios, strict=True)]
    _print_row("mean", "", _rounded(means))
    return 0


def read_trace(path: Path) -> array[int]:
    """Return the key numbers of a trace."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        data = lzma.decompress(data)
    requests = array("I", data)
    if sys.byteorder == "big":
        requests.byteswap()
    return requests


def hit_ratio(requests: Iterable[int], max_items: int, policy: str) -> float:
    """Return the share of requests that find their key."""
    keys, hits = [number.to_bytes(4, "little") for number in requests], 0
    with Cache(max_items=max_items, eviction=policy) as cache:
        for key in keys:
            if cache.get(key) is None:
                cache.set(key, True)
            else:
                hits += 1
    return hits / len(keys) if keys else 0.0


def _rounded(ratios: Iterable[float]) -> list[str]:
    return [f"{ratio:.4f}" for ratio in ratios]


def _print_row(name: str, items: object, cells: Iterable[str]) -> None:
    line = f"{name:16}{items!s:>9}" + "".join(f"{cell:>9}" for cell in cells)
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trace", nargs="+", type=Path)
    parser.add_argument("--share", nargs="+", type=float, default=SHARES)
    parser.add_argument("--policy", nargs="+", choices=POLICIES, default=POLICIES)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Load a million keys from an append-only log beside Redis, in one run.

Both load the same keys: from raw increments (one command or frame per key), and from
what their own compaction makes of them. Rounds alternate; medians are printed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hypercache import Cache

VALUE = bytes(range(100))
MANIFEST = "file appendonly.aof.1.incr.aof seq 1 type i\n"


class Redis:
    """A redis-server on a directory of its own, reached through a socket there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def make(self, keys: list[bytes]) -> None:
        """Write an append-only file with one SET per key."""
        log = self.directory / "appendonlydir"
        log.mkdir(parents=True)
        with (log / "appendonly.aof.1.incr.aof").open("wb") as file:
            for key in keys:
                parts = b"SET", key, VALUE
                file.write(b"*3\r\n" + b"".join(map(bulk, parts)))
        (log / "appendonly.aof.manifest").write_text(MANIFEST)

    def load_s(self, *, rewrite: bool = False) -> float:
        """Start, return what the server says its load took, and stop."""
        command = ["redis-server", "--port", "0", "--appendonly", "yes", "--save", ""]
        command += ["--unixsocket", "s", "--dir", str(self.directory)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=self.directory
        ) as server:
            took = self._wait(server, "DB loaded from append only file")
            self._wait(server, "ready to accept connections")
            if rewrite:
                self._say(b"BGREWRITEAOF\r\n")
                self._wait(server, "Background AOF rewrite finished successfully")
            server.kill()
            server.stdout.read()
        return float(took.rpartition(": ")[2].split()[0])

    @staticmethod
    def _wait(server: subprocess.Popen, text: str) -> str:
        for line in server.stdout:
            if text in line:
                return line
        raise SystemExit(f"redis-server ended before it said {text!r}")

    def _say(self, line: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.directory / "s"))
            client.sendall(line)
            client.recv(100)


def bulk(data: bytes) -> bytes:
    """Return one argument as Redis writes it."""
    return b"$%d\r\n%s\r\n" % (len(data), data)


def open_s(path: Path, count: int) -> float:
    """Return how long an open takes."""
    began = time.perf_counter()
    cache = Cache(path, engine="memory", serializer="bytes")
    took = time.perf_counter() - began
    with cache:
        if len(cache) != count:
            raise SystemExit(f"{len(cache)} keys where {count} belong")
    return took


def main() -> int:
    """Make the logs, load them in turn, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if shutil.which("redis-server") is None:
        print("skipped: redis-server is not installed")
        return 0
    rng = random.Random(given.seed)
    keys = [rng.randbytes(16) for _ in range(given.keys)]
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="open-") as name:
        raw, base = Path(name, "raw"), Path(name, "base")
        for path in (raw, base):
            with Cache(path, engine="memory", serializer="bytes") as cache:
                for key in keys:
                    cache.set(key, VALUE)
                if path == base:
                    cache.compact()
        peers = Redis(Path(name, "redis-raw")), Redis(Path(name, "redis-base"))
        for peer in peers:
            peer.make(keys)
        peers[1].load_s(rewrite=True)
        for _ in range(given.rounds):
            for what, path, peer in zip(
                ("increments", "base"), (raw, base), peers, strict=True
            ):
                times.setdefault(f"{what} redis", []).append(peer.load_s())
                took = open_s(path, len(keys))
                times.setdefault(f"{what} hypercache", []).append(took)
    report(times, len(keys), given.seed)
    return 0


def report(times: dict[str, list[float]], count: int, seed: int) -> None:
    """Print the medians and what they are beside each other."""
    version = subprocess.run(
        [shutil.which("redis-server") or "", "--version"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()[2]
    print(f"{count} keys of 16 bytes, values of 100; seed {seed}; redis {version}")
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, took in medians.items():
        spread = f"{min(times[name]):.2f} to {max(times[name]):.2f}"
        print(
            f"  {name:22} {took:6.2f} s ({spread}), {count / took / 1e6:.2f} M keys/s"
        )
    for what in ("increments", "base"):
        ratio = medians[f"{what} redis"] / medians[f"{what} hypercache"]
        print(f"  {what}: {ratio:.2f} times as fast as redis")


if __name__ == "__main__":
    sys.exit(main())

"""A redis-server of the benchmark's own, on a directory and a socket of its own."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from hypercache.bench.stores import Durability, Store, Subject, counted

MANIFEST = "file appendonly.aof.1.incr.aof seq 1 type i\n"
LOADED = "DB loaded from append only file"
READY = "ready to accept connections"
REWRITTEN = "Background AOF rewrite finished successfully"


class RedisServer:
    """A running server with an append-only file; `close` kills it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._socket = str(directory / "s")
        command = ["redis-server", "--port", "0", "--appendonly", "yes", "--save", ""]
        command += ["--unixsocket", "s", "--dir", str(directory)]
        # Or one that Redis began by itself would refuse the one asked for.
        command += ["--auto-aof-rewrite-percentage", "0"]
        # Started in the directory: a socket's path may have 107 bytes only.
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=directory,
        )
        assert self._process.stdout is not None
        self._says: IO[str] = self._process.stdout
        self.load_s = self._wait_until_ready()

    def client(self) -> Any:
        """Return a client of the redis package."""
        return importlib.import_module("redis").Redis(unix_socket_path=self._socket)

    def rewrite(self) -> None:
        """Compact the append-only file."""
        with self.client() as client:
            client.bgrewriteaof()
        self._wait_for(REWRITTEN)

    def close(self) -> None:
        """Kill it: what is measured is on the medium by then."""
        self._process.kill()
        self._says.close()
        self._process.wait()

    def _wait_until_ready(self) -> float | None:
        took = None
        for line in self._says:
            if LOADED in line:
                took = float(line.rpartition(": ")[2].split()[0])
            if READY in line:
                return took
        raise self._ended(READY)

    def _wait_for(self, text: str) -> None:
        if not any(text in line for line in self._says):
            raise self._ended(text)

    def _ended(self, text: str) -> RuntimeError:
        code = self._process.wait()
        return RuntimeError(f"redis-server ended with {code} before it said {text!r}")


def write_log(directory: Path, entries: Mapping[bytes, bytes]) -> None:
    """Write an append-only file with one SET for each entry."""
    log = directory / "appendonlydir"
    log.mkdir(parents=True)
    with (log / "appendonly.aof.1.incr.aof").open("wb") as file:
        for entry in entries.items():
            parts = (b"$%d\r\n%b\r\n" % (len(part), part) for part in (b"SET", *entry))
            file.write(b"*3\r\n" + b"".join(parts))
    (log / "appendonly.aof.manifest").write_text(MANIFEST)


def _open(path: Path, _count: int) -> Store:
    server = RedisServer(path / "redis")
    client = server.client()

    def close() -> None:
        client.close()
        server.close()

    def scan(prefix: bytes) -> int:
        keys = list(client.scan_iter(match=prefix + b"*", count=1000))
        return counted(client.mget(keys))

    return Store(
        client.set, client.get, close, client.mset, client.mget, scan, client.save
    )


SUBJECTS = (
    Subject(
        "redis",
        Durability.SYSTEM,
        "appendfsync=everysec, Unix socket",
        _open,
        "redis",
        command="redis-server",
        slow=True,
    ),
)

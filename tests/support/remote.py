"""A cache that another process has open, driven from here, call by call.

The process is forked from a server that has imported everything and opened nothing: it
inherits nothing of the test, and it is there at once.
"""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hypercache import Cache
from tests.support.engines import TINY, EngineCase

WAIT_S = 60
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        __name__,
        "hypercache.engines.durable_memory",
        "hypercache.engines.lmdb_reader",
        "hypercache.engines.memory_reader",
        "hypercache.engines.hybrid",
        "hypercache.engines.persistent",
    ]
)


class Remote:
    """Call methods of a Cache in a process of its own; what they raise is raised."""

    def __init__(self, case: EngineCase, path: Path, **changes: Any) -> None:
        self._pipe, theirs = _context.Pipe()
        self._process = _context.Process(target=_serve, args=(theirs,))
        self._process.start()
        theirs.close()
        engine = case.name.partition("-")[0]
        options = {**TINY, **case.settings, "engine": engine, **changes}
        self._begin = case.helpers, str(path), options
        try:
            self.open()
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def open(self) -> None:
        self._ask("open", self._begin, {})

    def call(self, name: str, *arguments: Any, **named: Any) -> Any:
        return self._ask(name, arguments, named)

    def kill(self) -> None:
        self._process.kill()
        self._end()

    def end(self) -> None:
        """Close the cache and wait for the end of the process."""
        if not self._pipe.closed:
            try:
                self.call("close")
            finally:
                self._end()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.end() if error is None else self.kill()

    def _end(self) -> None:
        self._pipe.close()
        self._process.join(WAIT_S)
        assert self._process.exitcode is not None, "the process hangs"
        self._process.close()

    def _ask(self, *request: Any) -> Any:
        self._pipe.send(request)
        assert self._pipe.poll(WAIT_S), f"no answer to {request[0]}"
        good, answer = self._pipe.recv()
        if not good:
            kind, arguments = answer
            raise kind(*arguments)
        return answer


def _open(helpers: bool, path: str, options: dict[str, Any]) -> Cache:
    if not helpers:
        sys.frozen = True  # as in tests.conftest
    return Cache(path, **options)


def _serve(pipe: Connection) -> None:
    cache: Any = None
    while True:
        try:
            name, arguments, named = pipe.recv()
        except EOFError:
            return
        try:
            if name == "open":
                cache, answer = _open(*arguments), None
            else:
                answer = getattr(cache, name)(*arguments, **named)
        except Exception as error:  # noqa: BLE001  (the parent raises it)
            pipe.send((False, (type(error), _arguments(error))))
        else:
            pipe.send((True, answer))


def _arguments(error: Exception) -> tuple[Any, ...]:
    if hasattr(error, "pid"):  # StoreLockedError
        return error.path, error.pid
    return (error.path, error.reason) if hasattr(error, "reason") else error.args

"""A cache that another process has open, driven from here, call by call.

Run as `python -m tests.support.remote`, it takes pickled calls from its standard input
and answers each; the parent may kill it at any moment.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypercache import Cache
from tests.support.engines import TINY, EngineCase
from tests.support.processes import environment


class Remote:
    """Call methods of a Cache in a process of its own; what they raise is raised."""

    def __init__(self, case: EngineCase, path: Path, **changes: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )
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
        self._ask(("open", self._begin, {}))

    def call(self, name: str, *arguments: Any, **named: Any) -> Any:
        return self._ask((name, arguments, named))

    def kill(self) -> None:
        self._process.kill()
        self._end()

    def end(self) -> None:
        """Close the cache and wait for the end of the process."""
        if self._process.poll() is None:
            try:
                self.call("close")
            finally:
                self._process.stdin.close()
                self._end()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.end() if error is None else self.kill()

    def _end(self) -> None:
        self._process.wait(30)
        for stream in (self._process.stdin, self._process.stdout):
            stream.close()

    def _ask(self, request: object) -> Any:
        pickle.dump(request, self._process.stdin)
        self._process.stdin.flush()
        good, answer = pickle.load(self._process.stdout)  # noqa: S301  (our own child)
        if not good:
            kind, text = answer
            raise kind(*text)
        return answer


def _open(helpers: bool, path: str, options: dict[str, Any]) -> Cache:
    if not helpers:
        sys.frozen = True  # as in tests.conftest
    return Cache(path, **options)


def main() -> None:
    cache: Any = None
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            name, arguments, named = pickle.load(sys.stdin.buffer)  # noqa: S301
        except EOFError:
            return
        try:
            if name == "open":
                cache, answer = _open(*arguments), None
            else:
                answer = getattr(cache, name)(*arguments, **named)
                if name == "scan":
                    answer = list(answer)
            reply = True, answer
        except Exception as error:  # noqa: BLE001  (the parent raises it)
            reply = False, (type(error), _arguments(error))
        pickle.dump(reply, answers)
        answers.flush()


def _arguments(error: Exception) -> tuple[Any, ...]:
    if hasattr(error, "pid"):  # StoreLockedError
        return error.path, error.pid
    return (error.path, error.reason) if hasattr(error, "reason") else error.args


if __name__ == "__main__":
    main()

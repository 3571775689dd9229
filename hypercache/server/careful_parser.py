"""Parse requests byte by byte, within limits: whatever hiredis is not trusted with."""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

from hypercache.options import KIB, MIB
from hypercache.server import inline

Request = list[bytes]
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]{0,9})").fullmatch
_HEAD_BYTES = 64  # no head of an array or argument is longer than that


class Limits(NamedTuple):
    """How long what a client sends may be; untrusted: before it has said who it is."""

    argument_count: int = 1024
    argument_bytes: int = 64 * MIB
    request_bytes: int = 80 * MIB
    inline_bytes: int = 16 * KIB
    is_trusted: bool = True


BEFORE_AUTH = Limits(4, KIB, 16 * KIB, KIB, is_trusted=False)


class _NotSoundError(Exception):
    pass


class CarefulParser:
    """Hold the beginning of a request until the rest has come.

    Attributes:
        error: what is not sound, in Redis' words; then nothing more is to be fed.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.error: str | None = None
        self._buffer = bytearray()
        self._at = 0
        self._arguments: Request = []
        self._missing_count = 0  # arguments that the request lacks
        self._length: int | None = None  # of the argument that is on its way
        self._taken_bytes = 0  # of the arguments that are whole

    @property
    def held_bytes(self) -> int:
        """Return the length of what is not a whole request yet."""
        return len(self._buffer) + self._taken_bytes

    @property
    def is_inside(self) -> bool:
        """Tell whether a request has begun and not ended."""
        return self._missing_count > 0 or len(self._buffer) > 0

    def feed(self, data: bytes) -> list[Request]:
        """Return the requests that are whole now."""
        self._buffer += data
        requests: list[Request] = []
        while (request := self._next_or_error()) is not None:
            if request:
                requests.append(request)
        self._forget_parsed()
        return requests

    def finish(self, data: bytes) -> tuple[list[Request], bytes]:
        """Return the request that was begun, if it is whole now, and what is behind."""
        self._buffer += data
        request = self._next_or_error()
        if request is None:
            self._forget_parsed()
            return [], b""
        behind_bytes = len(self._buffer) - self._at
        self._buffer.clear()
        self._at = 0
        return [request] if request else [], data[len(data) - behind_bytes :]

    def _next_or_error(self) -> Request | None:
        try:
            return self._next()
        except _NotSoundError as error:
            self.error = f"Protocol error: {error}"
            return None

    def _next(self) -> Request | None:
        """Return a request, an empty one for an empty line, None if more must come."""
        if not self._missing_count:
            if self._at == len(self._buffer):
                return None
            if self._buffer[self._at] != ord("*"):
                return self._inline()
            count = self._head("too big mbulk count string")
            if count is None:
                return None
            self._begin(count)
        while self._missing_count:
            argument = self._argument()
            if argument is None:
                return None
            self._arguments.append(argument)
            self._missing_count -= 1
        request, self._arguments, self._taken_bytes = self._arguments, [], 0
        return request

    def _begin(self, count: bytes) -> None:
        number = _int(count)
        if number is None or number > self.limits.argument_count:
            trusted = self.limits.is_trusted or number is None
            _refuse(f"{'invalid' if trusted else 'unauthenticated'} multibulk length")
        self._missing_count = max(0, number)

    def _argument(self) -> bytes | None:
        if self._length is None:
            if self._at == len(self._buffer):
                return None
            if self._buffer[self._at] != ord("$"):
                _refuse(f"expected '$', got '{chr(self._buffer[self._at])}'")
            head = self._head("too big bulk count string")
            if head is None:
                return None
            self._length = self._checked_length(head)
        end = self._at + self._length
        if len(self._buffer) < end + 2:
            self._forget_parsed()
            return None
        with memoryview(self._buffer) as view:
            argument = bytes(view[self._at : end])
        self._taken_bytes += self._length
        self._at, self._length = end + 2, None
        return argument

    def _checked_length(self, head: bytes) -> int:
        length, limits = _int(head), self.limits
        if length is None or length < 0 or length > limits.argument_bytes:
            trusted = limits.is_trusted or length is None or length < 0
            _refuse(f"{'invalid' if trusted else 'unauthenticated'} bulk length")
        if self._taken_bytes + length > limits.request_bytes:
            _refuse(f"a command takes at most {limits.request_bytes} bytes")
        return length

    def _head(self, too_long: str) -> bytes | None:
        """Return the number of a head and go behind it; None if more must come."""
        end = self._buffer.find(b"\r\n", self._at, self._at + _HEAD_BYTES)
        if end < 0:
            if len(self._buffer) - self._at >= _HEAD_BYTES:
                _refuse(too_long)
            self._forget_parsed()
            return None
        number = bytes(self._buffer[self._at + 1 : end])
        self._at = end + 2
        return number

    def _inline(self) -> Request | None:
        end = self._buffer.find(b"\n", self._at)
        length = (len(self._buffer) if end < 0 else end) - self._at
        if length > self.limits.inline_bytes:
            _refuse("too big inline request")
        if end < 0:
            return None
        line = bytes(self._buffer[self._at : end]).removesuffix(b"\r")
        self._at = end + 1
        request = inline.split(line)
        if request is None:
            _refuse("unbalanced quotes in request")
        return request

    def _forget_parsed(self) -> None:
        del self._buffer[: self._at]
        self._at = 0


def _int(text: bytes) -> int | None:
    return int(text) if _NUMBER(text) and text != b"-0" else None


def _refuse(reason: str) -> NoReturn:
    raise _NotSoundError(reason)

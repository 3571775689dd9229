"""Encode replies: RESP, version 2 and 3.

https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"
PONG = b"+PONG\r\n"
ZERO, ONE = b":0\r\n", b":1\r\n"
EMPTY = b"$0\r\n\r\n"
EMPTY_ARRAY = b"*0\r\n"


def simple(text: str) -> bytes:
    """Return a simple string."""
    return b"+%b\r\n" % text.encode()


def error(text: str) -> bytes:
    """Return an error; its first word is the code. Line ends become spaces."""
    line = text.replace("\r", " ").replace("\n", " ")
    return b"-%b\r\n" % line.encode("utf-8", "surrogateescape")


def integer(number: int) -> bytes:
    """Return an integer."""
    return b":%d\r\n" % number


def bulk(data: bytes) -> bytes:
    """Return a bulk string."""
    return b"$%d\r\n%b\r\n" % (len(data), data)


def text(data: str) -> bytes:
    """Return a bulk string of text."""
    return bulk(data.encode("utf-8", "surrogateescape"))


def array(items: Sequence[bytes]) -> bytes:
    """Return an array of replies."""
    return b"*%d\r\n%b" % (len(items), b"".join(items))


def bulks(items: Iterable[bytes]) -> bytes:
    """Return an array of bulk strings."""
    return array([bulk(item) for item in items])


class Dialect:
    """What differs between the versions; this is RESP2.

    Attributes:
        null: stands for no value.
        null_array: for no array, as EXEC answers after a WATCH that failed.
    """

    version = 2
    null = b"$-1\r\n"
    null_array = b"*-1\r\n"

    def map(self, pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return a map of encoded keys and values."""
        return array([part for pair in pairs for part in pair])

    def set(self, items: Sequence[bytes]) -> bytes:
        """Return a set of replies."""
        return array(items)

    def push(self, items: Sequence[bytes]) -> bytes:
        """Return what is sent without having been asked for."""
        return array(items)

    def double(self, number: float) -> bytes:
        """Return a floating point number."""
        return text(_decimal(number))

    def verbatim(self, data: str) -> bytes:
        """Return text that a person is to read."""
        return text(data)


class Dialect3(Dialect):
    """RESP3."""

    version = 3
    null = b"_\r\n"
    null_array = b"_\r\n"

    def map(self, pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return a map of encoded keys and values."""
        return b"%%%d\r\n%b" % (len(pairs), b"".join(k + v for k, v in pairs))

    def set(self, items: Sequence[bytes]) -> bytes:
        """Return a set of replies."""
        return b"~%d\r\n%b" % (len(items), b"".join(items))

    def push(self, items: Sequence[bytes]) -> bytes:
        """Return what is sent without having been asked for."""
        return b">%d\r\n%b" % (len(items), b"".join(items))

    def double(self, number: float) -> bytes:
        """Return a floating point number."""
        return b",%b\r\n" % _decimal(number).encode()

    def verbatim(self, data: str) -> bytes:
        """Return text that a person is to read."""
        encoded = b"txt:" + data.encode("utf-8", "surrogateescape")
        return b"=%d\r\n%b\r\n" % (len(encoded), encoded)


RESP2, RESP3 = Dialect(), Dialect3()
DIALECTS = {b"2": RESP2, b"3": RESP3}


def _decimal(number: float) -> str:
    if math.isinf(number):
        return "inf" if number > 0 else "-inf"
    return repr(int(number) if number == int(number) else number)

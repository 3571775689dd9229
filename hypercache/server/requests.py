"""Turn what a client sends into requests: lists of arguments.

Where a read holds whole requests hiredis parses them, at a tenth of what it takes in
Python. It is made for replies, though, which a client trusts: it takes memory for a
length that was only announced, nests, and knows types that are no request. So a chunk
is looked through first, its arguments after, and whatever is cut, large or not sound
goes to `careful_parser`, which takes bytes as they come and knows the limits.
"""

from __future__ import annotations

import re
from itertools import chain

import hiredis

from hypercache.server.careful_parser import CarefulParser, Limits, Request

_LONG_ARRAY = re.compile(rb"\*\d{4}").search
_BYTES = {bytes}
_MORE = ...


class RequestParser:
    """Collect the bytes of one client; `limits` may be exchanged at any time."""

    def __init__(self, limits: Limits) -> None:
        self._reader = _new_reader()
        self._careful = CarefulParser(limits)

    @property
    def limits(self) -> Limits:
        """Return how long what comes may be."""
        return self._careful.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._careful.limits = limits

    @property
    def error(self) -> str | None:
        """Return what behind the last request is none; then feed nothing more."""
        return self._careful.error

    @property
    def held_bytes(self) -> int:
        """Return the length of what is not a whole request yet."""
        return self._careful.held_bytes

    def feed(self, data: bytes) -> list[Request]:
        """Return the requests that are whole now; see `error` afterwards."""
        careful = self._careful
        if careful.is_inside:
            first, data = careful.finish(data)
            return first + self.feed(data) if data else first
        if not self._is_plain(data):
            return careful.feed(data)
        reader = self._reader
        reader.feed(data)
        requests = _sound(reader)
        if requests and _is_between(reader):
            return requests
        self._reader = _new_reader()  # it holds the beginning of one, or worse
        at = sum(map(_sent_bytes, requests))
        return requests + careful.feed(data[at:])

    def _is_plain(self, data: bytes) -> bool:
        """Tell whether hiredis may have it."""
        limits = self.limits
        return (
            limits.is_trusted
            and len(data) <= limits.argument_bytes
            and data[:1] == b"*"
            and not _LONG_ARRAY(data)
        )


def _new_reader() -> hiredis.Reader:
    return hiredis.Reader(notEnoughData=_MORE)


def _sound(reader: hiredis.Reader) -> list[Request]:
    """Return all requests that a reader has, none at all if one of them is not sound.

    Then the other parser is to say what is wrong, and what came before.
    """
    try:
        requests: list[Request] = list(iter(reader.gets, _MORE))
        types = set(map(type, chain.from_iterable(requests)))
    except (hiredis.ProtocolError, TypeError):  # `*-1` is None, `:1` an int
        return []
    return requests if types == _BYTES and all(requests) else []


def _is_between(reader: hiredis.Reader) -> bool:
    """Tell whether a reader has nothing of a further request; else it is spoilt."""
    # `has_data` knows nothing of a head that was read: ask by an empty array.
    reader.feed(b"*0\r\n")
    try:
        return bool(reader.gets() == [])
    except hiredis.ProtocolError:
        return False


def _sent_bytes(request: Request) -> int:
    """Return how long a request was; hiredis takes no number with leading zeros."""
    heads = sum([len(str(len(argument))) for argument in request])
    count = len(request)
    return 3 + len(str(count)) + 5 * count + heads + sum(map(len, request))

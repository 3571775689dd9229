"""Match keys against Redis' glob patterns.

`*`, `?`, `[a-c]`, `[^a]`, and a backslash before what stands for itself. A pattern
becomes a regular expression. All but a star match one byte, so what follows a star may
be taken where it first fits, but for the last: these groups are atomic, and no pattern
takes more time than its length times that of the key.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

_SPECIAL = re.compile(rb"[*?\[\\]")


@lru_cache(maxsize=256)
def matcher(pattern: bytes) -> Callable[[bytes], object]:
    """Return what tells whether a whole key matches."""
    if pattern.strip(b"*") == b"" and pattern:
        return _always
    return re.compile(_expression(pattern), re.DOTALL).fullmatch


def bounds(pattern: bytes) -> tuple[bytes | None, bytes | None]:
    """Return between which keys all that match lie: from, and up to below."""
    found = _SPECIAL.search(pattern)
    prefix = pattern if found is None else pattern[: found.start()]
    last = prefix.rstrip(b"\xff")
    stop = last[:-1] + bytes([last[-1] + 1]) if last else None
    return prefix or None, stop


def _always(_key: bytes) -> bool:
    return True


def _expression(pattern: bytes) -> bytes:
    first, *rest = _segments(pattern)
    if not rest:
        return first
    *middle, last = rest
    inner = b"".join(b"(?>.*?%b)" % segment for segment in middle)
    return first + inner + b".*" + last


def _segments(pattern: bytes) -> list[bytes]:
    """Return what is between the stars, each part as a regular expression."""
    segments, at = [b""], 0
    while at < len(pattern):
        char = pattern[at : at + 1]
        at += 1
        if char == b"*":
            if segments[-1] or len(segments) == 1:
                segments.append(b"")
        elif char == b"?":
            segments[-1] += b"."
        elif char == b"[":
            one, at = _class(pattern, at)
            segments[-1] += one
        else:
            if char == b"\\" and at < len(pattern):
                char = pattern[at : at + 1]
                at += 1
            segments[-1] += re.escape(char)
    return segments


def _class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """Return the expression of a class that begins at `at`, and where it ends."""
    is_negated = pattern[at : at + 1] == b"^"
    at += is_negated
    members: set[int] = set()
    while at < len(pattern) and pattern[at] != ord("]"):
        if pattern[at] == ord("\\") and at + 1 < len(pattern):
            members.add(pattern[at + 1])
            at += 2
        elif at + 2 < len(pattern) and pattern[at + 1] == ord("-"):
            low, high = sorted((pattern[at], pattern[at + 2]))
            members.update(range(low, high + 1))
            at += 3
        else:
            members.add(pattern[at])
            at += 1
    if is_negated:
        members = set(range(256)) - members
    inner = b"".join(b"\\x%02x" % member for member in sorted(members))
    return (b"[%b]" % inner if members else b"(?!)"), at + 1

"""Split an inline command into its arguments, as a shell would.

Redis' rules: double quotes know escapes, single quotes only their own, and a closing
quote ends the argument.
"""

from __future__ import annotations

import re

_SPACE = b" \t\n\r\v\f\0"
_SPACES = re.compile(rb"[ \t\n\r\v\f]*")
_PLAIN = re.compile(rb"[^ \t\n\r\0\"']+")
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_DOUBLE = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SINGLE = re.compile(rb"'((?:[^'\\]|\\'|\\(?!'))*)'", re.DOTALL)
_NAMED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


def split(line: bytes) -> list[bytes] | None:
    """Return the arguments, None where quotes are not balanced."""
    arguments, at = [], _skip(line, 0)
    while at < len(line) and line[at]:
        found = _argument(line, at)
        if found is None:
            return None
        argument, at = found
        arguments.append(argument)
        at = _skip(line, at)
    return arguments


def _argument(line: bytes, at: int) -> tuple[bytes, int] | None:
    """Return the argument that begins at `at`, and where it ends."""
    parts = []
    while at < len(line) and line[at] not in _SPACE:
        if line[at] not in b"\"'":
            plain = _PLAIN.match(line, at)
            assert plain is not None
            parts.append(plain[0])
            at = plain.end()
            continue
        pattern = _DOUBLE if line[at] == ord('"') else _SINGLE
        quoted = pattern.match(line, at)
        if quoted is None or line[quoted.end() : quoted.end() + 1].strip(_SPACE):
            return None
        doubles = pattern is _DOUBLE
        parts.append(
            _ESCAPE.sub(_unescaped, quoted[1])
            if doubles
            else quoted[1].replace(rb"\'", b"'")
        )
        return b"".join(parts), quoted.end()
    return b"".join(parts), at


def _unescaped(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return bytes.fromhex(match[1].decode())
    return _NAMED.get(match[2], match[2])


def _skip(line: bytes, at: int) -> int:
    found = _SPACES.match(line, at)
    assert found is not None
    return found.end()

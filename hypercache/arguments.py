"""Check what callers pass to a Cache, and turn it into what engines take. Pure."""

from __future__ import annotations

import math
import os
from datetime import timedelta
from typing import Any

from hypercache.errors import ArgumentTypeError, ConfigError, LimitError
from hypercache.paths import MAX_NAME_BYTES

TUNING = (
    "segment_bytes",
    "checkpoint_bytes",
    "compact_min_bytes",
    "map_bytes",
    "fold_batch",
    "allow_unsafe_sync",
)
# 250,000 years: what still fits a file's 64 bits without a thought.
MAX_TTL_MS = 1 << 53


def key_bytes(key: Any) -> bytes:
    """Return the bytes of a key.

    Raises:
        ArgumentTypeError: it is neither str nor bytes, or a str without UTF-8 form.
    """
    if isinstance(key, bytes):
        return bytes(key)
    if not isinstance(key, str):
        raise ArgumentTypeError(
            f"a key is str or bytes, not {type(key).__name__}: {key!r:.60}"
        )
    try:
        return key.encode()
    except UnicodeEncodeError as error:
        raise ArgumentTypeError(f"the key {key!r:.60} has no UTF-8 form") from error


def ttl_ms(ttl: float | timedelta | None) -> float:
    """Return a ttl in milliseconds, 0 for one that never ends.

    Raises:
        LimitError: it is zero, negative or not a number.
        ArgumentTypeError: it is neither a number nor a timedelta.
    """
    if ttl is None:
        return 0
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        kind = type(ttl).__name__
        raise ArgumentTypeError(f"a ttl is seconds or a timedelta, not {kind}")
    if not seconds > 0:
        raise LimitError(f"ttl={ttl!r} must be above 0; use delete() to remove a key")
    if seconds == math.inf:
        return 0
    # At least one millisecond: rounded down to 0 it would mean "never".
    return min(max(1.0, seconds * 1000), MAX_TTL_MS)


def share(name: str, value: float) -> float:
    """Return a number of 0 to 1.

    Raises:
        ConfigError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{name}={value!r} must be a number of 0 to 1")
    if not 0 <= value <= 1:
        raise ConfigError(f"{name}={value!r} must be 0 to 1")
    return float(value)


def key_range(prefix: Any, start: Any, stop: Any) -> tuple[bytes | None, bytes | None]:
    """Return the bounds low <= key < high that a scan's arguments mean."""
    low = None if start is None else key_bytes(start)
    high = None if stop is None else key_bytes(stop)
    if prefix is not None:
        first = key_bytes(prefix)
        behind = successor(first)
        low = first if low is None else max(low, first)
        if behind is not None:
            high = behind if high is None else min(high, behind)
    return low, high


def successor(prefix: bytes) -> bytes | None:
    """Return the lowest key above all keys with this prefix, None if there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None


def limit(value: int | None) -> int | None:
    """Return the limit of a scan if it is one.

    Raises:
        LimitError: it is negative.
    """
    if value is not None and integer(value) < 0:
        raise LimitError(f"limit={value} must not be negative")
    return value


def integer(value: Any, key: bytes | None = None) -> int:
    """Return `value` if it is an int, which a bool is not."""
    if type(value) is int:
        return value
    where = f"the value of key {key!r}" if key is not None else "the argument"
    raise ArgumentTypeError(
        f"{where} is {type(value).__name__}, not int: {value!r:.60}"
    )


def namespace_name(name: Any) -> str:
    """Return the name of a namespace if it is one.

    Raises:
        ArgumentTypeError: it is no str, or one without UTF-8 form.
        LimitError: it is empty or too long.
    """
    if not isinstance(name, str):
        kind = type(name).__name__
        raise ArgumentTypeError(f"a namespace's name is str, not {kind}: {name!r:.60}")
    try:
        length_bytes = len(name.encode())
    except UnicodeEncodeError as error:
        raise ArgumentTypeError(f"the name {name!r:.60} has no UTF-8 form") from error
    if not 0 < length_bytes <= MAX_NAME_BYTES:
        raise LimitError(
            f"a namespace's name is 1 to {MAX_NAME_BYTES} bytes of UTF-8, and {name!r} "
            f"has {length_bytes}"
        )
    return name


def known_tuning(tuning: dict[str, Any]) -> dict[str, Any]:
    """Return the tuning options, or say which of them does not exist."""
    for name in tuning:
        if name not in TUNING:
            raise ConfigError(f"unknown option {name!r}; there are {', '.join(TUNING)}")
    return tuning


def absolute(path: Any) -> str:
    """Return the absolute path, so that a later chdir changes nothing."""
    try:
        text = os.fsdecode(os.fspath(path))
    except TypeError as error:
        raise ConfigError(f"path={path!r:.60} is not a path") from error
    if not text or "\0" in text:
        raise ConfigError(f"path={text!r} names no directory")
    return os.path.abspath(text)

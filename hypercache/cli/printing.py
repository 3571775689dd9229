"""Keys and values as text, for people and for programs.

JSON holds less than a cache. What it lacks is printed like this:

    bytes                  text if they are UTF-8, else {"base64": "..."}
    tuple, set, frozenset  an array; of a set in no order that means anything
    dict                   an object; with a key that is not a str {"items": [[k, v]]}
    datetime, date, time   ISO 8601 text
    timedelta              seconds
    NaN and infinities     "NaN", "Infinity", "-Infinity"
    msgpack's ExtType      {"ext": code, "base64": "..."}
    anything else          its str(): Decimal, UUID

So a type cannot always be told from what is printed. All output is UTF-8.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Mapping
from datetime import date, time, timedelta
from typing import Any

import click
from msgpack import ExtType

from hypercache.errors import LimitError


def echo(text: str, *, newline: bool = True) -> None:
    """Print text as UTF-8 whatever the locale; a lone surrogate as its escape.

    That escape is also how JSON writes one.
    """
    click.echo(text.encode("utf-8", "backslashreplace"), nl=newline)


def echo_json(document: Mapping[str, object]) -> None:
    """Print one JSON object on one line."""
    echo(json_text(document))


def json_text(value: object) -> str:
    """Return any value of a cache as JSON, on one line.

    Raises:
        LimitError: it is nested too deeply.
    """
    try:
        return json.dumps(_plain(value), ensure_ascii=False)
    except RecursionError as error:
        raise LimitError("the value is nested too deeply to print") from error


def value_text(value: object) -> str:
    """Return text as it is and anything else as JSON."""
    if isinstance(value, bytes):
        value = _bytes(value)
    return value if isinstance(value, str) else json_text(value)


def key_text(key: bytes) -> str:
    """Return a key on one line: what cannot be printed is escaped."""
    text = key.decode("utf-8", "backslashreplace")
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def _plain(value: object) -> Any:
    """Return the value in the types that JSON has."""
    match value:
        case ExtType():
            return {"ext": value.code, "base64": b64encode(value.data).decode()}
        case bytes():
            return _bytes(value)
        case float():
            return _number(value)
        case str() | int() | None:
            return value
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case dict():
            return _object(value)
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
    return str(value)


def _bytes(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _object(value: dict[Any, Any]) -> dict[str, Any]:
    if all(isinstance(key, str) for key in value):
        return {key: _plain(part) for key, part in value.items()}
    return {"items": [[_plain(key), _plain(part)] for key, part in value.items()]}

"""Keys for calls: the name of a function and its arguments, as text one can read.

    module.function(size=1, name='text')
    module.function(#<digest>)            where that is long

Equal text means an equal call: each value is written so that no other type or value
is written the same, and in the same way by every process.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import hashlib
import inspect
import pathlib
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any

from hypercache.errors import ArgumentTypeError, ConfigError

_LONGEST = 200  # characters of arguments that a key shows
_DIGEST_BYTES = 16
_AS_REPR = (
    str, bytes, int, float, complex, bool, type(None), type(...), range,
    decimal.Decimal, fractions.Fraction, uuid.UUID,
    datetime.datetime, datetime.date, datetime.time, datetime.timedelta,
)  # fmt: skip


class CallKeys:
    """Make the keys of the calls of one function.

    Raises:
        ConfigError: the function has no name of its own, or not these parameters.
    """

    def __init__(
        self, function: Callable[..., Any], name: str | None, ignore: Collection[str]
    ) -> None:
        self.name = name or _name(function)
        self._signature = signature = inspect.signature(function)
        self._ignored = frozenset(ignore)
        for each in sorted(self._ignored - set(signature.parameters)):
            known = ", ".join(signature.parameters)
            raise ConfigError(
                f"ignore={each!r}: {self.name} has no such parameter, only {known}"
            )

    def key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """Return the key of a call; defaults count as if they were passed.

        Raises:
            TypeError: the function does not take these arguments.
            ArgumentTypeError: a value of that type cannot be told from another.
        """
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        kinds = self._signature.parameters
        parts: list[str] = []
        for name, value in bound.arguments.items():
            if name in self._ignored:
                continue
            if kinds[name].kind is inspect.Parameter.VAR_POSITIONAL:
                parts += [self._part(name, each) for each in value]
            elif kinds[name].kind is inspect.Parameter.VAR_KEYWORD:
                named = sorted(value.items())
                parts += [f"{key}={self._part(key, each)}" for key, each in named]
            else:
                parts.append(f"{name}={self._part(name, value)}")
        text = ", ".join(parts)
        if len(text) > _LONGEST:
            digest = hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES)
            text = f"#{digest.hexdigest()}"
        return f"{self.name}({text})"

    def _part(self, name: str, value: object) -> str:
        try:
            return _text(value)
        except RecursionError as error:
            problem = "contains itself"
            raise ArgumentTypeError(self._refusal(name, problem)) from error
        except ArgumentTypeError as error:
            raise ArgumentTypeError(self._refusal(name, str(error))) from None

    def _refusal(self, name: str, problem: str) -> str:
        return (
            f"the argument {name!r} of {self.name} {problem}; leave it out with "
            f"ignore=({name!r},), or make keys of your own with key=..."
        )


def _text(value: object) -> str:
    kind = type(value)
    if isinstance(value, enum.Enum):
        return f"{_path(kind)}.{value.name}"
    if kind in _AS_REPR:
        return repr(value)
    if isinstance(value, type):
        return _path(value)
    if isinstance(value, pathlib.PurePath):
        return f"Path({str(value)!r})"
    if kind in (list, tuple, set, frozenset, dict):
        return _collection(value)
    if dataclasses.is_dataclass(value):
        fields = [
            f"{field.name}={_text(getattr(value, field.name))}"
            for field in dataclasses.fields(value)
            if field.compare
        ]
        return f"{_path(kind)}({', '.join(fields)})"
    raise ArgumentTypeError(
        f"is a {_path(kind)}, of which two cannot be told apart by value"
    )


def _collection(value: Any) -> str:
    if isinstance(value, dict):
        pairs = sorted(f"{_text(key)}: {_text(each)}" for key, each in value.items())
        return "{" + ", ".join(pairs) + "}"
    parts = [_text(each) for each in value]
    if isinstance(value, list):
        return "[" + ", ".join(parts) + "]"
    if isinstance(value, tuple):
        return "(" + "".join(f"{part}, " for part in parts) + ")"
    return f"{type(value).__name__}(" + ", ".join(sorted(parts)) + ")"


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", None)
    if name is None or name.rpartition(".")[2] == "<lambda>":
        raise ConfigError(f"{function!r} has no name of its own: give name='...'")
    return f"{function.__module__}.{name}"

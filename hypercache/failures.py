"""The words for a value that cannot be encoded, or bytes that cannot be decoded.

Knows how to find the part of a value that is to blame, by trying its parts one after
the other; runs only once something has failed. Must not know any serializer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from hypercache.errors import DeserializationError, SerializationError

_MAX_STEPS = 25


def cannot_encode(
    name: str,
    value: object,
    error: Exception,
    *,
    encode: Callable[[object], object] | None = None,
) -> SerializationError:
    """Return the error that names the part of a value that `encode` refuses.

    Without `encode`, the value itself is named.
    """
    path, part, cause = "value", value, error
    if encode is not None:
        path, part, cause = _locate(value, error, encode)
    return SerializationError(
        f"the {name} serializer cannot encode {path} of type {_type_name(part)}: "
        f"{_reason(cause)}; change the value, or give the cache a serializer that "
        "takes it"
    )


def cannot_decode(name: str, data: bytes, error: Exception) -> DeserializationError:
    """Return the error for stored bytes that make no value."""
    return DeserializationError(
        f"the {name} serializer cannot decode a stored value of {len(data)} bytes: "
        f"{_reason(error)}; open the cache with the serializer that wrote it, and if "
        "that is this one run `hypercache check` on it"
    )


def unsupported(value: object, kinds: Collection[type]) -> TypeError:
    """Return the error for a type that is not exactly one of the supported kinds."""
    base = next((kind for kind in type(value).__mro__ if kind in kinds), None)
    if base is None:
        return TypeError("it has no encoding for this type")
    return TypeError(
        f"it would come back as a plain {base.__name__}, so convert it to one first"
    )


def _locate(
    value: object, error: Exception, encode: Callable[[object], object]
) -> tuple[str, object, Exception]:
    """Return path, part and cause of the innermost part that fails on its own.

    Where that is very far down, the depth is to blame rather than the part: then the
    whole value and its own error are returned.
    """
    found, above = ("value", value, error), {id(value)}
    for _ in range(_MAX_STEPS):
        inner = _failing_part(found, above, encode)
        if inner is None:
            return found
        found = inner
        if id(found[1]) in above:
            return found
        above.add(id(found[1]))
    return "value", value, error


def _failing_part(
    found: tuple[str, object, Exception],
    above: set[int],
    encode: Callable[[object], object],
) -> tuple[str, object, Exception] | None:
    path, value, _ = found
    for step, part in _parts(value, path):
        if id(part) in above:
            return step, part, ValueError("it contains itself")
        failure = _failure(part, encode)
        if failure is not None:
            return step, part, failure
    return None


def _parts(value: object, path: str) -> Iterator[tuple[str, object]]:
    """Yield what is in a plain container; another thread may be changing it."""
    from reprlib import repr as short_repr

    if type(value) is dict:
        for key, part in list(value.items()):
            yield f"a key of {path}", key
            yield f"{path}[{short_repr(key)}]", part
    elif type(value) is list or type(value) is tuple:
        for index, part in enumerate(value):
            yield f"{path}[{index}]", part
    elif type(value) is set or type(value) is frozenset:
        for part in list(value):
            yield f"an item of {path}", part


def _failure(part: object, encode: Callable[[object], object]) -> Exception | None:
    try:
        encode(part)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is the answer)
        return error
    return None


def _reason(error: Exception) -> str:
    """Return an error's text, after its class where the text may not stand alone."""
    text = str(error).rstrip(".")
    if type(error) in (TypeError, ValueError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _type_name(value: object) -> str:
    kind = type(value)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"

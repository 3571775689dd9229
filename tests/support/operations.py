"""Operations of a Cache by name, and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hypercache import Cache

Operations = dict[str, Callable[[], Any]]


def refold(cache: Cache) -> Iterator[None]:
    """Run the checks that follow twice: on the log, then on what a checkpoint made."""
    yield
    cache.checkpoint()
    yield


def key_operations(cache: Cache, key: Any) -> Operations:
    return {
        "set": lambda: cache.set(key, 1),
        "get": lambda: cache.get(key),
        "add": lambda: cache.add(key, 1),
        "replace": lambda: cache.replace(key, 1),
        "cas": lambda: cache.cas(key, 1, 2),
        "incr": lambda: cache.incr(key),
        "decr": lambda: cache.decr(key),
        "delete": lambda: cache.delete(key),
        "pop": lambda: cache.pop(key),
        "touch": lambda: cache.touch(key, 1),
        "ttl": lambda: cache.ttl(key),
        "get_or_set": lambda: cache.get_or_set(key, lambda: 1),
        "get_many": lambda: cache.get_many(["a", key]),
        "delete_many": lambda: cache.delete_many(["a", key]),
        "in": lambda: key in cache,
        "get item": lambda: cache[key],
        "set item": lambda: cache.__setitem__(key, 1),
        "delete item": lambda: cache.__delitem__(key),
    }


def wrong_answers(operations: Operations, error: type[Exception]) -> dict[str, Any]:
    """Return what each operation answered that did not raise exactly this error."""
    answers = {}
    for name, operation in operations.items():
        try:
            answers[name] = operation()
        except error:
            continue
        except Exception as other:  # noqa: BLE001  (shown by the caller, all of them)
            answers[name] = other
    return answers


def ttl_operations(cache: Cache, ttl: Any) -> Operations:
    return {
        "set": lambda: cache.set("key", 2, ttl=ttl),
        "set, by position": lambda: cache.set("key", 2, ttl),
        "add": lambda: cache.add("new", 2, ttl),
        "replace": lambda: cache.replace("key", 2, ttl),
        "cas": lambda: cache.cas("key", 1, 2, ttl),
        "incr": lambda: cache.incr("key", ttl=ttl),
        "decr": lambda: cache.decr("key", ttl=ttl),
        "touch": lambda: cache.touch("key", ttl),
        "set_many": lambda: cache.set_many({"key": 2, "new": 2}, ttl),
        "get_or_set": lambda: cache.get_or_set("new", lambda: 2, ttl),
    }

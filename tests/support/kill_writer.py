"""Write through one Cache from several threads until killed, telling every step.

`python -m tests.support.kill_writer PATH ROUND SEED THREADS OPTIONS [WITHOUT]` prints
lines of at most PIPE_BUF bytes, each with one write and so never torn. WITHOUT lists
kinds of ops to leave out.

    opening
    opened
    B thread op     the op is about to be called
    A thread result it has been acknowledged

An op is JSON, and `apply_to` says what it makes of a map: the parent uses the same.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from hypercache import Cache

KEY_COUNT = 14
COUNTER = "counter"
FAR = 10**6  # seconds, so that nothing expires while the test runs

# Key to (value, whether it has a ttl).
Contents = dict[str, tuple[Any, bool]]


def ops(
    thread: int, generation: int, rng: random.Random, without: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield ops on the keys of one thread, and on the counter that all share."""

    def key() -> str:
        # Some are stored as long keys, all with one prefix.
        number = rng.randrange(KEY_COUNT)
        return f"{thread}-{'x' * 600 * (number % 5 == 0)}{number:02d}"

    def put(stamp: int) -> dict[str, Any]:
        size = rng.choice([0, 20, 20, 200, 200, 2_000, 9_000])
        value = [generation, thread, stamp, size]
        return {"key": key(), "value": value, "ttl": rng.random() < 0.3}

    kinds = ["set"] * 6 + ["set_many"] * 3 + ["delete", "incr", "incr", "touch"]
    kinds += ["transaction"] * 2 + ["pop", "delete_many", "checkpoint", "sync"]
    kinds = [kind for kind in kinds if kind not in without]
    stamp = 0
    while True:
        stamp += 1
        kind = rng.choice(kinds)
        op: dict[str, Any] = {"kind": kind}
        if kind == "set":
            op["puts"] = [put(stamp)]
        elif kind == "set_many":
            puts = [put(stamp) for _ in range(rng.randint(2, 5))]
            op["puts"] = [{**item, "ttl": puts[0]["ttl"]} for item in puts]
        elif kind == "transaction":
            op["puts"] = [put(stamp) for _ in range(2)]
            op["deletes"] = [key()]
        elif kind == "delete_many":
            op["deletes"] = [key() for _ in range(3)]
        elif kind in ("delete", "pop", "touch"):
            op["key"] = key()
        yield op


def full_value(value: list[int]) -> list[Any]:
    """Return what is stored for the short form of a value in an op."""
    return [*value, "v" * value[-1]]


def apply_to(contents: Contents, op: dict[str, Any]) -> None:
    """Change a map as the op changes the cache."""
    kind = op["kind"]
    for put in op.get("puts", ()):
        contents[put["key"]] = full_value(put["value"]), put["ttl"]
    for name in op.get("deletes", ()):
        contents.pop(name, None)
    if kind in ("incr", "transaction"):
        count, _ = contents.get(COUNTER, (0, False))
        contents[COUNTER] = count + 1, False
    elif kind in ("delete", "pop"):
        contents.pop(op["key"], None)
    elif kind == "touch" and op["key"] in contents:
        contents[op["key"]] = contents[op["key"]][0], True


def perform(cache: Cache, op: dict[str, Any]) -> int | None:
    """Call the cache and return the count that an op on the counter gives."""
    if op["kind"] == "incr":
        return cache.incr(COUNTER)
    if op["kind"] == "transaction":
        with cache.transaction():
            for put in op["puts"]:
                cache.set(put["key"], full_value(put["value"]), _ttl(put))
            for name in op["deletes"]:
                cache.delete(name)
            return cache.incr(COUNTER)
    _perform_simple(cache, op)
    return None


def _perform_simple(cache: Cache, op: dict[str, Any]) -> None:
    match op["kind"]:
        case "set":
            put = op["puts"][0]
            cache.set(put["key"], full_value(put["value"]), _ttl(put))
        case "set_many":
            values = {put["key"]: full_value(put["value"]) for put in op["puts"]}
            cache.set_many(values, _ttl(op["puts"][0]))
        case "delete_many":
            cache.delete_many(op["deletes"])
        case "delete":
            cache.delete(op["key"])
        case "pop":
            cache.pop(op["key"])
        case "touch":
            cache.touch(op["key"], FAR)
        case "checkpoint":
            cache.checkpoint()
        case "sync":
            cache.sync()


def _ttl(put: dict[str, Any]) -> float | None:
    return FAR if put["ttl"] else None


def tell(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def work(
    cache: Cache, thread: int, generation: int, seed: int, without: Sequence[str]
) -> None:
    try:
        rng = random.Random(f"{seed}-{generation}-{thread}")
        for op in ops(thread, generation, rng, without):
            tell(f"B {thread} {json.dumps(op)}")
            result = perform(cache, op)
            tell(f"A {thread} {json.dumps(result)}")
    except BaseException:  # noqa: BLE001  (the parent is told)
        traceback.print_exc()
        os._exit(3)  # not by a kill: the parent fails


def main(
    path: str,
    generation: int,
    seed: int,
    threads: int,
    options: dict[str, Any],
    without: Sequence[str] = (),
) -> None:
    tell("opening")
    cache = Cache(path, **options)
    tell("opened")
    for thread in range(threads):
        arguments = (cache, thread, generation, seed, without)
        threading.Thread(target=work, args=arguments).start()
    while True:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], *map(json.loads, sys.argv[2:]))

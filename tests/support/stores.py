"""A store with known contents, in the checkpoint and in the log."""

from __future__ import annotations

from hypercache import Cache

CONTENTS = {f"k{n:02d}".encode(): [n, "v" * 50] for n in range(40)}


def fill(cache: Cache) -> None:
    for key, value in CONTENTS.items():
        cache.set(key, value)
        if key == b"k20":
            cache.checkpoint()
    cache.sync()


def assert_whole(cache: Cache) -> None:
    assert dict(cache.scan()) == CONTENTS
    assert cache.check().ok

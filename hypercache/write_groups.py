"""Make the calls of a group so that all of them share one sync.

Every call of a Cache makes one write of the engine, which is done or not done. So one
that fails takes nothing of the others with it, and none needs a transaction of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypercache.cache import Cache
from hypercache.errors import HyperCacheError, StorageFailedError
from hypercache.write_queue import Call


def run_group(cache: Cache[Any], group: Sequence[Call]) -> None:
    """Make all calls and set their results; acknowledged when it returns."""
    if len(group) == 1 or cache._whole.keeps_objects:
        for call in group:
            call.attempt()
    elif cache._whole.commits_together and not any(map(_looks_first, group)):
        _run_in_block(cache, group)
    else:
        _run_as_batch(cache, group)


def _run_in_block(cache: Cache[Any], group: Sequence[Call]) -> None:
    # No transaction: a batch of its own each costs half, and has its own LSN.
    try:
        with cache._whole.exclusive():
            for call in group:
                call.attempt()
    except Exception as error:  # noqa: BLE001 - raised where they are awaited
        _fail(group, error)


def _run_as_batch(cache: Cache[Any], group: Sequence[Call]) -> None:
    try:
        with cache.transaction():
            for call in group:
                call.attempt()
    except StorageFailedError as error:
        _fail(group, error)
    except HyperCacheError:
        # Too much for one batch, say: nothing was written, so each has its own try.
        for call in group:
            call.attempt()
    else:
        lsn = cache.stats().appended_lsn
        for call in group:
            call.result = lsn if call.gives_lsn else call.result


def _looks_first(call: Call) -> bool:
    return call.looks_first


def _fail(group: Sequence[Call], error: Exception) -> None:
    for call in group:
        call.error = call.error or error

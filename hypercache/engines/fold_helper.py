"""Fold sealed segments into LMDB, in a process of its own.

`python -m hypercache.engines.fold_helper STORE MARKER BATCH` does what the engine would
do itself, away from its GIL. STORE stays locked by the engine that started it, which
writes nothing to LMDB meanwhile; MARKER is JSON and names the segments.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import sys

from hypercache.engines import helper
from hypercache.engines.lmdb_store import LmdbStore
from hypercache.errors import CorruptionError
from hypercache.options import MIB
from hypercache.paths import StorePaths
from hypercache.storage import OsStorage
from hypercache.wal.checkpoint import Marker
from hypercache.wal.fold import fold


def maybe_fold(
    paths: StorePaths, uuid: bytes, marker: Marker, batch_count: int, lock_fd: int
) -> int | None:
    """Fold in a helper process and return the LSN reached, None if that failed.

    The helper shares the lock of the store: should this process die, nobody else opens
    the store before the helper has ended and can no longer write old values to LMDB.

    A helper that fails costs nothing but time: what it has folded is folded again by
    the next try, which the caller makes itself, to the same end or the same error.

    Raises:
        CorruptionError: a page of LMDB killed the helper; it would kill the caller.
    """
    fields = json.dumps(dataclasses.asdict(marker))
    arguments = (paths.root, uuid.hex(), fields, str(batch_count))
    done = helper.maybe_run(__name__, *arguments, inherit=(lock_fd,))
    if done is None:
        return None
    if done.met_a_bad_page:
        reason = f"a page killed the helper that folds (signal {done.signal})"
        raise CorruptionError(paths.lmdb_data, reason)
    if not done.ok or not done.result.isdigit():
        helper.log_failure("checkpoint", done)
        return None
    return int(done.result)


def main(root: str, uuid: str, fields: str, batch_count: str) -> None:
    """Fold what the marker names and print the LSN reached."""
    helper.end_with_parent()
    # Collecting over all ops of a log doubles the time, and there are no cycles.
    gc.disable()
    storage, paths = OsStorage(), StorePaths(root)
    marker = Marker(**json.loads(fields))
    store = LmdbStore(storage, paths.lmdb, MIB, create=False)
    try:
        steps = fold(
            storage, paths, bytes.fromhex(uuid), marker, store, int(batch_count)
        )
        sys.stdout.write(f"\n{helper.result_of(steps)}\n")
    finally:
        store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

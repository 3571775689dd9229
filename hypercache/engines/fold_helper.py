"""Fold sealed segments into LMDB, in a process of its own.

`python -m hypercache.engines.fold_helper STORE UUID EXTENT BATCH` does what the engine
would do itself, away from its GIL. It reads the segments of EXTENT (JSON) and waits for
an order, which is the extent to fold: the same, or with more segments. STORE stays
locked by the engine that started it, which writes nothing to LMDB after the order.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import subprocess
import sys

from hypercache.engines import helper
from hypercache.engines.lmdb_store import LmdbStore
from hypercache.errors import CorruptionError
from hypercache.log_reader import Extent
from hypercache.net_ops import NetOps
from hypercache.options import MIB
from hypercache.paths import StorePaths
from hypercache.storage import OsStorage
from hypercache.wal.fold import fold


class FoldHelper:
    """A helper that reads segments, to fold them when it is told to."""

    def __init__(self, process: subprocess.Popen[bytes], data_path: str) -> None:
        self._process, self._data_path = process, data_path

    def maybe_fold(self, extent: Extent) -> int | None:
        """Let it fold, and return the LSN reached, None if that failed.

        A helper that fails costs nothing but time: what it has folded is folded again
        by the next try, which the caller makes itself, to the same end or error.

        Raises:
            CorruptionError: a page of LMDB killed the helper; it would kill the caller.
        """
        done = helper.outcome_of(self._process, _fields(extent).encode() + b"\n")
        if done.met_a_bad_page:
            reason = f"a page killed the helper that folds (signal {done.signal})"
            raise CorruptionError(self._data_path, reason)
        if not done.ok or not done.result.isdigit():
            helper.log_failure("checkpoint", done)
            return None
        return int(done.result)

    def close(self) -> None:
        """End it, unless it has ended."""
        helper.end(self._process)


def maybe_start(
    paths: StorePaths, uuid: bytes, extent: Extent, batch_count: int, lock_fd: int
) -> FoldHelper | None:
    """Let a helper begin to read an extent; None where no process can start.

    The helper shares the lock of the store: should this process die, nobody else opens
    the store before the helper has ended and can no longer write old values to LMDB.
    """
    process = helper.maybe_start(
        __name__,
        *(paths.root, uuid.hex(), _fields(extent), str(batch_count)),
        inherit=(lock_fd,),
        stderr=subprocess.PIPE,
    )
    return None if process is None else FoldHelper(process, paths.lmdb_data)


def _fields(extent: Extent) -> str:
    return json.dumps(dataclasses.asdict(extent))


def main(root: str, uuid: str, fields: str, batch_count: str) -> None:
    """Read the extent, fold the one that is ordered, and print the LSN reached."""
    orders = helper.end_with_parent()
    # Collecting over all ops of a log doubles the time, and there are no cycles.
    gc.disable()
    storage, paths = OsStorage(), StorePaths(root)
    net = NetOps(storage, paths.wal_log, bytes.fromhex(uuid))
    helper.result_of(net.read(Extent(**json.loads(fields))))
    helper.result_of(net.sort(len(net.by_key)))
    extent = Extent(**json.loads(orders.get()))
    store = LmdbStore(storage, paths.lmdb, MIB, create=False)
    try:
        reached_lsn = helper.result_of(fold(net, extent, store, int(batch_count)))
    finally:
        store.close()
    sys.stdout.write(f"\n{reached_lsn}\n")
    sys.stdout.flush()
    # To free each op of a log takes as long as to sort them, and a writer may wait.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])

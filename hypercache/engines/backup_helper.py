"""Back a store up, in a process of its own, beside the engine that has it open.

`python -m hypercache.engines.backup_helper STORE ENGINE DESTINATION` opens STORE
read-only, so that neither the GIL nor a lock of its owner is held while it copies.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from hypercache import errors
from hypercache.engines import backup, helper, open_engine
from hypercache.engines.lmdb_store import LmdbStore
from hypercache.errors import CorruptionError, HyperCacheError, StorageError
from hypercache.log_reader import HeldLog
from hypercache.options import Options
from hypercache.paths import StorePaths
from hypercache.storage import Storage
from hypercache.wal.checkpoint import Marker


def maybe_back_up(
    storage: Storage, paths: StorePaths, engine: str, destination: str
) -> int | None:
    """Back up in a helper process; return the LSN, None where none can start.

    Raises:
        ConfigError, DiskFullError, StorageError, CorruptionError: there is no copy.
    """
    backup.refuse_destination(storage, paths, destination)
    done = helper.maybe_run(__name__, paths.root, engine, destination)
    if done is None:
        return None
    if done.ok and done.result.isdigit():
        return int(done.result)
    if done.result.startswith(b"{"):
        raise _error(json.loads(done.result))
    how = done.complaint or f"exit {done.exit_code}, signal {done.signal}"
    raise StorageError(f"the helper that copies {paths.root} has failed: {how}")


def back_up_shared(
    storage: Storage, paths: StorePaths, store: LmdbStore, destination: str
) -> int:
    """Back up a persistent store; return the LSN of the copy."""
    lsn = maybe_back_up(storage, paths, "persistent", destination)
    if lsn is not None:
        return lsn
    cut = backup.LmdbCut(Marker(), HeldLog({}), store.copy_to)
    return backup.back_up_lmdb(storage, paths, "persistent", cut, destination)


def _error(fields: dict[str, Any]) -> HyperCacheError:
    kind = getattr(errors, fields.pop("error"))
    if kind is CorruptionError:
        key = fields.pop("key")
        return CorruptionError(**fields, key=bytes.fromhex(key) if key else None)
    found: HyperCacheError = (
        kind(fields["message"])
        if issubclass(kind, StorageError | errors.ConfigError)
        else StorageError(fields["message"])
    )
    return found


def _fields(error: HyperCacheError) -> dict[str, Any]:
    if isinstance(error, CorruptionError):
        return {
            "error": "CorruptionError",
            "path": error.path,
            "reason": error.reason,
            "offset": error.offset,
            "lsn": error.lsn,
            "key": error.key.hex() if error.key else None,
        }
    return {"error": type(error).__name__, "message": str(error)}


def main(root: str, engine: str, destination: str) -> int:
    """Copy, and print the LSN of the copy, or what went wrong as JSON."""
    helper.end_with_parent()
    try:
        opened = open_engine(
            root, engine=engine, options=Options.resolve(engine=engine, read_only=True)
        )
        try:
            lsn = opened.backup(destination)
        finally:
            opened.close()
    except HyperCacheError as error:
        sys.stdout.write(f"\n{json.dumps(_fields(error))}\n")
        return 1
    sys.stdout.write(f"\n{lsn}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

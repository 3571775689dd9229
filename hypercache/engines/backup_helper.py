"""Back a store up, in a process of its own, beside the engine that has it open.

`python -m hypercache.engines.backup_helper STORE ENGINE DESTINATION LSN` reads STORE
without a lock, so that neither the GIL nor a lock of its owner is held while it copies.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

from hypercache import errors
from hypercache.engines import backup, helper, identity, memory_reader
from hypercache.engines.lmdb_reader import LmdbReader, PersistentReader
from hypercache.errors import CorruptionError, HyperCacheError, StorageError
from hypercache.options import Options
from hypercache.paths import StorePaths
from hypercache.storage import OsStorage, Storage

_READERS = {"hybrid": LmdbReader, "persistent": PersistentReader}


def back_up(
    storage: Storage,
    paths: StorePaths,
    engine: str,
    destination: str,
    acknowledged_lsn: int = 0,
) -> int:
    """Copy a store; return the LSN of the copy.

    Whoever has it open knows what the copy must hold at least: `acknowledged_lsn`.
    Where no process can start, the work is done in this one.

    Raises:
        ConfigError, DiskFullError, StorageError, CorruptionError: there is no copy.
    """
    backup.refuse_destination(storage, paths, destination)
    try:
        done = helper.maybe_run(
            __name__, paths.root, engine, destination, str(acknowledged_lsn)
        )
    except BaseException:  # Ctrl-C; the helper has ended by now
        backup.remove_left_behind(storage, destination)
        raise
    if done is None:
        place = storage, paths, engine, destination
        return back_up_here(*place, acknowledged_lsn)
    if done.ok and done.result.isdigit():
        return int(done.result)
    backup.remove_left_behind(storage, destination)
    if done.met_a_bad_page:
        reason = f"reading it kills the reader (signal {done.signal})"
        raise CorruptionError(paths.lmdb_data, reason)
    if done.result.startswith(b"{"):
        raise _error(json.loads(done.result))
    how = done.complaint or f"exit {done.exit_code}, signal {done.signal}"
    raise StorageError(f"the helper that copies {paths.root} has failed: {how}")


def back_up_here(
    storage: Storage,
    paths: StorePaths,
    engine: str,
    destination: str,
    acknowledged_lsn: int = 0,
) -> int:
    """Do the same in this process."""
    # Whoever has it open has accepted the file system that it lies on.
    options = Options.resolve(engine=engine, read_only=True, allow_network_fs=True)
    wanted = backup.Wanted(destination, acknowledged_lsn)
    if engine == "memory":
        found = identity.load_ready(storage, paths, options, engine)
        if found is None:
            raise CorruptionError(paths.store, "the file is missing")
        return memory_reader.back_up(storage, paths, found.uuid_bytes, wanted)
    reader = _READERS[engine](paths.root, options, storage=storage)
    with contextlib.closing(reader):
        return reader.copy(wanted)


def _error(fields: dict[str, Any]) -> HyperCacheError:
    kind = getattr(errors, fields.pop("error"), StorageError)
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


def main(root: str, engine: str, destination: str, acknowledged_lsn: str) -> int:
    """Copy, and print the LSN of the copy, or what went wrong as JSON."""
    helper.end_with_parent()
    try:
        place = OsStorage(), StorePaths(root), engine, destination
        lsn = back_up_here(*place, int(acknowledged_lsn))
    except HyperCacheError as error:
        sys.stdout.write(f"\n{json.dumps(_fields(error))}\n")
        return 1
    sys.stdout.write(f"\n{lsn}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

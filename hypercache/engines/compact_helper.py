"""Compact an append-only log, in a process of its own.

`python -m hypercache.engines.compact_helper STORE UUID MANIFEST` does what the engine
would do itself, away from its GIL. STORE stays locked by the engine that started it;
MANIFEST is JSON and names what is to be compacted.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import sys

from hypercache.aof import manifest as manifests
from hypercache.aof.compact import compact
from hypercache.aof.manifest import BaseFacts, Manifest
from hypercache.engines import helper
from hypercache.paths import StorePaths
from hypercache.storage import OsStorage


def maybe_compact(
    paths: StorePaths, uuid: bytes, manifest: Manifest, lock_fd: int
) -> BaseFacts | None:
    """Compact in a helper process and return the new base, None if that failed.

    The helper shares the lock of the store: should this process die, nobody else opens
    the store, and cleans up what it finds, before the helper has ended.

    A helper that fails costs nothing but time: the next try, which the caller makes
    itself, comes to the same end or the same error.
    """
    fields = json.dumps(dataclasses.asdict(manifest))
    done = helper.maybe_run(
        __name__, paths.root, uuid.hex(), fields, inherit=(lock_fd,)
    )
    if done is None:
        return None
    try:
        if done.ok:
            return BaseFacts(**json.loads(done.result))
    except (ValueError, TypeError):
        pass  # somebody else has printed the last line
    helper.log_failure("compaction", done)
    return None


def main(root: str, uuid: str, fields: str) -> None:
    """Compact what the manifest names and print the facts of the new base."""
    helper.end_with_parent()
    # Collecting over all ops of a log doubles the time, and there are no cycles.
    gc.disable()
    manifest = manifests.from_fields(json.loads(fields), fields)
    steps = compact(OsStorage(), StorePaths(root), bytes.fromhex(uuid), manifest)
    facts = dataclasses.asdict(helper.result_of(steps))
    sys.stdout.write(f"\n{json.dumps(facts)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

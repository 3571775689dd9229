"""Walk every page of an LMDB store, in a process of its own.

A damaged page can kill whoever reads it (SIGBUS, SIGSEGV). So the walk runs as
`python -m hypercache.engines.lmdb_walk DIR`, and what kills it becomes a finding.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator

from hypercache.engines import envelope, helper
from hypercache.engines.base import Problem
from hypercache.engines.envelope import DIGEST_MASK
from hypercache.engines.lmdb_batch import StoreState
from hypercache.engines.lmdb_store import LmdbStore, Walked
from hypercache.errors import CorruptionError, HyperCacheError, StorageError
from hypercache.options import MIB
from hypercache.paths import LMDB_DATA
from hypercache.storage import OsStorage

MAX_PROBLEMS = 100
SHARED = "shared"


Finding = tuple[str, int | None, bytes | None]


def verify(path: str, opened: LmdbStore | None = None) -> list[Problem]:
    """Return what is wrong with the store in `path`; nothing may write meanwhile.

    Where no helper process can start, the walk goes through `opened`, the store that
    this process has open already, because LMDB allows only one.

    Raises:
        StorageError: the helper process came to no verdict.
    """
    found = maybe_verify(path)
    if found is None:
        found = verify_here(path, opened)
    return found


def verify_here(path: str, opened: LmdbStore | None = None) -> list[Problem]:
    """Return what is wrong with the store in `path`, read in this process."""
    found = _all_of(opened) if opened else walk(path, whole_file=True)
    data_path = f"{path}/{LMDB_DATA}"
    return [Problem(data_path, reason, None, lsn, key) for reason, lsn, key in found]


def maybe_verify(path: str, *, shared: bool = False) -> list[Problem] | None:
    """Return what a helper process finds wrong; None where none can start.

    `shared`: this and other processes may write meanwhile.
    """
    data_path = f"{path}/{LMDB_DATA}"
    done = helper.maybe_run(__name__, path, *([SHARED] if shared else []))
    if done is None:
        return None
    if done.met_a_bad_page:
        reason = f"reading its pages kills the reader (signal {done.signal})"
        return [Problem(data_path, reason)]
    verdict = done.result if done.ok else b""
    if not verdict.startswith(b"["):
        how = done.complaint or f"exit {done.exit_code}, signal {done.signal}"
        raise StorageError(f"the helper that reads {path} came to no verdict: {how}")
    return [
        Problem(data_path, reason, lsn=lsn, key=bytes.fromhex(key) if key else None)
        for reason, lsn, key in json.loads(verdict)
    ]


def walk(
    path: str, *, whole_file: bool = False, shared: bool = False
) -> Iterator[Finding]:
    """Yield reason, LSN and key of everything that is wrong, in this process.

    Without a helper process only `whole_file` stands between a cut file and SIGBUS.
    """
    try:
        store = LmdbStore(
            OsStorage(),
            path,
            MIB,
            create=False,
            read_only=True,
            shared=shared,
            whole_file=whole_file,
        )
        with contextlib.closing(store):
            yield from _walk(store) if shared else _all_of(store)
    except CorruptionError as error:
        yield error.reason, error.lsn, error.key


def _all_of(store: LmdbStore) -> Iterator[Finding]:
    """Yield what `_walk` does where the pages do not forbid to go through them."""
    pages = store.page_problems()
    yield from ((reason, None, None) for reason in pages)
    if not pages:
        yield from _walk(store)


def _walk(store: LmdbStore) -> Iterator[Finding]:
    with store.snapshot() as (state, entries):
        yield from _compare(state, entries)


def _compare(state: StoreState, entries: Iterator[Walked]) -> Iterator[Finding]:
    count = digest = expiring = size = 0
    previous = b""
    for key, data, looked_up in entries:
        entry = envelope.unwrap(key, data)
        lsn = entry.lsn if entry else None
        if entry is None or envelope.stored_key(entry.key) != key:
            yield "the stored value does not match its checksum", lsn, key
        if looked_up != data:
            yield "a scan shows the key, a look-up does not find it", lsn, key
        if key <= previous:
            yield "the keys are out of order", lsn, key
        previous = key
        summary = envelope.summarize(data)
        count, digest = count + 1, digest + summary.digest
        expiring, size = expiring + summary.expires, size + len(key) + len(data)
    found = (count, digest & DIGEST_MASK, expiring, size)
    if found != state[1:5]:
        yield f"it holds {count} entries where {state.entry_count} belong", None, None


def main(path: str, *modes: str) -> int:
    """Print the findings as JSON, at most MAX_PROBLEMS of them."""
    helper.end_with_parent()
    findings = []
    for reason, lsn, key in walk(path, shared=SHARED in modes):
        findings.append((reason, lsn, key.hex() if key else None))
        if len(findings) == MAX_PROBLEMS:
            break
    sys.stdout.write(f"\n{json.dumps(findings)}\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except HyperCacheError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)

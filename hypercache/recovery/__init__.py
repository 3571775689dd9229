"""Examine a damaged store, and write a repaired one into a new directory.

What is promised, the verdicts and the fields of the reports are specified in
docs/recovery.md. The input is never changed, not even by a lock file.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

from hypercache.engines import backup
from hypercache.errors import StorageError
from hypercache.paths import StorePaths
from hypercache.recovery import advice, output, quarantine, sources
from hypercache.recovery.bad_sectors import BadSectors
from hypercache.recovery.entries import Entries
from hypercache.recovery.findings import (
    Examination,
    Finding,
    Loss,
    LossReport,
    Verdict,
    verdict_of,
)
from hypercache.recovery.strays import Snapshot, snapshot
from hypercache.storage import Storage

__all__ = [
    "Examination",
    "Finding",
    "Loss",
    "LossReport",
    "Verdict",
    "examine",
    "length_bytes",
    "salvage",
]

Tell = Callable[[int], object]


def examine(
    storage: Storage, directory: str, *, tell: Tell = int, keep_tail: bool = False
) -> Examination:
    """Read a whole store and say what is wrong with it; nothing is changed.

    `tell` is given offsets, as far as a file was read.

    Raises:
        ConfigError: there is no store.
        StoreLockedError: somebody has it open.
        StorageError, UnsupportedFormatError: it cannot be read.
    """
    paths = StorePaths(os.path.abspath(directory))
    before = snapshot(storage, paths.root)
    sectors = BadSectors()
    readable = sectors.over(storage)
    source = sources.load(readable, paths.root, tell, keep_tail=keep_tail)
    bad: list[Finding] = []
    for _ in source.items(tell, bad):
        pass
    bad += sectors.findings(paths.root)
    findings = (*source.findings, *bad, *advice.second_opinion(source, bad))
    _refuse_changed(storage, paths, before)
    return Examination(
        directory=paths.root,
        engine=source.identity.engine,
        verdict=verdict_of(findings),
        findings=findings,
        lsn=source.next_lsn - 1,
        next=advice.next_step(directory, findings),
    )


def salvage(
    storage: Storage,
    directory: str,
    destination: str,
    *,
    tell: Tell = int,
    keep_tail: bool = False,
) -> LossReport:
    """Write what can be read of a store into a new one; say what is lost.

    The destination is complete and on the medium on return, and as it was after an
    error. With `keep_tail` frames behind the hole of a torn tail count, too.

    Raises:
        ConfigError: there is no store, or the destination is not new.
        StoreLockedError: somebody has the store open.
        StorageError, UnsupportedFormatError: it cannot be read, or not be written.
    """
    paths = StorePaths(os.path.abspath(directory))
    target = os.path.abspath(destination)
    backup.refuse_destination(storage, paths, target)
    before = snapshot(storage, paths.root)
    sectors = BadSectors()
    readable = sectors.over(storage)
    source = sources.load(readable, paths.root, tell, keep_tail=keep_tail)
    bad: list[Finding] = []
    entries = Entries(source.items(tell, bad))
    unreadable = sectors.findings(paths.root)
    findings = (*source.findings, *bad, *unreadable)
    report = LossReport(
        directory=paths.root,
        engine=source.identity.engine,
        verdict=verdict_of(findings),
        findings=findings,
        lsn=max(source.next_lsn - 1, entries.lsn),
        next=advice.after_salvage(destination, findings),
        entry_count=len(entries),
        output=target,
    )
    fields = dataclasses.asdict(source.identity)
    with backup.new_store(storage, paths, target, fields) as copy:
        found = entries.among(source.items(tell, []))
        place = storage, copy, source.identity.engine
        output.write(*place, source.identity.uuid_bytes, found, report.lsn)
        output.verify(*place, report.lsn)
        quarantine.keep(readable, paths, copy, report)
        _refuse_changed(storage, paths, before)
        if sectors.findings(paths.root) != unreadable:
            raise StorageError(
                f"more of {paths.root} became unreadable while it was read: copy the "
                "directory to another disk as far as that goes, then recover the copy"
            )
    return report


def length_bytes(storage: Storage, directory: str) -> int:
    """Return how many bytes the files of a store have, to show how far a call is."""
    return sum(size for _, size, _ in snapshot(storage, directory))


def _refuse_changed(storage: Storage, paths: StorePaths, before: Snapshot) -> None:
    sources.refuse_open(storage, paths)
    if snapshot(storage, paths.root) != before:
        raise StorageError(
            f"{paths.root} was changed while it was read; close whatever works "
            "on it, then try again"
        )

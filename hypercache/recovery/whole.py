"""Examine, or repair a copy of, a store with all its namespaces."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from functools import partial

from hypercache import recovery
from hypercache.engines import backup, namespaces
from hypercache.paths import StorePaths
from hypercache.recovery import advice
from hypercache.recovery.findings import Examination, LossReport, Need, worst_need
from hypercache.storage import Storage

# By name; that of the store itself is None, and comes first.
Examinations = dict[str | None, Examination]
Tell = Callable[[int], object]


def examine(
    storage: Storage, directory: str, *, tell: Tell = int, keep_tail: bool = False
) -> Examinations:
    """Examine a store, then each namespace in it; see `recovery.examine`."""
    paths = StorePaths(os.path.abspath(directory))
    look = partial(recovery.examine, storage, tell=tell, keep_tail=keep_tail)
    found: Examinations = {None: look(directory)}
    for name in namespaces.names(storage, paths):
        examined = look(paths.namespace(name).root)
        if worst_need(examined.findings) is Need.RECOVERY:
            # All of the store is repaired at once.
            following = advice.next_step(directory, examined.findings)
            examined = dataclasses.replace(examined, next=following)
        found[name] = examined
    return found


def salvage(
    storage: Storage,
    directory: str,
    destination: str,
    *,
    tell: Tell = int,
    keep_tail: bool = False,
) -> Examinations:
    """Repair copies of a store and of all its namespaces; see `recovery.salvage`.

    The destination is complete on return, and as it was after an error.
    """
    paths, target = StorePaths(os.path.abspath(directory)), os.path.abspath(destination)
    repair = partial(recovery.salvage, storage, tell=tell, keep_tail=keep_tail)
    names = namespaces.names(storage, paths)
    if not names:
        return {None: repair(directory, destination)}
    with backup.staged(storage, paths, target) as root:
        copy = StorePaths(root)
        found: Examinations = {None: _named(repair(directory, root), destination)}
        for name in names:
            report = repair(paths.namespace(name).root, copy.namespace(name).root)
            final = StorePaths(destination.rstrip("/") or "/").namespace(name).root
            found[name] = _named(report, final)
    return found


def length_bytes(storage: Storage, directory: str) -> int:
    """Return how many bytes the files of all of them have."""
    paths = StorePaths(os.path.abspath(directory))
    names = namespaces.names(storage, paths)
    inner = [paths.namespace(name).root for name in names]
    return sum(recovery.length_bytes(storage, each) for each in (directory, *inner))


def _named(report: LossReport, destination: str) -> LossReport:
    """Return a report with the name that the copy gets at the end."""
    return dataclasses.replace(
        report,
        output=os.path.abspath(destination),
        next=advice.after_salvage(destination, report.findings),
    )

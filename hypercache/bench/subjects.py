"""All that can be measured, and which of it is installed."""

from __future__ import annotations

from hypercache.bench import in_ram, on_disk, ours, raw_log, redis_server
from hypercache.bench.stores import Durability, Subject

SUBJECTS = (
    *ours.SUBJECTS,
    *in_ram.SUBJECTS,
    *on_disk.SUBJECTS,
    *redis_server.SUBJECTS,
)
OURS = frozenset(subject.name for subject in ours.SUBJECTS)
FLOOR = raw_log.SUBJECT  # it stores nothing that could be read
BY_NAME = {subject.name: subject for subject in (*SUBJECTS, FLOOR)}


def present(*durability: Durability, bulk: bool = False) -> list[Subject]:
    """Return the installed subjects of these kinds; with `bulk` the quick ones."""
    return [
        subject
        for subject in SUBJECTS
        if subject.durability in durability
        and (subject.bulk or not bulk)
        and not subject.missing()
    ]


def skipped() -> dict[str, str]:
    """Return the subjects that cannot run, each with the reason."""
    missing = ((subject.name, subject.missing()) for subject in SUBJECTS)
    return {name: reason for name, reason in missing if reason}

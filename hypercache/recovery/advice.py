"""Say what to do next, and ask LMDB itself what it thinks of its file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hypercache.engines import lmdb_walk
from hypercache.recovery.findings import (
    Finding,
    Kind,
    Loss,
    LostKey,
    Need,
    worst_loss,
    worst_need,
)
from hypercache.recovery.sources import Source


def next_step(directory: str, findings: Sequence[Finding]) -> str:
    """Return the command to type next, or what to do."""
    needed = worst_need(list(findings))
    if needed is Need.NOTHING:
        return "open it: nothing is needed"
    if needed is Need.OPEN:
        return "open it: the next open for writing puts it right"
    quoted = shlex.quote(directory)
    stem = directory.rstrip("/") or directory
    return f"hypercache-recover {quoted} --output {shlex.quote(f'{stem}.recovered')}"


def after_salvage(output: str, findings: Sequence[Finding]) -> str:
    """Return the command to type once a repaired store is there."""
    if worst_loss(list(findings)) is Loss.NONE:
        return f"hypercache check {shlex.quote(output)}"
    report = f"{output.rstrip('/')}/quarantine/report.json"
    return f"read {shlex.quote(report)}, then `hypercache check {shlex.quote(output)}`"


def second_opinion(source: Source, bad: Sequence[Finding]) -> list[Finding]:
    """Let a helper process walk LMDB's pages with LMDB's own code.

    It says nothing that the walk before has said already.
    """
    if source.identity.engine == "memory":
        return []
    if any(each.file.startswith("lmdb/") for each in (*source.findings, *bad)):
        return []
    problems = lmdb_walk.maybe_verify(source.paths.lmdb) or []
    return [
        Finding(
            Kind.PAGE,
            "lmdb/data.mdb",
            f"LMDB itself: {each.reason}",
            keys=(LostKey(each.key, each.lsn, Loss.NONE),) if each.key else (),
        )
        for each in problems
    ]

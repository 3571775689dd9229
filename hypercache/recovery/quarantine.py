"""Keep the bytes that could not be used, and the loss report."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
from typing import Any

from hypercache.paths import StorePaths
from hypercache.recovery.findings import Finding, LossReport
from hypercache.storage import Storage

REPORT = "report.json"
_PIECE_BYTES = 1 << 20


def keep(
    storage: Storage, paths: StorePaths, copy: StorePaths, report: LossReport
) -> None:
    """Write the quarantine folder of a new store; who gives that its name syncs it."""
    storage.make_directory(copy.quarantine)
    written: set[str] = set()
    for finding in report.findings:
        name = finding.quarantine
        if name is not None and name not in written:
            written.add(name)
            _copy(storage, f"{paths.root}/{finding.file}", finding, copy, name)
    path = f"{copy.quarantine}/{REPORT}"
    text = json.dumps(fields_of(report, full=False), indent=1) + "\n"
    with contextlib.closing(storage.create(path, mapped=False)) as file:
        file.write_at(0, text.encode())


def fields_of(report: Any, *, full: bool = True) -> dict[str, Any]:
    """Return a report as one JSON object; without `full` no path of a machine."""
    fields: dict[str, Any] = {
        "engine": report.engine,
        "verdict": str(report.verdict),
        "loss": str(report.loss),
        "lsn": report.lsn,
        "entry_count": report.entry_count,
        "findings": [_finding_fields(each) for each in report.findings],
    }
    if full:
        fields = {"directory": report.directory, **fields, "next": report.next}
        fields["output"] = getattr(report, "output", None)
    return fields


def _finding_fields(finding: Finding) -> dict[str, Any]:
    fields = dataclasses.asdict(finding)
    del fields["kept"]
    fields["quarantine"] = finding.quarantine
    fields["keys"] = [
        {**_key_fields(each.key), "lsn": each.lsn, "loss": str(each.loss)}
        for each in finding.keys
    ]
    return fields


def _key_fields(key: bytes) -> dict[str, str]:
    try:
        return {"key": key.decode()}
    except UnicodeDecodeError:
        return {"key_base64": base64.b64encode(key).decode()}


def _copy(
    storage: Storage, path: str, finding: Finding, copy: StorePaths, name: str
) -> None:
    """Copy damaged bytes; where they are zero, the copy has holes."""
    assert finding.offset is not None
    target = f"{copy.quarantine}/{name}"
    end = finding.offset + finding.length_bytes
    with (
        storage.open_read(path) as source,
        contextlib.closing(storage.create(target, mapped=False)) as file,
    ):
        for start in range(finding.offset, end, _PIECE_BYTES):
            piece = source.read_at(start, min(_PIECE_BYTES, end - start))
            if piece.strip(b"\0"):
                file.write_at(start - finding.offset, piece)
        file.truncate(finding.length_bytes)

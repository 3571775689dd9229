"""What is found in a log as text, and as the fields of JSON objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from hypercache.cli.printing import key_text
from hypercache.inspection.layout import Kind, LogFile, Problem
from hypercache.inspection.listing import Line
from hypercache.inspection.report import FileReport, Range, Report, where
from hypercache.log_reader import TornTail

HELP = """Show what is in a log, and whether it is whole.

Prints a summary, or with --frames or a filter the ops one by one. Nothing is changed
or locked: it works while the store is open, on a read-only disk and on a damaged log.
DIR is the directory of the store, or that of the log in it."""

EPILOG = """Exit codes: 0 clean; 1 a torn tail, which the next open repairs without
loss of what was acknowledged as synced; 2 wrong usage, there is no such log; 3 damaged;
4 cannot be read."""

_NAMES = {Kind.WAL: "write-ahead log", Kind.AOF: "append-only log"}
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_KEY_LETTERS = 100  # of a key, as far as a line for people shows it
_LAST_MS = 253_402_300_799_999  # the year 9999 ends
_COLUMNS = "{:>14} {:>12} {:7} {:>11} {:>11} {:>11}  {:24}  {}"
_FILES = "  {:28} {:14} {:>26} {:>12} {:>12} {:>12}  {}"

HEADING = _COLUMNS.format(
    "offset", "LSN", "op", "value bytes", "op bytes", "frame bytes", "expires", "key"
)


def report_fields(report: Report) -> dict[str, Any]:
    """Return a summary as one JSON object."""
    fields = dataclasses.asdict(report)
    fields["biggest_keys"] = [big._asdict() for big in report.biggest_keys]
    return fields


def report_lines(report: Report) -> Iterator[str]:
    """Return a summary for people."""
    yield f"{_NAMES[report.kind]} {report.directory}"
    yield f"verdict: {report.verdict}"
    yield ""
    yield _FILES.format(
        "file", "role", "bytes", "frames", "first LSN", "last LSN", "sealed"
    )
    yield from map(_file_line, report.files)
    yield ""
    yield from (f"  {name:14} {value}" for name, value in _facts(report))
    if report.biggest_keys:
        yield ""
        yield "  biggest keys"
        for big in report.biggest_keys:
            yield f"  {size_text(big.value_bytes):>26}  {_short(big.key)}"
    for title, lines in (
        ("problems", [where(problem) for problem in report.problems]),
        ("notes", report.notes),
    ):
        if lines:
            yield ""
            yield f"  {title}"
            yield from (f"  {line}" for line in lines)


def item_line(item: LogFile | Line | Problem | TornTail) -> str:
    """Return one item of a listing for people."""
    match item:
        case LogFile():
            return f"{item.path} ({item.role})\n{HEADING}"
        case Problem():
            return f"{'!':>14} {where(item)} ({size_text(item.length_bytes)})"
        case TornTail():
            return f"{item.offset:>14} {item.lsn:>12} torn tail: {item.reason}"
    value_bytes = "-" if item.value_bytes is None else item.value_bytes
    return _COLUMNS.format(
        item.offset,
        item.lsn,
        item.op,
        value_bytes,
        item.stored_bytes,
        item.frame_bytes,
        _expiry(item.expires_at_ms),
        "-" if item.key is None else _short(item.key),
    )


def item_fields(item: LogFile | Line | Problem | TornTail) -> dict[str, Any] | None:
    """Return one item of a listing as a JSON object, None for one without its own."""
    match item:
        case LogFile():
            return None
        case Problem():
            return {"problem": item.reason, **dataclasses.asdict(item)}
        case TornTail():
            return {"torn_tail": item.reason, **dataclasses.asdict(item)}
    return {**item._asdict(), "file": item.file.name}


def size_text(count: int) -> str:
    """Return a size exactly, and in a unit that is easy to read."""
    size, unit = float(count), ""
    for unit_above in _UNITS:
        if size < 1024:
            break
        size, unit = size / 1024, unit_above
    return f"{count:,} ({size:.1f} {unit})" if unit else f"{count:,}"


def time_text(time_ms: int) -> str:
    """Return a time in UTC, or the number itself where a calendar ends."""
    if not 0 <= time_ms <= _LAST_MS:
        return f"{time_ms} ms"
    moment = datetime.fromtimestamp(time_ms // 1000, UTC).replace(tzinfo=None)
    return f"{moment.isoformat()}.{time_ms % 1000:03}Z"


def _file_line(file: FileReport) -> str:
    sealed = "yes" if file.is_sealed else "no"
    return _FILES.format(
        file.name,
        file.role,
        size_text(file.size_bytes),
        file.frame_count if file.is_read else "-",
        "-" if file.first_lsn is None else file.first_lsn,
        "-" if file.last_lsn is None else file.last_lsn,
        sealed if file.is_read else "not read",
    ).rstrip()


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    yield "frames", f"{report.frame_count:,}"
    counts = report.op_counts.items()
    yield "ops", ", ".join(f"{name} {count:,}" for name, count in counts)
    for name, count in dataclasses.asdict(report.bytes).items():
        yield f"{name} bytes", "not known" if count is None else size_text(count)
    yield "LSNs", _range(report.lsns, str)
    if report.floor_lsn is not None:
        keeper = "LMDB" if report.kind is Kind.WAL else "the base"
        yield f"in {keeper}", f"up to LSN {report.floor_lsn}"
    yield "files written", _range(report.written_ms, time_text)
    yield "expiries", _range(report.expires_ms, time_text)


def _range(found: Range, text: Any) -> str:
    if found.first is None or found.last is None:
        return "none"
    if found.first == found.last:
        return str(text(found.first))
    return f"{text(found.first)} to {text(found.last)}"


def _expiry(expires_at_ms: int | None) -> str:
    if expires_at_ms is None:
        return "-"
    return time_text(expires_at_ms) if expires_at_ms else "never"


def _short(key: bytes) -> str:
    text = key_text(key)
    return text if len(text) <= _KEY_LETTERS else f"{text[:_KEY_LETTERS]}..."

"""Names every way in which a file of a small store is damaged, and does it.

A damage is a word such as `flip@17`, so that a failing one can be typed again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from damage_sweep_stores import Answers, Files, Store

Changes = dict[str, bytes | None]

BYTES = ("flip", "zero", "ones")
PAGES = ("page-of-zeros", "page-of-ones", "page-of-noise", "page-inverted")
PAGE_BYTES = 4096
TAILS = (1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 33, 63, 64, 100, 128, 255, 256, 511, 512)
TAILS += (513, 1000, 1024, 2048, 4095, 4096, 4097, 8192)
ENDS = ("zeros-behind", "garbage-behind", "double")
WHOLE = ("missing", "empty", "older", "foreign")
LOCKS = ("LOCK", "WRITER", "TURN")
LMDB_FILE, LOCK_TABLE = "lmdb/data.mdb", "lmdb/lock.mdb"
# LMDB's table of readers is an array of equal slots: its head and the first ones.
LOCK_TABLE_BYTES = 1024


def of_bytes(store: Store, path: str) -> Iterator[str]:
    """Yield every other value of every byte that is tried, and every truncation."""
    data = store.files[path]
    count = LOCK_TABLE_BYTES if path == LOCK_TABLE else len(data)
    for at in range(count):
        for kind in BYTES:
            if _byte(kind, at, data[at]) != data[at]:
                yield f"{kind}@{at}"
    yield from (f"cut@{at}" for at in range(count))


def of_files(store: Store, path: str) -> Iterator[str]:
    """Yield what else may become of a file."""
    size = len(store.files[path])
    yield from (f"zeros@{size - n}" for n in TAILS if n <= size)
    yield from (f"{kind}@{n}" for kind in ENDS for n in TAILS if n <= size)
    yield from WHOLE
    for other in store.files:
        if other != path and other not in LOCKS:
            yield f"swap@{other}"
            yield f"copy-of@{other}"
    yield from (f"as@{name}" for name in _other_names(path))
    yield from (f"also-as@{name}" for name in _other_names(path))


def changes(store: Store, path: str, damage: str) -> Changes:
    """Return what the damage makes of which files; None is a file that is gone."""
    kind, _, where = damage.partition("@")
    data = store.files[path]
    match kind:
        case "missing":
            return {path: None}
        case "empty":
            return {path: b""}
        case "older":
            return {path: store.older.get(path)}
        case "foreign":
            return {path: store.foreign.get(path)}
        case "swap":
            return {path: store.files[where], where: data}
        case "copy-of":
            return {path: store.files[where]}
        case "as":
            return {path: None, where: data}
        case "also-as":
            return {where: data}
    damaged = _with_page if kind in PAGES else _damaged
    return {path: damaged(data, kind, int(where))}


def legal_answers(store: Store, path: str, damage: str) -> Answers | None:
    """Return the one other answer that is right, if there is one.

    After a kill nothing tells damage to the last group of the log from a torn write of
    it. Whatever cuts the log short takes that group away, too, and with it the proof
    that there was something before.
    """
    if path != store.active:
        return None
    first = _first_changed(store, path, damage)
    last = max(frame.synced_lsn for frame in store.frames())
    lsn = store.frames()[0].lsn - 1
    for frame in store.frames():
        if frame.end > first:
            group = frame.lsn > last
            return store.history[lsn] if group or _to_the_end(damage) else None
        lsn = frame.lsn + frame.op_count - 1
    return None


def _first_changed(store: Store, path: str, damage: str) -> int:
    before, after = store.files[path], changes(store, path, damage)[path] or b""
    pairs = enumerate(zip(before, after, strict=False))
    shorter = min(len(before), len(after))
    return next((at for at, (old, new) in pairs if old != new), shorter)


def _to_the_end(damage: str) -> bool:
    return damage.partition("@")[0] in ("cut", "zeros")


def _byte(kind: str, at: int, byte: int) -> int:
    if kind == "flip":
        return byte ^ 1 << at % 8
    return 0 if kind == "zero" else 0xFF


def _damaged(data: bytes, kind: str, number: int) -> bytes:
    if kind in BYTES:
        return (
            data[:number]
            + bytes([_byte(kind, number, data[number])])
            + data[number + 1 :]
        )
    tails = {
        "cut": lambda: data[:number],
        "zeros": lambda: data[:number] + bytes(len(data) - number),
        "zeros-behind": lambda: data + bytes(number),
        "garbage-behind": lambda: data + random.Random(number).randbytes(number),
        "double": lambda: data + data[len(data) - number :],
    }
    return tails[kind]()


def _with_page(data: bytes, kind: str, number: int) -> bytes:
    start, end = number * PAGE_BYTES, (number + 1) * PAGE_BYTES
    page = {
        "page-of-zeros": bytes(PAGE_BYTES),
        "page-of-ones": b"\xff" * PAGE_BYTES,
        "page-of-noise": random.Random(number).randbytes(PAGE_BYTES),
        "page-inverted": bytes(byte ^ 0xFF for byte in data[start:end]),
    }[kind]
    return data[:start] + page + data[end:]


def _other_names(path: str) -> Iterator[str]:
    """Yield names that a file might get by mistake, some with a meaning."""
    folder, _, name = path.rpartition("/")
    folder += "/" if folder else ""
    yield f"{folder}{name}.bak"
    yield f"{folder}{name}.tmp"
    yield "notes.txt"
    stem, _, suffix = name.rpartition(".")
    if not stem:
        return
    prefix, _, digits = stem.rpartition("-")
    if digits.isdigit():
        for step in (-1, 1, 2, 5):
            number = int(digits) + step
            yield f"{folder}{prefix}{'-' * bool(prefix)}{number:016d}.{suffix}"
    elif name == "data.mdb":
        yield f"{folder}other.mdb"


def everything(store: Store, path: str) -> Iterator[str]:
    """Yield every damage of a file."""
    yield from of_bytes(store, path)
    yield from of_files(store, path)


def damaged_files(store: Store, path: str, damage: str) -> Files:
    """Return the files of the store after the damage."""
    found: Files = dict(store.files)
    for name, data in changes(store, path, damage).items():
        found.pop(name, None)
        if data is not None:
            found[name] = data
    return found

"""Look at and damage the bytes of a directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


def snapshot(path: Path) -> dict[str, bytes | str]:
    """Return everything below a path, of whatever kind it is; {} where nothing is."""
    if path.is_symlink():
        return {".": f"link to {path.readlink()}"}
    if path.is_file():
        return {".": path.read_bytes()}
    if not path.exists():
        return {}
    found: dict[str, bytes | str] = {".": "directory"}
    for item in sorted(path.rglob("*")):
        name = str(item.relative_to(path))
        found[name] = item.read_bytes() if item.is_file() else "directory"
        if item.name == "lock.mdb":  # LMDB's table of readers: no data, like a lock
            found[name] = f"{item.stat().st_size} bytes"
    return found


def difference(before: dict[str, bytes | str], after: dict[str, bytes | str]) -> str:
    """Say what became of which file between two snapshots, "" if nothing did."""
    names = sorted(before.keys() | after.keys())
    return ", ".join(
        f"{name}: {_size(before.get(name))} -> {_size(after.get(name))}"
        for name in names
        if before.get(name) != after.get(name)
    )


@contextlib.contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Fail when the block changes a byte, adds a file or takes one away."""
    before = snapshot(path)
    yield
    changes = difference(before, snapshot(path))
    assert not changes, f"{path} was changed: {changes}"


def flip(path: Path, offset: int, mask: int = 0xFF) -> None:
    """Flip bits of one byte in place; a second call undoes it."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))


@contextlib.contextmanager
def flipped(places: list[tuple[Path, int]]) -> Iterator[None]:
    """Flip a bit at each place while the block runs."""
    for path, offset in places:
        flip(path, offset, 1)
    try:
        yield
    finally:
        for path, offset in places:
            flip(path, offset, 1)


def cut(path: Path, length: int) -> None:
    """Shorten a file."""
    with path.open("r+b") as file:
        file.truncate(length)


def find_bytes(directory: Path, data: bytes) -> list[tuple[Path, int]]:
    """Return every file and offset below a directory where the bytes stand."""
    found = []
    for path in sorted(directory.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        at = content.find(data)
        while at >= 0:
            found.append((path, at))
            at = content.find(data, at + 1)
    return found


def _size(content: bytes | str | None) -> str:
    if content is None:
        return "absent"
    return content if isinstance(content, str) else f"{len(content)} bytes"

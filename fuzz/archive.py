"""A store directory as an input: its files one after the other, and back."""

from __future__ import annotations

from collections.abc import Sequence

from fuzz.feed import Feed, block
from hypercache.testing.simulated_disk import Image

ROOT = "/store"


def pack(image: Image, names: Sequence[str]) -> bytes:
    """Return the files of a store, each as the number of its name and its content."""
    found = b""
    for number, name in enumerate(names):
        content = image.get(f"{ROOT}/{name}")
        if content is not None:
            found += bytes([number]) + block(content)
    return found


def unpack(feed: Feed, names: Sequence[str]) -> dict[str, bytes]:
    """Return the files that an input describes, by name."""
    files = {}
    while feed.more:
        name = feed.pick(names)  # not on the left below: that is evaluated last
        files[name] = feed.block()
    return files


def image_of(files: dict[str, bytes], log: str) -> Image:
    """Return a disk on which there are these files, and the directory of the log."""
    names = {log, *(name.rpartition("/")[0] for name in files)} - {""}
    image: dict[str, bytes | None] = {f"{ROOT}/{name}": None for name in names}
    found = {f"{ROOT}/{name}": content for name, content in files.items()}
    return {ROOT: None, **image, **found}


def edited(feed: Feed, files: dict[str, bytes], older: dict[str, bytes]) -> None:
    """Damage files as the input says.

    Bytes are changed by XOR only: where an input could write what it likes, a fuzzer
    that sees checksums compared would sooner or later write a valid frame.
    """
    while feed.more and files:
        edit, name = feed.number() % 9, feed.pick(sorted(files))
        data = bytearray(files[name])
        at, length, to = (feed.number(2) % (len(data) + 1) for _ in range(3))
        piece = data[at : at + length]
        if edit == 0 and at < len(data):
            data[at] ^= 1 + length % 255
        elif edit == 1:
            del data[at:]
        elif edit == 2:
            del data[at : at + length]
        elif edit == 3:
            data[to:to] = piece
        elif edit == 4:
            data[to : to + len(piece)] = piece
        elif edit == 5:
            data[at : at + length] = bytes(len(piece))
        elif edit == 6:
            data += bytes(length)
        elif edit == 7:
            data = bytearray(older.get(name, b""))
        elif edit == 8:
            other = sorted(files)[to % len(files)]
            data = bytearray(files[other])
            if length % 2:
                del files[other]
        files[name] = bytes(data)

"""Enumerate the disks that a power cut could leave, and remember the distinct ones.

Per file: every prefix of what was pending, each single change missing, some seeded
subsets, and the last write torn at several places, zeroed, or replaced by what its
blocks held before. Per directory: every prefix, and each single change missing. Files
and directories vary independently; where that is too much, a seeded sample is taken.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Iterator

from tests.support.simdisk import (
    FOLDER,
    Change,
    Directory,
    Image,
    Inode,
    Names,
    SimDisk,
    Write,
    content_after,
    names_after,
)

STALE = b"what the block held before \xc5\x9e\xff"
SUBSETS = 2


class PowerCuts:
    """Collect distinct images with the strictest promise that each must keep.

    `collect` is called with the LSN that is acknowledged at that moment. In the end
    `images` maps the id of each image to the image and the highest such LSN.
    """

    def __init__(self, disk: SimDisk, seed: int, limit: int) -> None:
        self.images: dict[bytes, tuple[Image, int]] = {}
        self._disk, self._limit = disk, limit
        self._rng = random.Random(seed)

    def collect(self, promised_lsn: int) -> None:
        for image in self._now():
            key = image_id(image)
            known = self.images.get(key, (image, 0))
            self.images[key] = (image, max(known[1], promised_lsn))

    def _now(self) -> Iterator[Image]:
        folders = self._disk.directories
        names = {path: directory_states(folders[path]) for path in sorted(folders)}
        contents = {
            inode: content_states(inode, self._rng) for inode in _inodes(folders)
        }
        choices = [*names.values(), *contents.values()]
        for picked in self._combinations(choices):
            chosen_names = dict(zip(names, picked, strict=False))
            chosen = dict(zip(contents, picked[len(names) :], strict=True))
            yield dict(_image("/", chosen_names, chosen))

    def _combinations(self, choices: list[list]) -> Iterator[tuple]:
        if math.prod(map(len, choices)) <= self._limit:
            yield from itertools.product(*choices)
            return
        yield tuple(states[0] for states in choices)
        yield tuple(states[-1] for states in choices)
        for _ in range(self._limit - 2):
            yield tuple(map(self._rng.choice, choices))


def image_id(image: Image) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for path, data in sorted(image.items()):
        digest.update(b"%d %s %d " % (data is None, path.encode(), len(data or b"")))
        digest.update(data or b"")
    return digest.digest()


def content_states(inode: Inode, rng: random.Random) -> list[bytes]:
    """Return what may be found in a file: first nothing new, last everything."""
    pending = inode.pending
    count = len(pending)
    kept: list[list[Change]] = [pending[:length] for length in range(count)]
    kept += [pending[:at] + pending[at + 1 :] for at in range(count)]
    if count > 2:
        kept += [[c for c in pending if rng.random() < 0.5] for _ in range(SUBSETS)]
    if pending and isinstance(pending[-1], Write):
        kept += [[*pending[:-1], torn] for torn in torn_writes(pending[-1])]
    kept.append(pending)
    return list(
        dict.fromkeys(content_after(inode.durable, changes) for changes in kept)
    )


def torn_writes(write: Write) -> Iterator[Write]:
    """Yield what may be left of one write."""
    offset, data = write
    length = len(data)
    # In and around a frame header, in the middle, at the sectors, at the end.
    cuts = {1, 4, 16, 31, 32, 33, length // 2, length - 1}
    cuts |= {at - offset for at in range(0, offset + length, 512)}
    for at in sorted(cut for cut in cuts if 0 < cut < length):
        yield Write(offset, data[:at])
        yield Write(offset + at, data[at:])
    yield Write(offset, bytes(length))
    yield Write(offset, (STALE * (length // len(STALE) + 1))[:length])


def directory_states(directory: Directory) -> list[Names]:
    """Return the names that may be found: first the old ones, last the new ones."""
    pending = directory.pending
    kept = [pending[:length] for length in range(len(pending))]
    kept += [pending[:at] + pending[at + 1 :] for at in range(len(pending) - 1)]
    return [names_after(directory.durable, entries) for entries in [*kept, pending]]


def _inodes(folders: dict[str, Directory]) -> list[Inode]:
    found: dict[Inode, None] = {}
    for path in sorted(folders):
        directory = folders[path]
        found.update(dict.fromkeys(directory.durable.values()))
        for entry in directory.pending:
            found.update((inode, None) for _, inode in entry if inode is not None)
    found.pop(FOLDER, None)
    return list(found)


def _image(
    path: str, names: dict[str, Names], contents: dict[Inode, bytes]
) -> Iterator[tuple[str, bytes | None]]:
    for name, inode in sorted(names[path].items()):
        full = f"{path.rstrip('/')}/{name}"
        if inode is FOLDER:
            yield full, None
            yield from _image(full, names, contents)
        else:
            yield full, contents[inode]

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
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from hypercache.testing.disk_state import (
    Change,
    Directory,
    Image,
    Inode,
    Names,
    Write,
    content_after,
    names_after,
)
from hypercache.testing.simulated_disk import SimDisk

STALE = b"what the block held before \xc5\x9e\xff"
SUBSETS = 2

# What kind of loss an image shows.
LOST_WRITES, TORN_WRITE, LOST_NAMES = "lost writes", "torn write", "lost names"


class Left(NamedTuple):
    """A disk that a power cut could leave, and the kind of loss it shows."""

    image: Image
    kind: str


class Content(NamedTuple):
    """What may be found in a file; `torn` if a part of one write is missing."""

    data: bytes
    torn: bool


class Listing(NamedTuple):
    """What may be found in a directory; `lost` unless it is everything."""

    names: Names
    lost: bool


class PowerCuts:
    """Collect distinct images with the strictest promise that each must keep.

    `collect` is called with the LSN that is acknowledged at that moment. In the end
    `images` maps the id of each image to the image and the highest such LSN.
    """

    def __init__(self, disk: SimDisk, seed: int = 0, limit: int = 24) -> None:
        self.images: dict[bytes, tuple[Image, int]] = {}
        self._disk, self._limit = disk, limit
        self._rng = random.Random(seed)  # noqa: S311 (a sample to be had again)

    def collect(self, promised_lsn: int = 0) -> None:
        """Note every disk that a power cut could leave now."""
        for left in power_cuts(self._disk, self._rng, self._limit):
            key = image_id(left.image)
            known = self.images.get(key, (left.image, 0))
            self.images[key] = (left.image, max(known[1], promised_lsn))


def power_cuts(
    disk: SimDisk, rng: random.Random, limit: int, subsets: int = SUBSETS
) -> Iterator[Left]:
    """Yield the disks that a power cut could leave now, at most `limit` of them.

    The first one has nothing that was pending, the last one of a full enumeration all
    of it; of a sample that is the second one. Of each file so many seeded `subsets` of
    its writes are tried.
    """
    folders, files = _nodes(disk.root)
    listings = [directory_states(folder) for folder in folders]
    contents = [content_states(file, rng, subsets) for file in files]
    for picked in _combinations([*listings, *contents], rng, limit):
        of_folders, of_files = picked[: len(folders)], picked[len(folders) :]
        if any(state.lost for state in of_folders):
            kind = LOST_NAMES
        else:
            torn = any(state.torn for state in of_files)
            kind = TORN_WRITE if torn else LOST_WRITES
        yield Left(_image(disk.root, (folders, of_folders), (files, of_files)), kind)


def after_power_cut(disk: SimDisk, seed: int | None = None) -> Image:
    """Return one disk that a power cut could leave now.

    Without a seed nothing that was pending is left; else the seed chooses.
    """
    rng = random.Random(seed)  # noqa: S311 (a choice to be had again)
    folders, files = _nodes(disk.root)
    pick = (lambda states: states[0]) if seed is None else rng.choice
    listings = [pick(directory_states(folder)) for folder in folders]
    contents = [pick(content_states(file, rng)) for file in files]
    return _image(disk.root, (folders, listings), (files, contents))


def image_id(image: Image) -> bytes:
    """Return a digest of paths and contents, the same in every process."""
    digest = hashlib.blake2b(digest_size=16)
    for path, data in sorted(image.items()):
        inner = b"directory" if data is None else _content_id(data)
        digest.update(b"%s\0%s\0" % (path.encode(), inner))
    return digest.digest()


@lru_cache(maxsize=4096)
def _content_id(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def content_states(
    inode: Inode, rng: random.Random, subsets: int = SUBSETS
) -> list[Content]:
    """Return what may be found in a file: first nothing new, last everything."""
    pending, durable = inode.pending, inode.durable
    if not pending:
        return [Content(durable, torn=False)]
    count = len(pending)
    kept: list[Sequence[Change]] = [pending[:length] for length in range(count)]
    kept += [pending[:at] + pending[at + 1 :] for at in range(count - 1)]
    if count > 2:
        kept += [[c for c in pending if rng.random() < 0.5] for _ in range(subsets)]
    lost = dict.fromkeys(content_after(durable, changes) for changes in kept)
    whole = inode.seen if inode.is_whole else content_after(durable, pending)
    states = [Content(data, torn=False) for data in lost if data != whole]
    last = pending[-1]
    if isinstance(last, Write):
        before = content_after(durable, pending[:-1])
        torn = (content_after(before, [piece]) for piece in torn_writes(last))
        new = (data for data in dict.fromkeys(torn) if data not in lost)
        states += [Content(data, torn=True) for data in new if data != whole]
    return [*states, Content(whole, torn=False)]


def torn_writes(write: Write) -> Iterator[Write]:
    """Yield what may be left of one write: its start, its end, zeros, stale bytes."""
    offset, data = write
    length = len(data)
    # Every byte of a small write, so every place in a frame header; then coarser, and
    # where the disk's own sectors end.
    cuts = {*range(1, 65), *range(64, length, 16), length // 2, length - 1}
    cuts |= {at - offset for at in range(0, offset + length, 512)}
    for at in sorted(cut for cut in cuts if 0 < cut < length):
        yield Write(offset, data[:at])
        yield Write(offset + at, data[at:])
    yield Write(offset, bytes(length))
    yield Write(offset, (STALE * (length // len(STALE) + 1))[:length])


def directory_states(directory: Directory) -> list[Listing]:
    """Return the names that may be found: first the old ones, last the new ones."""
    pending, durable = directory.pending, directory.durable
    if not pending:
        return [Listing(durable, lost=False)]
    kept = [pending[:length] for length in range(len(pending))]
    kept += [pending[:at] + pending[at + 1 :] for at in range(len(pending) - 1)]
    lost = [Listing(names_after(durable, entries), lost=True) for entries in kept]
    return [*lost, Listing(names_after(durable, pending), lost=False)]


def _combinations(
    choices: list[list[Content] | list[Listing]], rng: random.Random, limit: int
) -> Iterator[tuple[Any, ...]]:
    if math.prod(map(len, choices)) <= limit:
        yield from itertools.product(*choices)
        return
    yield tuple(states[0] for states in choices)
    yield tuple(states[-1] for states in choices)
    for _ in range(limit - 2):
        yield tuple(map(rng.choice, choices))


def _nodes(root: Directory) -> tuple[list[Directory], list[Inode]]:
    """Return what a power cut could leave under any name, each once, in order."""
    folders: dict[Directory, None] = {root: None}
    files: dict[Inode, None] = {}
    todo = [root]
    while todo:
        for node in todo.pop().nodes():
            if isinstance(node, Inode):
                files[node] = None
            elif node not in folders:
                folders[node] = None
                todo.append(node)
    return list(folders), list(files)


def _image(
    root: Directory,
    folders: tuple[list[Directory], Sequence[Listing]],
    files: tuple[list[Inode], Sequence[Content]],
) -> Image:
    listings = {f: state.names for f, state in zip(*folders, strict=True)}
    contents = {file: state.data for file, state in zip(*files, strict=True)}
    image: dict[str, bytes | None] = {}
    todo = [("", root)]
    while todo:
        above, folder = todo.pop()
        for name, node in listings[folder].items():
            path = f"{above}/{name}"
            if isinstance(node, Inode):
                image[path] = contents[node]
            else:
                image[path] = None
                todo.append((path, node))
    return image

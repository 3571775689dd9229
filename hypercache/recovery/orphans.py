"""Find the pages of an LMDB file that no tree leads to, although they are in use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from hypercache.engines.lmdb_batch import StoreState
from hypercache.engines.lmdb_layout import (
    LEAF,
    META_PAGES,
    NO_PAGE,
    PAGE_NUMBER,
    SUB_DATA,
    TREE_BYTES,
    Meta,
)
from hypercache.recovery import snapshots
from hypercache.recovery.lmdb_file import BadPage, Leaf, LmdbFile
from hypercache.recovery.pages import kind_of, nodes_of
from hypercache.recovery.snapshots import Snapshot

_MOST_FREE_BYTES = 64 << 20  # of one list: more than eight million pages
_PIECE_PAGES = 256


@dataclass
class Orphans:
    """Entries on pages that no tree leads to.

    Attributes:
        taken: the pages that count.
        keys: the page on which the newest entry of a key is.
        left: keys and LSNs of those that do not count, because they may be old.
        states: what the store says of itself on such pages.
    """

    taken: list[int] = field(default_factory=list)
    keys: dict[bytes, int] = field(default_factory=dict)
    left: dict[bytes, int] = field(default_factory=dict)
    count: int = 0
    digest: int = 0
    expiring: int = 0
    data_bytes: int = 0
    states: set[StoreState] = field(default_factory=set)

    def take(self) -> None:
        """Let all of them count."""
        self.taken = sorted(set(self.keys.values()))
        self.left = {}

    def leave(self) -> None:
        """Let none of them count."""
        self.keys = {}


class _Found(NamedTuple):
    lsn: int
    page: int
    digest: int
    expires: bool
    data_bytes: int


def find(file: LmdbFile, found: Snapshot) -> Orphans:
    """Return the entries on pages that are neither used nor known to be free."""
    orphans = Orphans()
    best: dict[bytes, _Found] = {}
    scratch = Snapshot(0, 0)
    for number in _unused(file):
        leaf = file.leaf_at(number)
        if leaf is None:
            continue
        orphans.states |= set(_states(file, leaf))
        for _, node, entry in snapshots.entries_of_leaf(file, leaf, scratch):
            before = best.get(node.key)
            if before is None or before.lsn < entry.lsn:
                digest = snapshots.digest_of(file, leaf, node)
                size, expires = len(node.key) + node.size, entry.expires_at_ms > 0
                best[node.key] = _Found(entry.lsn, number, digest, expires, size)
    if best:
        _without_reachable(file, found, best)
    for key, newest in best.items():
        orphans.keys[key], orphans.left[key] = newest.page, newest.lsn
        orphans.count += 1
        orphans.digest += newest.digest
        orphans.expiring += newest.expires
        orphans.data_bytes += newest.data_bytes
    return orphans


def completes(found: Snapshot, orphans: Orphans) -> bool:
    """Tell whether state and orphans together are what the store has summed up."""
    both = Snapshot(0, 0, state=found.state)
    both.count = found.count + orphans.count
    both.digest = found.digest + orphans.digest
    both.expiring = found.expiring + orphans.expiring
    both.data_bytes = found.data_bytes + orphans.data_bytes
    return both.verified


def free_pages(file: LmdbFile, meta: Meta, *, strict: bool = True) -> bytearray | None:
    """Return a 1 for each free page, None where the list of them is damaged.

    It is, too, where it names a page that is used; with `strict` off that may be the
    fault of a branch.
    """
    free = bytearray(file.page_count)
    if meta.free.root == NO_PAGE:
        return free
    for leaf in file.leaves(meta.free.root):
        if isinstance(leaf, BadPage) or not leaf.whole:
            return None
        for node in leaf.nodes:
            if len(node.key) != PAGE_NUMBER.size or node.size > _MOST_FREE_BYTES:
                return None
            used = file.used if strict else bytes(file.page_count)
            if not file.take_value(leaf, node) and strict:
                return None
            if not _mark(file.value(leaf, node), free, used, meta.last_page):
                return None
    return free


def main_pages(file: LmdbFile) -> Iterator[int]:
    """Yield the pages that may be, or may have been, the root of the main tree."""
    file.forget_used()
    for number in list(_unused(file)):
        page = file.page(number)
        if page is None or kind_of(page) != LEAF:
            continue
        nodes = nodes_of(page, branch=False)
        names = {
            node.key
            for node in nodes or []
            if node.flags & SUB_DATA and node.size == TREE_BYTES
        }
        if names == {b"data", b"meta"}:
            yield number


def _states(file: LmdbFile, leaf: Leaf) -> Iterator[StoreState]:
    for node in leaf.nodes:
        state = None
        if node.key == snapshots.STATE and leaf.whole and len(leaf.nodes) == 1:
            state = snapshots.state_in(file.value(leaf, node))
        if state is not None:
            yield state


def _mark(
    data: bytes | None, free: bytearray, used: bytes | bytearray, last_page: int
) -> bool:
    """Note the pages of one list; False if it contradicts the trees."""
    if data is None or len(data) < PAGE_NUMBER.size:
        return False
    count = PAGE_NUMBER.unpack_from(data)[0]
    end = (count + 1) * PAGE_NUMBER.size
    if end > len(data):
        return False
    # Not all at once: a forged list may name millions.
    for (number,) in PAGE_NUMBER.iter_unpack(data[PAGE_NUMBER.size : end]):
        if not META_PAGES <= number <= last_page:
            return False
        if number < len(free):
            if free[number] or used[number]:
                return False
            free[number] = 1
    return True


def _unused(file: LmdbFile) -> Iterator[int]:
    """Yield the pages that are not used, not free, and not empty."""
    size, step = file.page_bytes, _PIECE_PAGES
    for start in range(META_PAGES, file.page_count, step):
        piece = file.file.read_at(start * size, step * size)
        if piece == bytes(len(piece)):
            continue
        for number in range(start, min(start + step, file.page_count)):
            is_free = number < len(file.free) and file.free[number]
            if not is_free and not file.used[number]:
                yield number


def _without_reachable(
    file: LmdbFile, found: Snapshot, best: dict[bytes, _Found]
) -> None:
    """Remove what a tree leads to as well: that is what counts."""
    file.forget_used()
    again = Snapshot(found.root, 0, record=found.record)
    for _, node, _ in snapshots.entries(file, again):
        best.pop(node.key, None)

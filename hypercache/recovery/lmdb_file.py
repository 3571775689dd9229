"""Walk the trees of an LMDB file, through reads that no damage can kill.

The C library maps the file and follows what it finds there; a damaged number sends it
anywhere. Here every page is read by its number, held against the size of the file,
and visited once.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from hypercache.checksum import crc32c
from hypercache.engines import envelope
from hypercache.engines.envelope import Stored
from hypercache.engines.lmdb_layout import (
    BIG_DATA,
    BRANCH,
    LEAF,
    META_PAGES,
    NO_PAGE,
    OVERFLOW,
    PAGE_HEAD,
    Meta,
    decode_meta,
)
from hypercache.options import MAX_KEY_BYTES, MAX_VALUE_BYTES
from hypercache.read_file import ReadFile
from hypercache.recovery.pages import (
    Node,
    far_page,
    kind_of,
    nodes_of,
    nodes_of_damaged,
    number_of,
)
from hypercache.recovery.scan import checksum

_LARGE_BYTES = 4 << 20
_LONGEST = MAX_KEY_BYTES + MAX_VALUE_BYTES + 64
_DEEPEST = 24
_CRC_BYTES = 4


class BadPage(NamedTuple):
    """A page that cannot be read as what it should be; all below it is missing."""

    number: int
    reason: str
    is_leaf: bool = False


class Leaf(NamedTuple):
    """A leaf, with the nodes that it seems to have."""

    number: int
    page: bytes
    nodes: list[Node]
    whole: bool


class LmdbFile:
    """The pages of a file; `used` has a 1 for each page that a tree was seen to use."""

    def __init__(self, file: ReadFile, page_bytes: int) -> None:
        self.file, self.page_bytes = file, page_bytes
        self.page_count = file.size_bytes // page_bytes
        self.used = bytearray(self.page_count)
        self.free = bytearray(0)  # a 1 for each page known to be free

    def forget_used(self) -> None:
        """Begin a walk of other trees."""
        self.used = bytearray(self.page_count)

    def page(self, number: int) -> bytes | None:
        """Return a page, None where the file has none."""
        if not 0 <= number < self.page_count:
            return None
        data = self.file.read_at(number * self.page_bytes, self.page_bytes)
        return data if len(data) == self.page_bytes else None

    def leaves(self, root: int) -> Iterator[Leaf | BadPage]:
        """Yield the leaves of a tree in order, and what of it cannot be reached."""
        if root != NO_PAGE:
            yield from self._below(root, 0, None, None)

    def value(self, leaf: Leaf, node: Node) -> bytes | None:
        """Return the bytes under a key, None where they are not in the file."""
        if not node.flags & BIG_DATA:
            return leaf.page[node.start : node.end]
        first = far_page(leaf.page, node)
        start = first * self.page_bytes + PAGE_HEAD.size
        if not META_PAGES <= first < self.page_count or node.size > _LONGEST:
            return None
        if start + node.size > self.file.size_bytes:
            return None
        if node.size > _LARGE_BYTES and not self._agrees(node, start):
            return None
        data = self.file.read_at(start, node.size)
        return data if len(data) == node.size else None

    def head(self, leaf: Leaf, node: Node) -> bytes:
        """Return the first bytes under a key: the head of an envelope, unverified."""
        size = min(node.size, envelope.HEAD.size)
        if not node.flags & BIG_DATA:
            return leaf.page[node.start : node.start + size]
        start = far_page(leaf.page, node) * self.page_bytes + PAGE_HEAD.size
        if start + size > self.file.size_bytes:
            return b""
        return self.file.read_at(start, size)

    def entry(self, leaf: Leaf, node: Node) -> Stored | None:
        """Return the entry of a node, None unless its checksum holds."""
        data = self.value(leaf, node)
        found = envelope.unwrap(node.key, data) if data is not None else None
        if found is None or envelope.stored_key(found.key) != node.key:
            return None
        return found

    def take(self, number: int, count: int = 1) -> bool:
        """Note that pages are used; False if one of them was before."""
        end = min(number + count, self.page_count)
        free = not any(self.used[number:end])
        self.used[number:end] = b"\1" * (end - number)
        return free

    def take_value(self, leaf: Leaf, node: Node) -> bool:
        """Note the pages of a value; False if one of them was used before."""
        if not node.flags & BIG_DATA:
            return True
        return self.take(far_page(leaf.page, node), self.pages_for(node.size))

    def pages_for(self, size: int) -> int:
        """Return how many pages a value of that size takes."""
        return (PAGE_HEAD.size + size - 1) // self.page_bytes + 1

    def leaf_at(self, number: int) -> Leaf | None:
        """Return what nodes a page seems to have, whatever its header says."""
        page = self.page(number)
        if page is None:
            return None
        nodes = nodes_of(page, branch=False) if kind_of(page) == LEAF else None
        whole = nodes is not None and number_of(page) == number
        if nodes is None or not whole:
            nodes = list(nodes_of_damaged(page))
        return Leaf(number, page, nodes, whole)

    def _agrees(self, node: Node, start: int) -> bool:
        """Tell whether a large value has its checksum, without holding it."""
        head = self.file.read_at(start, _CRC_BYTES)
        body = node.size - _CRC_BYTES
        found = checksum(self.file, start + _CRC_BYTES, body, crc32c(node.key))
        return int.from_bytes(head, "little") == found

    def _below(
        self, number: int, depth: int, low: bytes | None, high: bytes | None
    ) -> Iterator[Leaf | BadPage]:
        page = self.page(number)
        if page is None or number < META_PAGES or depth > _DEEPEST:
            yield BadPage(number, "there is no such page")
            return
        if number < len(self.free) and self.free[number]:
            yield BadPage(number, "the page is free, so what is in it is old")
            return
        if not self.take(number):
            yield BadPage(number, "the page is used twice")
            return
        kind = kind_of(page)
        # A damaged kind is told by what is in the page.
        branches = nodes_of(page, branch=True) if kind != LEAF else None
        if branches and kind == BRANCH and number_of(page) == number:
            yield from self._children(branches, depth, low, high)
            return
        if kind == BRANCH:
            yield BadPage(number, "the branch page is damaged")
            return
        leaf = self.leaf_at(number)
        if leaf is None or (kind != LEAF and not leaf.nodes):
            yield BadPage(number, "the page is no page of a tree", kind != OVERFLOW)
            return
        yield leaf._replace(whole=leaf.whole and _in_order(leaf.nodes, low, high))

    def _children(
        self, nodes: list[Node], depth: int, low: bytes | None, high: bytes | None
    ) -> Iterator[Leaf | BadPage]:
        for index, node in enumerate(nodes):
            first = low if not index else node.key
            last = nodes[index + 1].key if index + 1 < len(nodes) else high
            yield from self._below(node.size, depth + 1, first, last)


def metas_of(file: ReadFile) -> list[Meta]:
    """Return those of the two meta pages that are whole, the newest first."""
    first = decode_meta(file.read_at(0, 512), 0)
    sizes = [first.page_bytes] if first is not None else [4096, 8192, 16384, 65536]
    second = None
    for size in sizes:
        second = second or decode_meta(file.read_at(size, 512), 1)
    found = [meta for meta in (first, second) if meta is not None]
    return sorted(found, key=lambda meta: meta.txn, reverse=True)


def _in_order(nodes: list[Node], low: bytes | None, high: bytes | None) -> bool:
    keys = [node.key for node in nodes]
    if any(a >= b for a, b in pairwise(keys)):
        return False
    return not keys or (
        (low is None or low <= keys[0]) and (high is None or keys[-1] < high)
    )

"""Find the nodes of a page of LMDB that may be damaged; bytes in, values out.

LMDB puts no checksum on a page, so everything here is taken with care: what does not
fit the page it stands in is refused, and a value counts only once its envelope does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from hypercache.engines.lmdb_layout import (
    BIG_DATA,
    NODE_HEAD,
    PAGE_HEAD,
    PAGE_NUMBER,
    SUB_DATA,
    kind,
)

_LONGEST_KEY = 511


class Node(NamedTuple):
    """One entry of a page.

    `size` is that of the value, or of a branch the number of the page below. `start`
    is where in the page the value begins, `end` where the node ends.
    """

    key: bytes
    flags: int
    size: int
    start: int
    end: int


def kind_of(page: bytes) -> int:
    """Return what kind of page this is, as it says."""
    flags: int = PAGE_HEAD.unpack_from(page)[2]
    return kind(flags)


def number_of(page: bytes) -> int:
    """Return which page this is, as it says."""
    number: int = PAGE_HEAD.unpack_from(page)[0]
    return number


def nodes_of(page: bytes, *, branch: bool) -> list[Node] | None:
    """Return the nodes of a page, None where it contradicts itself."""
    _, _, _, lower, upper = PAGE_HEAD.unpack_from(page)
    if not PAGE_HEAD.size <= lower <= upper <= len(page) or lower % 2:
        return None
    found = []
    for at in _pointers(page, lower):
        node = node_at(page, at, branch=branch) if at >= upper else None
        if node is None:
            return None
        found.append(node)
    return found


def node_at(page: bytes, at: int, *, branch: bool) -> Node | None:
    """Return the node at an offset, None where there can be none."""
    if at % 2 or at + NODE_HEAD.size > len(page):
        return None
    low, high, flags, key_bytes = NODE_HEAD.unpack_from(page, at)
    start = at + NODE_HEAD.size + key_bytes
    if key_bytes > _LONGEST_KEY or start > len(page):
        return None
    key = page[at + NODE_HEAD.size : start]
    size = low | high << 16
    if branch:
        return Node(key, 0, size | flags << 32, start, start)
    if flags & ~(BIG_DATA | SUB_DATA) or not key_bytes:
        return None
    end = start + (PAGE_NUMBER.size if flags & BIG_DATA else size)
    return Node(key, flags, size, start, end) if end <= len(page) else None


def far_page(page: bytes, node: Node) -> int:
    """Return the first page of a value that has pages of its own."""
    number: int = PAGE_NUMBER.unpack_from(page, node.start)[0]
    return number


def nodes_of_damaged(page: bytes) -> Iterator[Node]:
    """Yield what may be nodes of a leaf whose header or pointers may be damaged.

    The nodes in use lie side by side at the end of a page. What lies before them is
    old, and is not looked at.
    """
    seen: set[int] = set()
    for place in sorted(_likely_places(page)):
        at = place
        while at not in seen and (node := node_at(page, at, branch=False)):
            seen.add(at)
            yield node
            at = node.end + node.end % 2


def _likely_places(page: bytes) -> list[int]:
    """Return where nodes may begin: the pointers, and where the first one must be."""
    _, _, _, lower, upper = PAGE_HEAD.unpack_from(page)
    pointers = _pointers(page, lower if lower <= len(page) else PAGE_HEAD.size)
    # Nodes of which the first one is where the header says are all of them.
    if from_upper := _as_many_as_fit(page, upper):
        return from_upper
    if _tiles(page, pointers):
        return pointers
    # One of the pointers or of the nodes is damaged, so the header may be believed.
    least = PAGE_HEAD.size + 2 * len(pointers)
    if least <= upper < len(page):
        return [upper, *(at for at in pointers if at >= upper)]
    return [at for at in pointers if at >= least]


def _pointers(page: bytes, lower: int) -> list[int]:
    count = max(0, min(lower, len(page)) - PAGE_HEAD.size) // 2
    return list(struct.unpack_from(f"<{count}H", page, PAGE_HEAD.size))


def _as_many_as_fit(page: bytes, upper: int) -> list[int]:
    """Return the pointers whose nodes fill the page from `upper` to its end."""
    pointers = _pointers(page, len(page))
    least = len(page)
    for count, at in enumerate(pointers, start=1):
        if at >= len(page) or at < PAGE_HEAD.size + 2 * count:
            return []
        least = min(least, at)
        if least == upper and _tiles(page, pointers[:count]):
            return pointers[:count]
    return []


def _tiles(page: bytes, pointers: list[int]) -> bool:
    """Tell whether the nodes at these places fill the page up to its end."""
    at = min(pointers, default=len(page))
    for place in sorted(pointers):
        node = node_at(page, place, branch=False) if place == at else None
        if node is None:
            return False
        at = node.end + node.end % 2
    return bool(pointers) and at == len(page)

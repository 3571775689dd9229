"""Check what of LMDB's pages no read looks at, and every write relies on.

A page that names another number, or a list of free pages that holds one in use, is
never noticed by a look-up. The next commit follows it: it writes over live pages, or
LMDB ends the process. Nothing here goes through LMDB, so nothing can kill the reader.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

from hypercache.engines.lmdb_layout import (
    BIG_DATA,
    BRANCH,
    LEAF,
    META_BYTES,
    NO_PAGE,
    NODE_HEAD,
    OVERFLOW,
    PAGE_HEAD,
    PAGE_NUMBER,
    RUN_HEAD,
    SUB_DATA,
    TREE_BYTES,
    Meta,
    decode_meta,
    decode_tree,
    kind,
)
from hypercache.read_file import ReadFile

_DEEPEST = 32
_LONGEST_LIST_BYTES = 1 << 26


class _BadPageError(Exception):
    pass


def problems(file: ReadFile, page_bytes: int, txn_id: int) -> list[str]:
    """Return the first thing that is wrong with the pages of a transaction.

    Nothing where they cannot be told: another format, or a writer was faster.
    """
    if sys.byteorder != "little" or sys.maxsize <= 1 << 32:
        return []
    metas = [
        decode_meta(file.read_at(number * page_bytes, META_BYTES), number)
        for number in (0, 1)
    ]
    meta = next((each for each in metas if each and each.txn == txn_id), None)
    if meta is None:
        return []
    if not _are_a_pair(*metas):
        return ["its two meta pages do not belong together"]
    try:
        pages = _Pages(file, page_bytes, meta.last_page)
        for _ in pages.leaves(meta.main.root):
            pass
        pages.check_free(meta.free.root, txn_id)
    except _BadPageError as error:
        return [str(error)]
    return []


def _are_a_pair(even: Meta | None, odd: Meta | None) -> bool:
    """Tell whether they are those of two commits in a row.

    LMDB takes the higher number, so a wrong one shows an older state.
    """
    if even is None or odd is None or _settings(even) != _settings(odd):
        return False
    if even.txn == odd.txn == 0:  # nothing was ever committed
        return True
    return even.txn % 2 == 0 and abs(even.txn - odd.txn) == 1


def _settings(meta: Meta) -> tuple[object, ...]:
    """Return what no commit changes."""
    return (*meta.free[:2], *meta.main[:2])


class _Pages:
    """Every page that was come by, each of them once."""

    def __init__(self, file: ReadFile, page_bytes: int, last_page: int) -> None:
        self._file, self._page_bytes, self._last = file, page_bytes, last_page
        # A bit for each page: a set would take more than the pages of a large store.
        self._taken = bytearray(file.size_bytes // page_bytes // 8 + 1)
        self._taken[0] = 0b11  # the meta pages

    def leaves(self, root: int, depth: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Yield key and data of every leaf node below a page; follow all trees."""
        if root == NO_PAGE:
            return
        if depth > _DEEPEST:
            raise _BadPageError(f"page {root} is too deep in its tree")
        self._take(root)
        data = self._file.read_at(root * self._page_bytes, self._page_bytes)
        is_branch, offsets = self._header(root, data)
        room = 0
        for at in offsets:
            low, high, flags, key_length = NODE_HEAD.unpack_from(data, at)
            start = at + NODE_HEAD.size + key_length
            if is_branch:
                room += _even(start - at)
                self._refuse_over(start, root)
                yield from self.leaves(low | high << 16 | flags << 32, depth + 1)
                continue
            length = low | high << 16
            end = start + (PAGE_NUMBER.size if flags & BIG_DATA else length)
            room += _even(end - at)
            self._refuse_over(end, root)
            key, found = data[at + NODE_HEAD.size : start], data[start:end]
            if flags & BIG_DATA:
                found = self._run(PAGE_NUMBER.unpack(found)[0], length)
            if flags & SUB_DATA and len(found) == TREE_BYTES:
                tree = decode_tree(found)
                if tree.flags:
                    raise _BadPageError(f"a database on page {root} has odd flags")
                yield from self.leaves(tree.root)
            yield key, found
        if room + PAGE_HEAD.unpack_from(data)[4] != self._page_bytes:
            raise _BadPageError(f"the nodes of page {root} do not fill it")

    def check_free(self, root: int, txn_id: int) -> None:
        """Make sure that no free page is in use, or named twice."""
        for key, data in self.leaves(root):
            count = len(data) // PAGE_NUMBER.size - 1
            numbers = [n for (n,) in PAGE_NUMBER.iter_unpack(data[: (count + 1) * 8])]
            by = PAGE_NUMBER.unpack(key)[0] if len(key) == PAGE_NUMBER.size else NO_PAGE
            if not numbers or numbers[0] > count or by > txn_id:
                raise _BadPageError("the list of free pages is damaged")
            for number in numbers[1 : numbers[0] + 1]:
                self._take(number)

    def _take(self, number: int) -> None:
        if number > self._last:
            raise _BadPageError(f"page {number} is behind the last one")
        at, bit = number >> 3, 1 << (number & 7)
        if at >= len(self._taken):
            return  # free and never written; who reads it finds that the file ends
        if self._taken[at] & bit:
            raise _BadPageError(f"page {number} is used twice, or free and used")
        self._taken[at] |= bit

    def _header(self, number: int, data: bytes) -> tuple[bool, tuple[int, ...]]:
        if len(data) < self._page_bytes:
            raise _BadPageError(f"page {number} is not in the file")
        found, _, flags, lower, upper = PAGE_HEAD.unpack_from(data)
        if found != number or kind(flags) not in (BRANCH, LEAF):
            raise _BadPageError(f"page {number} says that it is another")
        if not PAGE_HEAD.size <= lower <= upper <= self._page_bytes or lower % 2:
            raise _BadPageError(f"the header of page {number} is damaged")
        count = (lower - PAGE_HEAD.size) // 2
        offsets = struct.unpack_from(f"<{count}H", data, PAGE_HEAD.size)
        lowest, highest = min(offsets, default=upper), self._page_bytes - NODE_HEAD.size
        if lowest != upper or max(offsets, default=0) > highest:
            raise _BadPageError(f"the nodes of page {number} are not where they belong")
        return kind(flags) == BRANCH, offsets

    def _run(self, first: int, length: int) -> bytes:
        """Take the pages of a large value and return it."""
        at = first * self._page_bytes
        if first > self._last:
            raise _BadPageError(f"page {first} is behind the last one")
        head = self._file.read_at(at, RUN_HEAD.size)
        if len(head) < RUN_HEAD.size:
            raise _BadPageError(f"page {first} is not in the file")
        found, _, flags, count = RUN_HEAD.unpack(head)
        least = -(-(RUN_HEAD.size + length) // self._page_bytes)
        whole = least <= count <= self._last + 1 - first
        if found != first or kind(flags) != OVERFLOW or not whole:
            raise _BadPageError(f"page {first} begins no large value")
        for number in range(first, first + count):
            self._take(number)
        # Of a value nothing is wanted, of the list of free pages all of it.
        return self._file.read_at(at + RUN_HEAD.size, min(length, _LONGEST_LIST_BYTES))

    def _refuse_over(self, end: int, number: int) -> None:
        if end > self._page_bytes:
            raise _BadPageError(f"a node of page {number} goes beyond it")


def _even(size: int) -> int:
    return size + size % 2

"""Check what of LMDB's pages no read looks at, and every write relies on.

A page that names another number, or a list of free pages that holds one in use, is
never noticed by a look-up. The next commit follows it: it writes over live pages, or
LMDB ends the process. Nothing here goes through LMDB, so nothing can kill the reader.

The layout is that of mdb.c of LMDB 0.9 on 64-bit little-endian machines.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from hypercache.read_file import ReadFile

_BRANCH, _LEAF, _OVERFLOW = 0x01, 0x02, 0x04
_DIRTY = 0x10  # of a page in memory; now and then it reaches the file
_BIG, _TREE_NODE = 0x01, 0x02
_NOWHERE = (1 << 64) - 1
_DEEPEST = 32

_PAGE = struct.Struct("<QHHHH")  # number, padding, flags, end of offsets, first node
_RUN = struct.Struct("<QHHI")  # number, padding, flags, how many pages
_NODE = struct.Struct("<HHHH")  # size low, size high, flags, length of the key
_NUMBER = struct.Struct("<Q")
_TREE = struct.Struct("<IHHQQQQQ")  # the last two: entries, root
_META = struct.Struct("<IIQQ")  # magic, version, address, size of the map
_META_END = struct.Struct("<QQ")  # last page, transaction
_MAGIC = (0xBEEFC0DE, 1)
_META_BYTES = _META.size + 2 * _TREE.size + _META_END.size


class _Meta(NamedTuple):
    txn: int
    last_page: int
    settings: tuple[int, ...]  # of the file, the same in both
    free_root: int
    main_root: int


class _BadPageError(Exception):
    pass


def problems(file: ReadFile, page_bytes: int, txn_id: int) -> list[str]:
    """Return the first thing that is wrong with the pages of a transaction.

    Nothing where they cannot be told: another format, or a writer was faster.
    """
    if sys.byteorder != "little" or sys.maxsize <= 1 << 32:
        return []
    metas = [_maybe_meta(file, page_bytes, number) for number in (0, 1)]
    meta = next((each for each in metas if each and each.txn == txn_id), None)
    if meta is None:
        return []
    if not _are_a_pair(*metas):
        return ["its two meta pages do not belong together"]
    try:
        pages = _Pages(file, page_bytes, meta.last_page)
        for _ in pages.leaves(meta.main_root):
            pass
        pages.check_free(meta.free_root, txn_id)
    except _BadPageError as error:
        return [str(error)]
    return []


def _maybe_meta(file: ReadFile, page_bytes: int, number: int) -> _Meta | None:
    data = file.read_at(number * page_bytes + _PAGE.size, _META_BYTES)
    if len(data) < _META_BYTES or _META.unpack_from(data)[:2] != _MAGIC:
        return None
    last_page, txn = _META_END.unpack_from(data, _META_BYTES - _META_END.size)
    free = _TREE.unpack_from(data, _META.size)
    main = _TREE.unpack_from(data, _META.size + _TREE.size)
    return _Meta(txn, last_page, (*free[:2], *main[:2]), free[-1], main[-1])


def _are_a_pair(even: _Meta | None, odd: _Meta | None) -> bool:
    """Tell whether they are those of two commits in a row.

    LMDB takes the higher number, so a wrong one shows an older state.
    """
    if even is None or odd is None or even.settings != odd.settings:
        return False
    if even.txn == odd.txn == 0:  # nothing was ever committed
        return True
    return even.txn % 2 == 0 and abs(even.txn - odd.txn) == 1


class _Pages:
    """Every page that was come by, each of them once."""

    def __init__(self, file: ReadFile, page_bytes: int, last_page: int) -> None:
        self._file, self._page_bytes, self._last = file, page_bytes, last_page
        # A bit for each page: a set would take more than the pages of a large store.
        self._taken = bytearray(file.size_bytes // page_bytes // 8 + 1)
        self._taken[0] = 0b11  # the meta pages

    def leaves(self, root: int, depth: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Yield key and data of every leaf node below a page; follow all trees."""
        if root == _NOWHERE:
            return
        if depth > _DEEPEST:
            raise _BadPageError(f"page {root} is too deep in its tree")
        self._take(root)
        data = self._file.read_at(root * self._page_bytes, self._page_bytes)
        is_branch, offsets = self._header(root, data)
        room = 0
        for at in offsets:
            low, high, flags, key_length = _NODE.unpack_from(data, at)
            start = at + _NODE.size + key_length
            if is_branch:
                room += _even(start - at)
                self._refuse_over(start, root)
                yield from self.leaves(low | high << 16 | flags << 32, depth + 1)
                continue
            length = low | high << 16
            end = start + (_NUMBER.size if flags & _BIG else length)
            room += _even(end - at)
            self._refuse_over(end, root)
            key, found = data[at + _NODE.size : start], data[start:end]
            if flags & _BIG:
                found = self._run(_NUMBER.unpack(found)[0], length)
            if flags & _TREE_NODE and len(found) == _TREE.size:
                if _TREE.unpack(found)[1]:
                    raise _BadPageError(f"a database on page {root} has odd flags")
                yield from self.leaves(_TREE.unpack(found)[-1])
            yield key, found
        if room + _PAGE.unpack_from(data)[4] != self._page_bytes:
            raise _BadPageError(f"the nodes of page {root} do not fill it")

    def check_free(self, root: int, txn_id: int) -> None:
        """Make sure that no free page is in use, or named twice."""
        for key, data in self.leaves(root):
            count = len(data) // _NUMBER.size - 1
            numbers = [n for (n,) in _NUMBER.iter_unpack(data[: (count + 1) * 8])]
            by = _NUMBER.unpack(key)[0] if len(key) == _NUMBER.size else _NOWHERE
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
        found, _, flags, lower, upper = _PAGE.unpack_from(data)
        kind = flags & ~_DIRTY
        if found != number or kind not in (_BRANCH, _LEAF):
            raise _BadPageError(f"page {number} says that it is another")
        if not _PAGE.size <= lower <= upper <= self._page_bytes or lower % 2:
            raise _BadPageError(f"the header of page {number} is damaged")
        count = (lower - _PAGE.size) // 2
        offsets = struct.unpack_from(f"<{count}H", data, _PAGE.size)
        lowest, highest = min(offsets, default=upper), self._page_bytes - _NODE.size
        if lowest != upper or max(offsets, default=0) > highest:
            raise _BadPageError(f"the nodes of page {number} are not where they belong")
        return kind == _BRANCH, offsets

    def _run(self, first: int, length: int) -> bytes:
        """Take the pages of a large value and return it."""
        at = first * self._page_bytes
        if first > self._last:
            raise _BadPageError(f"page {first} is behind the last one")
        head = self._file.read_at(at, _RUN.size)
        if len(head) < _RUN.size:
            raise _BadPageError(f"page {first} is not in the file")
        found, _, flags, count = _RUN.unpack(head)
        least = -(-(_RUN.size + length) // self._page_bytes)
        whole = least <= count <= self._last + 1 - first
        if found != first or flags & ~_DIRTY != _OVERFLOW or not whole:
            raise _BadPageError(f"page {first} begins no large value")
        for number in range(first, first + count):
            self._take(number)
        # Of a value nothing is wanted, of the list of free pages all of it.
        return self._file.read_at(at + _RUN.size, min(length, 1 << 26))

    def _refuse_over(self, end: int, number: int) -> None:
        if end > self._page_bytes:
            raise _BadPageError(f"a node of page {number} goes beyond it")


def _even(size: int) -> int:
    return size + size % 2

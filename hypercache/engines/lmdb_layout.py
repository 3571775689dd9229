"""The layout of an LMDB file: its pages, nodes and the records of its trees.

The source is mdb.c of LMDB 0.9, on 64-bit little-endian machines. LMDB puts no
checksum on a page: what is decoded here is a claim, and whoever follows it checks it.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

PAGE_HEAD = struct.Struct("<QHHHH")  # number, padding, flags, lower, upper
RUN_HEAD = struct.Struct("<QHHI")  # number, padding, flags, how many pages
NODE_HEAD = struct.Struct("<HHHH")  # low and high half of size or page, flags, key size
PAGE_NUMBER = struct.Struct("<Q")
BRANCH, LEAF, OVERFLOW, META = 0x01, 0x02, 0x04, 0x08  # kinds of pages
BIG_DATA, SUB_DATA = 0x01, 0x02  # flags of nodes: a value with own pages, a tree
NO_PAGE = (1 << 64) - 1
META_PAGES = 2
PAGE_SIZES = frozenset(1 << power for power in range(9, 17))

_DIRTY = 0x10  # of a page in memory; now and then it reaches the file
_META = struct.Struct("<IIQQ")  # magic, version, address, size of the map
_TREE = struct.Struct("<IHHQQQQQ")  # page size, flags, depth, 3 counts, entries, root
_META_END = struct.Struct("<QQ")  # last page, transaction
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_FREE_AT = PAGE_HEAD.size + _META.size
_MAIN_AT = _FREE_AT + _TREE.size
_END_AT = _MAIN_AT + _TREE.size

TREE_BYTES = _TREE.size
META_BYTES = _END_AT + _META_END.size


class Tree(NamedTuple):
    """Where one of the trees begins, and how large it is."""

    page_bytes: int  # of the free list, the size of a page; else 0
    flags: int
    depth: int
    entry_count: int
    root: int


class Meta(NamedTuple):
    """One of the two pages that name the trees of a transaction."""

    txn: int
    last_page: int
    free: Tree
    main: Tree

    @property
    def page_bytes(self) -> int:
        """Return the size of a page of this file."""
        return self.free.page_bytes


def decode_meta(data: bytes, number: int) -> Meta | None:
    """Return what one of the first two pages says, None if it cannot be right."""
    if len(data) < META_BYTES:
        return None
    page, _, flags, _, _ = PAGE_HEAD.unpack_from(data)
    magic, version, _, _ = _META.unpack_from(data, PAGE_HEAD.size)
    if (page, flags, magic, version) != (number, META, _MAGIC, _VERSION):
        return None
    last_page, txn = _META_END.unpack_from(data, _END_AT)
    free, main = decode_tree(data, _FREE_AT), decode_tree(data, _MAIN_AT)
    if free.page_bytes not in PAGE_SIZES or last_page < META_PAGES - 1:
        return None
    return Meta(txn, last_page, free, main)


def decode_tree(data: bytes, at: int = 0) -> Tree:
    """Return what a record of a tree says."""
    page_bytes, flags, depth, _, _, _, entry_count, root = _TREE.unpack_from(data, at)
    return Tree(page_bytes, flags, depth, entry_count, root)


def kind(flags: int) -> int:
    """Return what kind of page has these flags."""
    return flags & ~_DIRTY

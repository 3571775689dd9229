"""One state of an LMDB store: its trees, and whether they are whole.

The store keeps the number of its entries and a sum over their checksums. Where those
agree with what is found, nothing is missing, however the pages look.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from hypercache.engines import envelope
from hypercache.engines.envelope import DIGEST_MASK, Stored
from hypercache.engines.lmdb_batch import StoreState, maybe_state
from hypercache.engines.lmdb_layout import (
    NO_PAGE,
    SUB_DATA,
    TREE_BYTES,
    Tree,
    decode_tree,
)
from hypercache.options import MAX_LSN
from hypercache.recovery.lmdb_file import BadPage, Leaf, LmdbFile
from hypercache.recovery.pages import Node

_DATA, _META, STATE = b"data", b"meta", b"state"
MAX_BAD = 10_000


class BadNode(NamedTuple):
    """An entry that cannot be read."""

    leaf: int
    offset: int
    length: int
    key: bytes
    lsn: int | None


@dataclass
class Snapshot:
    """What one main tree leads to.

    Attributes:
        state: what the store says of itself, None where that cannot be read.
        record: where the tree of entries begins, None where that cannot be read.
        leaf: the main page, None where it cannot be read.
    """

    root: int
    txn: int
    leaf: Leaf | None = None
    record: Tree | None = None
    state: StoreState | None = None
    count: int = 0
    digest: int = 0
    expiring: int = 0
    data_bytes: int = 0
    highest_lsn: int = 0
    misplaced: list[int] = field(default_factory=list)
    bad_pages: list[BadPage] = field(default_factory=list)
    bad_nodes: list[BadNode] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        """Tell whether every entry of this state was found, and no other."""
        return self.state is not None and tuple(self.state[1:5]) == self.found

    @property
    def found(self) -> tuple[int, int, int, int]:
        """Return number, digest, expiring ones and size of the entries found."""
        return self.count, self.digest & DIGEST_MASK, self.expiring, self.data_bytes

    @property
    def lsn(self) -> int:
        """Return the LSN reached, 0 where it is not known."""
        return self.state.checkpoint_lsn if self.state else 0

    def add(self, entry: Stored, data_digest: int, data_bytes: int) -> None:
        """Count an entry in."""
        self.count += 1
        self.digest += data_digest
        self.expiring += entry.expires_at_ms > 0
        self.data_bytes += data_bytes
        self.highest_lsn = max(self.highest_lsn, entry.lsn)


def open_snapshot(file: LmdbFile, root: int, txn: int) -> Snapshot:
    """Read the main page of a state, and what the store says of itself there."""
    found = Snapshot(root, txn)
    leaf = file.leaf_at(root) if root != NO_PAGE else None
    if leaf is None:
        return found
    found.leaf = leaf
    file.take(root)
    for node in leaf.nodes:
        if node.flags & SUB_DATA and node.size == TREE_BYTES:
            record = decode_tree(leaf.page, node.start)
            if node.key == _DATA:
                found.record = record
            elif node.key == _META:
                found.state = _state(file, record)
    return found


def entries(file: LmdbFile, found: Snapshot) -> Iterator[tuple[Leaf, Node, Stored]]:
    """Yield the entries that can be read, and note in the snapshot what cannot."""
    if found.record is None:
        return
    for leaf in file.leaves(found.record.root):
        if isinstance(leaf, BadPage):
            if len(found.bad_pages) < MAX_BAD:
                found.bad_pages.append(leaf)
            continue
        if not leaf.whole:
            found.misplaced.append(leaf.number)
        yield from entries_of_leaf(file, leaf, found)


def entries_of_leaf(
    file: LmdbFile, leaf: Leaf, found: Snapshot
) -> Iterator[tuple[Leaf, Node, Stored]]:
    """Yield the entries of one leaf that can be read."""
    seen: set[bytes] = set()
    for node in leaf.nodes:
        entry = file.entry(leaf, node)
        if entry is None:
            if len(found.bad_nodes) < MAX_BAD:
                found.bad_nodes.append(_bad_node(file, leaf, node))
        elif node.key not in seen:
            seen.add(node.key)
            yield leaf, node, entry


def measure(file: LmdbFile, found: Snapshot) -> None:
    """Go through all entries of a snapshot and count them."""
    for leaf, node, entry in entries(file, found):
        file.take_value(leaf, node)
        found.add(entry, digest_of(file, leaf, node), len(node.key) + node.size)


def digest_of(file: LmdbFile, leaf: Leaf, node: Node) -> int:
    """Return the share of an entry in the digest of the store."""
    head = file.head(leaf, node)
    return envelope.summarize(head).digest


def _state(file: LmdbFile, record: Tree) -> StoreState | None:
    for leaf in file.leaves(record.root):
        if isinstance(leaf, BadPage):
            continue
        for node in leaf.nodes:
            if node.key == STATE:
                return state_in(file.value(leaf, node))
    # Without a record nothing was ever written.
    return StoreState() if record.root == NO_PAGE else None


def state_in(data: bytes | None) -> StoreState | None:
    """Return what a record of the store says of itself, None if it cannot be right."""
    return maybe_state(data) if data else None


def _bad_node(file: LmdbFile, leaf: Leaf, node: Node) -> BadNode:
    offset = leaf.number * file.page_bytes + node.start
    head = file.head(leaf, node)
    lsn = None
    if len(head) == envelope.HEAD.size:
        lsn = envelope.HEAD.unpack(head)[3]
        lsn = lsn if lsn <= MAX_LSN else None
    return BadNode(leaf.number, offset, node.end - node.start, node.key, lsn)

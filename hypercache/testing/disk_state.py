"""What a simulated disk holds: contents and names, on the medium or on their way to it.

A file has a durable content and the changes since its last sync, a directory durable
names and the changes since its own. What readers see is both together; what a power
cut leaves is the durable part and any piece of the rest, see `power_cut.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

# Maps paths to contents, and directories to None.
Image = Mapping[str, bytes | None]


class Write(NamedTuple):
    """Bytes at an offset, not on the medium yet."""

    offset: int
    data: bytes


class Cut(NamedTuple):
    """A new length, not on the medium yet; a longer one adds zeros."""

    length: int


Change = Write | Cut


def content_after(content: bytes, changes: Iterable[Change]) -> bytes:
    """Return what changes make of a content; holes are zeros."""
    data = bytearray(content)
    for change in changes:
        end = change.length if isinstance(change, Cut) else change.offset
        if len(data) < end:
            data += bytes(end - len(data))
        if isinstance(change, Cut):
            del data[end:]
        else:
            data[end : end + len(change.data)] = change.data
    return bytes(data)


class Inode:
    """A file: what readers see, what is on the medium, and the changes in between."""

    def __init__(self, content: bytes = b"") -> None:
        self.seen = self.durable = content
        self.pending: list[Change] = []
        self.is_whole = True  # what readers see is what a sync would leave

    def change(self, change: Change) -> None:
        """Let readers see a change."""
        self.pending.append(change)
        self.seen = content_after(self.seen, [change])

    def synced(self) -> None:
        """Bring all changes to the medium."""
        self.durable, self.pending = content_after(self.durable, self.pending), []

    def sync_failed(self) -> None:
        """Do as Linux does: readers go on seeing what never reaches the medium.

        Names are not like that: a file system keeps them in its journal.
        """
        if self.pending:
            self.pending, self.is_whole = [], False


class Directory:
    """The same for the names in a directory."""

    def __init__(self) -> None:
        self.seen: Names = {}
        self.durable: Names = {}
        self.pending: list[Entry] = []

    def change(self, entry: Entry) -> None:
        """Let readers see a change."""
        self.pending.append(entry)
        self.seen = names_after(self.seen, [entry])

    def synced(self) -> None:
        """Bring all changes to the medium."""
        self.durable, self.pending = names_after(self.durable, self.pending), []

    def nodes(self) -> Iterator[Node]:
        """Yield all that a power cut could leave under some name in here."""
        yield from self.durable.values()
        for entry in self.pending:
            yield from (node for _, node in entry if node is not None)


Node = Inode | Directory
Names = dict[str, Node]
# Names that change together, None for one that goes away.
Entry = tuple[tuple[str, Node | None], ...]


def names_after(names: Names, entries: Iterable[Entry]) -> Names:
    """Return what changes of entries make of the names in a directory."""
    after: dict[str, Node | None] = {**names}
    for entry in entries:
        after.update(entry)
    return {name: node for name, node in after.items() if node is not None}


def clone(node: Node, known: dict[Node, Node]) -> Node:
    """Return a copy of a file, or of a directory with all below it.

    `known` maps what was copied before to its copy: a file may have two names.
    """
    if node in known:
        return known[node]
    if isinstance(node, Inode):
        file = known[node] = Inode(node.durable)
        file.seen, file.pending = node.seen, list(node.pending)
        file.is_whole = node.is_whole
        return file
    folder = known[node] = Directory()
    folder.seen = {name: clone(inner, known) for name, inner in node.seen.items()}
    folder.durable = {n: clone(inner, known) for n, inner in node.durable.items()}
    for entry in node.pending:
        copied = ((name, clone(to, known) if to else None) for name, to in entry)
        folder.pending.append(tuple(copied))
    return folder


def tree_of(image: Image) -> Directory:
    """Return the directory "/" of a disk on which just this is durable."""
    folders = {"/": Directory()}
    for path, content in sorted(image.items()):
        above, _, name = path.rpartition("/")
        node: Node = Directory() if content is None else Inode(content)
        if isinstance(node, Directory):
            folders[path] = node
        folders[above or "/"].durable[name] = node
    for folder in folders.values():
        folder.seen = dict(folder.durable)
    return folders["/"]

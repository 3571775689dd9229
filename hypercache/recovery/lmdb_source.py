"""Find what is left of an LMDB store: its newest state, and what of it is missing.

Nothing old ever comes back: a page that no tree leads to counts only where the list of
free pages is whole and does not name it, or where the sum that the store keeps over
its entries proves that what is on the page belongs to them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

from hypercache.engines.lmdb_layout import NO_PAGE, Meta
from hypercache.ops import Put
from hypercache.paths import StorePaths
from hypercache.read_file import ReadFile
from hypercache.recovery import orphans, snapshots
from hypercache.recovery.entries import Item
from hypercache.recovery.findings import MAX_KEYS, Finding, Kind, Loss, LostKey
from hypercache.recovery.lmdb_file import Leaf, LmdbFile, metas_of
from hypercache.recovery.orphans import Orphans
from hypercache.recovery.segments import Tell
from hypercache.recovery.snapshots import BadNode, Snapshot
from hypercache.storage import Storage
from hypercache.wal.checkpoint import Marker

NAME = "lmdb/data.mdb"
_PAGE_BYTES = 4096
_STATELESS = {
    Loss.NONE: "every entry is there",
    Loss.POSSIBLE: "the entries may be those of an older state",
    Loss.CERTAIN: "the entries are those of an older state",
}


@dataclass
class LmdbSource:
    """The entries of an LMDB store.

    Attributes:
        lsn: the op up to which it has everything.
        newer: whether a newer state than the one that is read was there.
    """

    storage: Storage
    path: str
    lsn: int = 0
    lsn_is_known: bool = True
    newer: Loss = Loss.NONE
    findings: list[Finding] = field(default_factory=list)
    page_bytes: int = _PAGE_BYTES
    snapshot: Snapshot | None = None
    orphans: Orphans = field(default_factory=Orphans)
    free: bytearray = field(default_factory=bytearray)

    @property
    def highest_lsn(self) -> int:
        """Return the highest LSN that an entry has."""
        return self.snapshot.highest_lsn if self.snapshot is not None else 0

    @property
    def uuid(self) -> bytes:
        """Return whose store it says to be; empty where that is not known."""
        state = self.snapshot.state if self.snapshot is not None else None
        return state.uuid if state is not None else b""

    def puts(self, tell: Tell, bad: list[Finding]) -> Iterator[Item]:
        """Yield the entries that can be read as puts, each with its own LSN."""
        del bad  # known already
        if self.snapshot is None:
            return
        with self.storage.open_read(self.path) as opened:
            file = LmdbFile(opened, self.page_bytes)
            file.free = self.free
            again = Snapshot(self.snapshot.root, 0, record=self.snapshot.record)
            for leaf, _, entry in snapshots.entries(file, again):
                tell(leaf.number * self.page_bytes)
                yield entry.lsn, Put(entry.key, entry.value, entry.expires_at_ms)
            for number in self.orphans.taken:
                orphan = file.leaf_at(number)
                assert orphan is not None
                yield from self._of_orphan(file, orphan, again)

    def _of_orphan(self, file: LmdbFile, leaf: Leaf, again: Snapshot) -> Iterator[Item]:
        for _, node, entry in snapshots.entries_of_leaf(file, leaf, again):
            if self.orphans.keys.get(node.key) == leaf.number:
                yield entry.lsn, Put(entry.key, entry.value, entry.expires_at_ms)


def load(
    storage: Storage,
    paths: StorePaths,
    marker: Marker | None,
    uuid: bytes | None,
    tell: Tell,
) -> LmdbSource:
    """Find the newest state in the file and go through it once.

    A file that says to be of another store than `uuid` counts as if it were not there.

    Raises:
        StorageError: the file cannot be read.
    """
    source = LmdbSource(storage, paths.lmdb_data)
    info = storage.info(paths.lmdb_data)
    if info is None or not info.size_bytes:
        reason = "the file is missing" if info is None else "the file is empty"
        return _without(source, marker, Kind.MISSING_FILE, reason)
    with storage.open_read(paths.lmdb_data) as opened:
        _Search(source, opened, marker, tell).run()
    if uuid is None or source.uuid in (uuid, b""):
        return source
    reason = (
        f"it belongs to the store {source.uuid.hex()}, not to {uuid.hex()}; put the "
        "right one back, or if STORE is the wrong one, move that away"
    )
    left_out = LmdbSource(storage, paths.lmdb_data)
    return _without(left_out, marker, Kind.FOREIGN_FILE, reason)


def _without(
    source: LmdbSource, marker: Marker | None, kind: Kind, reason: str
) -> LmdbSource:
    """Return a source without entries, and why there are none."""
    loss = Loss.CERTAIN if marker is None or marker.checkpoint_lsn else Loss.NONE
    source.findings.append(Finding(kind, NAME, reason, loss=loss))
    source.lsn = marker.checkpoint_lsn if marker else 0
    source.lsn_is_known = marker is not None
    return source


class _Search:
    def __init__(
        self, source: LmdbSource, opened: ReadFile, marker: Marker | None, tell: Tell
    ) -> None:
        self._source, self._marker, self._tell = source, marker, tell
        self._metas = metas_of(opened)
        if self._metas:
            source.page_bytes = self._metas[0].page_bytes
        self._file = LmdbFile(opened, source.page_bytes)

    def run(self) -> None:
        """Choose the state that counts, and say what is wrong with it."""
        source = self._source
        chosen, trusted = self._from_metas()
        whole = trusted and chosen is not None and chosen.verified
        if not whole:
            self._note_metas()
            # With its list of free pages a state can be found without its branches.
            if not (trusted and self._free_pages(self._metas[0]) is not None):
                chosen = self._best(chosen)
        if chosen is None:
            reason = "no state of the store was found in its pages"
            chosen = Snapshot(NO_PAGE, 0)
            self._add(Kind.PAGE, reason, loss=Loss.CERTAIN)
        source.snapshot = chosen
        source.newer = self._newer_than(chosen)
        meta = next((each for each in self._metas if each.txn == chosen.txn), None)
        if chosen.verified:
            self._note_harmless(chosen, meta)
        else:
            chosen = self._salvage(chosen, meta)
        self._settle_lsn(chosen)

    def _newer_than(self, chosen: Snapshot) -> Loss:
        """Tell whether a state that is newer than the chosen one is lost."""
        if self._metas_agree and chosen.txn == self._metas[0].txn:
            return Loss.NONE
        if chosen.state is not None:
            marker = self._marker
            if marker and marker.clean and chosen.lsn == marker.checkpoint_lsn:
                return Loss.NONE
            # The two meta pages are those of the last two states.
            others = [state.lsn for state in self._others(chosen) if state.state]
            if others and chosen.lsn > max(others):
                return Loss.NONE
        return Loss.CERTAIN if self._metas_agree else Loss.POSSIBLE

    def _others(self, chosen: Snapshot) -> Iterator[Snapshot]:
        used, self._file.used = self._file.used, bytearray(self._file.page_count)
        for meta in self._metas:
            if meta.main.root != chosen.root:
                yield snapshots.open_snapshot(self._file, meta.main.root, meta.txn)
        self._file.used = used

    @property
    def _metas_agree(self) -> bool:
        return len(self._metas) == 2 and self._metas[0].txn - self._metas[1].txn <= 1

    def _from_metas(self) -> tuple[Snapshot | None, bool]:
        """Return the state of the newest meta page, and whether it is the newest."""
        if not self._metas:
            return None, False
        newest = self._measured(self._metas[0].main.root, self._metas[0].txn)
        if not self._metas_agree:
            return newest, False
        if newest.state is None:
            return newest, True
        used, self._file.used = self._file.used, bytearray(self._file.page_count)
        root, txn = self._metas[1].main.root, self._metas[1].txn
        other = snapshots.open_snapshot(self._file, root, txn)
        self._file.used = used
        return newest, other.lsn <= newest.lsn and not self._is_older(newest)

    def _is_older(self, found: Snapshot) -> bool:
        """Tell whether a state is older than what was noted beside the file."""
        return self._marker is not None and found.lsn < self._marker.checkpoint_lsn

    def _free_pages(self, meta: Meta) -> bytearray | None:
        return orphans.free_pages(self._file, meta, strict=False)

    def _measured(self, root: int, txn: int) -> Snapshot:
        self._file.forget_used()
        found = snapshots.open_snapshot(self._file, root, txn)
        snapshots.measure(self._file, found)
        return found

    def _best(self, newest: Snapshot | None) -> Snapshot | None:
        """Return the newest state of all that any page leads to."""
        found = [newest] if newest is not None else []
        if len(self._metas) > 1:
            found.append(self._measured(self._metas[1].main.root, self._metas[1].txn))
        known = {each.root for each in found}
        roots = set(orphans.main_pages(self._file)) - known
        found += [self._measured(root, 0) for root in sorted(roots)]
        # Of those that are equal the first: `max` keeps it.
        best = max(found, key=lambda each: (each.lsn, each.verified), default=None)
        if best is not None and (best.state is not None or best.record is not None):
            return best
        return next((each for each in found if each.record is not None), None)

    def _note_metas(self) -> None:
        if self._metas_agree:
            return
        count = len(self._metas)
        reason = "the two meta pages contradict each other"
        if count < 2:
            reason = "both meta pages are" if not count else "one meta page is"
            reason += " damaged"
        length = 2 * self._file.page_bytes
        self._add(Kind.PAGE, reason, 0, length, kept=True)

    def _note_harmless(self, chosen: Snapshot, meta: Meta | None) -> None:
        """Note what is wrong although every entry is there."""
        for bad in chosen.bad_pages:
            self._add_page(bad.number, bad.reason)
        for number in chosen.misplaced:
            reason = "the page contradicts itself, or the branch above it"
            self._add_page(number, reason)
        for node in chosen.bad_nodes:
            reason = "there is a value that belongs to no entry"
            self._add(Kind.VALUE, reason, node.offset, node.length, kept=True)
        if chosen.leaf is not None and not chosen.leaf.whole:
            self._add_page(chosen.leaf.number, "the main page is damaged")
        if meta is not None and orphans.free_pages(self._file, meta) is None:
            self._add(Kind.PAGE, "the list of free pages is damaged")

    def _salvage(self, chosen: Snapshot, meta: Meta | None) -> Snapshot:
        """Look for what no tree leads to any more, and note what is lost."""
        source, file = self._source, self._file
        file.forget_used()
        free = self._free_pages(meta) if meta else None
        if free is not None:
            # What is free is old: a damaged branch must not lead there.
            source.free = file.free = free
        again = self._again(chosen)
        found = orphans.find(file, again)
        if again.state is None and free is not None and len(found.states) == 1:
            again.state = next(iter(found.states))
        whole = orphans.completes(again, found)
        if whole or free is not None:
            found.take()
        else:
            found.leave()
        source.snapshot, source.orphans = again, found
        loss = Loss.NONE if whole else Loss.CERTAIN
        self._note_pages(again, loss)
        for node in again.bad_nodes:
            self._note_value(node, loss)
        self._note_possible(found)
        if not whole:
            self._note_count(again, found)
        return again

    def _again(self, chosen: Snapshot) -> Snapshot:
        """Go through a state once more, now that the free pages are known."""
        self._file.forget_used()
        again = snapshots.open_snapshot(self._file, chosen.root, chosen.txn)
        snapshots.measure(self._file, again)
        return again

    def _note_pages(self, found: Snapshot, loss: Loss) -> None:
        for bad in found.bad_pages:
            self._add_page(bad.number, bad.reason, loss)
        for number in found.misplaced:
            self._add_page(number, "the page contradicts itself, or its branch")
        if found.leaf is None or not found.leaf.whole or found.record is None:
            self._add_page(found.root, "the main page is damaged", loss)

    def _note_value(self, node: BadNode, loss: Loss) -> None:
        reason = "the stored value does not match its checksum"
        finding = Finding(
            Kind.VALUE,
            NAME,
            reason,
            node.offset,
            node.length,
            keys=(LostKey(node.key, node.lsn),),
            loss=loss,
            kept=True,
        )
        self._source.findings.append(finding)

    def _note_possible(self, found: Orphans) -> None:
        keys = tuple(
            LostKey(key, lsn) for key, lsn in list(found.left.items())[:MAX_KEYS]
        )
        if keys:
            reason = (
                f"{len(found.left)} entries stand on pages that may be old; "
                "they were left out"
            )
            self._add(Kind.PAGE, reason, keys=keys, loss=Loss.POSSIBLE)

    def _note_count(self, again: Snapshot, found: Orphans) -> None:
        count = again.count + len(found.keys)
        belong = again.state.entry_count if again.state else None
        if belong is None and again.record is not None:
            belong = again.record.entry_count
            if belong == count and not again.bad_pages and not again.bad_nodes:
                reason = "what the store says of itself is damaged; "
                reason += _STATELESS[self._source.newer]
                self._add(Kind.COUNT, reason, loss=self._source.newer)
                return
        if belong is None:
            reason = f"{count} entries were found; how many belong is not known"
        elif belong == count:
            reason = "the entries found are not those that the store has summed up"
        else:
            reason = f"{count} entries were found where {belong} belong"
        loss = Loss.CERTAIN if belong is None or belong != count else Loss.POSSIBLE
        self._add(Kind.COUNT, reason, loss=loss)

    def _settle_lsn(self, chosen: Snapshot) -> None:
        """Decide from which op on the log is needed."""
        source, marker = self._source, self._marker
        known = marker.checkpoint_lsn if marker is not None else 0
        if chosen.state is None:
            source.lsn, source.lsn_is_known = known, marker is not None
            return
        source.lsn = chosen.lsn
        if not self._is_older(chosen):
            return
        reason = f"it is older than the checkpoint at LSN {known}"
        self._source.findings.append(
            Finding(
                Kind.OLDER,
                NAME,
                reason,
                first_lsn=chosen.lsn + 1,
                last_lsn=known,
                # What the log has of it is applied again, and then it is no loss.
                loss=Loss.NONE,
            )
        )

    def _add_page(self, number: int, reason: str, loss: Loss = Loss.NONE) -> None:
        size = self._file.page_bytes
        kept = 0 <= number < self._file.page_count
        offset = number * size if kept else None
        reason = f"page {number}: {reason}" if kept else reason
        length = size if kept else 0
        self._add(Kind.PAGE, reason, offset, length, loss=loss, kept=kept)

    def _add(
        self,
        kind: Kind,
        reason: str,
        offset: int | None = None,
        length_bytes: int = 0,
        *,
        keys: tuple[LostKey, ...] = (),
        loss: Loss = Loss.NONE,
        kept: bool = False,
    ) -> None:
        finding = Finding(kind, NAME, reason, offset, length_bytes, loss=loss)
        finding = dataclasses.replace(finding, keys=keys, kept=kept)
        self._source.findings.append(finding)

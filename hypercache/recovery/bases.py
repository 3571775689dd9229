"""Read what can be read of a base, block by block."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import zstandard

from hypercache.aof.base import BLOCK_BYTES, Block, decode_block
from hypercache.aof.manifest import BaseFacts
from hypercache.frame import KIND_BLOCK, Frame
from hypercache.ops import Put
from hypercache.paths import LogPaths
from hypercache.recovery.findings import Finding, Kind, Loss
from hypercache.recovery.guesses import keys_of_frames
from hypercache.recovery.segments import Hole, Survey, Tell, frames, survey
from hypercache.segment import HEADER_BYTES, SegmentHeader
from hypercache.storage import Storage

_LARGE_BYTES = 32 << 20  # a block beyond this holds one entry
_FOOTER_BYTES = 64  # a footer takes less
_PEEK_BYTES = 1 << 17  # more than the longest key and the heads around it


@dataclass
class Base:
    """The base that counts, and what is wrong with it; without one `lsn` is 0."""

    storage: Storage
    root: str
    survey: Survey | None = None
    facts: BaseFacts | None = None
    lsn: int = 0
    findings: list[Finding] = field(default_factory=list)

    def puts(self, tell: Tell, bad: list[Finding]) -> Iterator[tuple[int, Put]]:
        """Yield the entries that can be read as puts with the LSN of the base."""
        if self.survey is None:
            return
        decompress = zstandard.ZstdDecompressor().decompress
        count, damaged = 0, bool(self.survey.holes)
        for found in frames(self.storage, self.survey, tell):
            if found.kind != KIND_BLOCK:
                continue
            try:
                block = careful_block(found.payload, decompress)
            except ValueError as error:
                bad.append(_bad_block(self.survey, found, error))
                damaged = True
                continue
            count += len(block)
            for key, slot in block.items():
                put = Put(key, slot) if isinstance(slot, bytes) else Put(key, *slot)
                yield self.lsn, put
        bad += self._count_findings(count, damaged)

    def _count_findings(self, count: int, damaged: bool) -> Iterator[Finding]:
        assert self.survey is not None
        if self.facts is None or count == self.facts.entry_count:
            return
        belong = self.facts.entry_count
        reason = f"{count} entries were read where {belong} belong"
        loss = Loss.CERTAIN if damaged or count < belong else Loss.POSSIBLE
        yield Finding(Kind.COUNT, self.survey.name, reason, loss=loss)


def load(
    storage: Storage,
    paths: LogPaths,
    root: str,
    facts: BaseFacts | None,
    number: int,
    uuid: bytes | None,
    tell: Tell,
) -> Base:
    """Survey the base with this number; `facts` are what the manifest says of it."""
    base = Base(storage, root, facts=facts, lsn=facts.lsn if facts else 0)
    path = paths.segment(number)
    if storage.info(path) is None:
        count = f" with {facts.entry_count} entries" if facts else ""
        reason = f"the base{count} is missing"
        name = path.removeprefix(f"{root}/")
        loss = Loss.NONE if facts and not facts.entry_count else Loss.CERTAIN
        base.findings.append(Finding(Kind.MISSING_FILE, name, reason, loss=loss))
        return base

    def expected() -> SegmentHeader | None:
        if facts is None or uuid is None:
            return None
        return SegmentHeader(uuid, number, facts.lsn + 1)

    found = survey(storage, path, number, expected, root, tell)
    base.survey = found
    _judge(base, found, uuid)
    return base


def careful_block(payload: memoryview | bytes, decompress: object) -> Block:
    """Decode a block, but not one that would only fill the memory.

    Raises:
        ValueError: it is no block.
    """
    try:
        size = zstandard.frame_content_size(payload)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if size > max(BLOCK_BYTES, _LARGE_BYTES) and not _is_one_entry(payload, size):
        raise ValueError(f"it would take {size} bytes and holds no single entry")
    return decode_block(payload, decompress)


def _is_one_entry(payload: memoryview | bytes, size: int) -> bool:
    """Tell whether what is announced agrees with the sizes inside."""
    reader = zstandard.ZstdDecompressor().stream_reader(bytes(payload[:_PEEK_BYTES]))
    try:
        head = reader.read(_PEEK_BYTES)
    except zstandard.ZstdError:
        return False
    key_end = _bin_end(head, 1)
    if head[:1] != b"\x81" or not 0 < key_end < len(head):
        return False
    in_array = head[key_end] == 0x92
    value_end = _bin_end(head, key_end + in_array)
    return value_end == size or (in_array and value_end <= size <= value_end + 9)


def _bin_end(data: bytes, at: int) -> int:
    size = {0xC4: 1, 0xC5: 2, 0xC6: 4}.get(data[at] if at < len(data) else 0)
    if size is None:
        return -1
    start = at + 1 + size
    return start + int.from_bytes(data[at + 1 : start], "big")


def _judge(base: Base, found: Survey, uuid: bytes | None) -> None:
    header, facts, add = found.header, base.facts, base.findings.append
    if header is not None and uuid is not None and header.uuid != uuid:
        reason = "the base belongs to another store"
        add(
            Finding(
                Kind.FOREIGN_SEGMENT,
                found.name,
                reason,
                0,
                found.size_bytes,
                loss=Loss.CERTAIN,
            )
        )
        base.survey = None
        return
    if facts is None:
        base.lsn = max(found.first_lsn - 1, 0)
    elif found.first_lsn != facts.lsn + 1:
        reason = "the base ends at another LSN than the manifest says"
        add(Finding(Kind.OLDER, found.name, reason, loss=Loss.POSSIBLE))
    if header is None:
        length = min(HEADER_BYTES, found.size_bytes)
        reason = "the header of the base is damaged"
        loss = Loss.NONE if found.seed is not None else Loss.CERTAIN
        add(
            Finding(
                Kind.HEADER, found.name, reason, 0, length, loss=loss, kept=length > 0
            )
        )
    _judge_blocks(base, found)


def _judge_blocks(base: Base, found: Survey) -> None:
    # The sum over the blocks tells whether one of them is missing.
    intact = base.facts is not None and base.facts.digest == found.digest
    for hole in found.holes:
        base.findings.append(_damage(base, found, hole, intact))
    if not found.holes and not found.sealed:
        reason = "the base has no footer"
        loss = Loss.NONE if intact else Loss.POSSIBLE
        base.findings.append(
            Finding(Kind.FOOTER, found.name, reason, found.end, loss=loss)
        )
    elif not found.holes and base.facts is not None and not intact:
        reason = "the base is not the one that the manifest names"
        base.findings.append(
            Finding(Kind.OLDER, found.name, reason, loss=Loss.POSSIBLE)
        )


def _damage(base: Base, found: Survey, hole: Hole, intact: bool) -> Finding:
    finding = Finding(
        Kind.FOOTER,
        found.name,
        hole.reason,
        hole.start,
        hole.end - hole.start,
        kept=hole.end > hole.start,
    )
    if intact:
        return finding
    with base.storage.open_read(found.path) as file:
        keys = keys_of_frames(file, hole.start, hole.end, None)
    at_end = hole.next_lsn is None and hole.end - hole.start <= _FOOTER_BYTES
    loss = Loss.POSSIBLE if at_end and not keys else Loss.CERTAIN
    return dataclasses.replace(finding, kind=Kind.BLOCK, keys=keys, loss=loss)


def _bad_block(found: Survey, frame: Frame, error: ValueError) -> Finding:
    return Finding(
        Kind.BLOCK,
        found.name,
        f"bad block: {error}",
        frame.offset,
        frame.end - frame.offset,
        loss=Loss.CERTAIN,
        kept=True,
    )

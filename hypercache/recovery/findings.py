"""What a recovery finds wrong, and what of it is lost.

The meaning of each field is specified in docs/recovery.md.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Loss(enum.StrEnum):
    """Whether something is gone because of a finding."""

    NONE = "none"
    POSSIBLE = "possible"
    CERTAIN = "certain"


class Need(enum.StrEnum):
    """What puts a finding right."""

    NOTHING = "nothing"
    OPEN = "open"
    RECOVERY = "recovery"


class Verdict(enum.StrEnum):
    """How a store is: the worst that was found."""

    CLEAN = "clean"
    REPAIRABLE = "repairable"
    DAMAGED = "damaged"


class Kind(enum.StrEnum):
    """What sort of thing was found."""

    TORN_TAIL = "torn-tail"
    UNCLEAN = "unclean"
    LEFTOVER = "leftover"
    FOREIGN_FILE = "foreign-file"
    FOREIGN_SEGMENT = "foreign-segment"
    MISSING_FILE = "missing-file"
    METAFILE = "metafile"
    HEADER = "header"
    FRAME = "frame"
    PAYLOAD = "payload"
    FOOTER = "footer"
    GAP = "gap"
    BLOCK = "block"
    COUNT = "count"
    PAGE = "page"
    VALUE = "value"
    OLDER = "older"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class LostKey:
    """A key that a finding concerns; `lsn` is that of the op, None if not known."""

    key: bytes
    lsn: int | None = None
    loss: Loss = Loss.POSSIBLE


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        file: the path relative to the store's directory.
        offset: where it begins, None when it concerns the file as a whole.
        length_bytes: how many bytes cannot be used because of it.
        first_lsn: the first op that is missing, None if none is, or it is not known.
        last_lsn: the last one, None where it is not known.
        keys: what is known of the keys concerned, at most `MAX_KEYS` of them.
        kept: the bytes go into the quarantine folder.
    """

    kind: Kind
    file: str
    reason: str
    offset: int | None = None
    length_bytes: int = 0
    first_lsn: int | None = None
    last_lsn: int | None = None
    keys: tuple[LostKey, ...] = ()
    loss: Loss = Loss.NONE
    need: Need = Need.RECOVERY
    kept: bool = False

    @property
    def quarantine(self) -> str | None:
        """Return the name under which the bytes are kept, None if they are not."""
        if not self.kept or self.offset is None:
            return None
        name = self.file.rpartition("/")[2]
        return f"{name}.{self.offset}-{self.offset + self.length_bytes}.bin"


MAX_KEYS = 1000


@dataclass(frozen=True, slots=True)
class Examination:
    """What is wrong with a store.

    Attributes:
        lsn: the highest LSN that was seen.
        entry_count: how many entries a repaired store has, None if not counted.
        next: the command to type next, or what to do.
    """

    directory: str
    engine: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    lsn: int
    next: str
    entry_count: int | None = None

    @property
    def loss(self) -> Loss:
        """Return the worst loss of all findings."""
        return worst_loss(self.findings)


@dataclass(frozen=True, slots=True)
class LossReport(Examination):
    """What a repaired store in `output` has lost."""

    output: str = ""


def worst_loss(findings: tuple[Finding, ...] | list[Finding]) -> Loss:
    """Return the worst loss of some findings."""
    order = list(Loss)
    return max((each.loss for each in findings), key=order.index, default=Loss.NONE)


def worst_need(findings: tuple[Finding, ...] | list[Finding]) -> Need:
    """Return what puts all of them right."""
    order = list(Need)
    return max((each.need for each in findings), key=order.index, default=Need.NOTHING)


def verdict_of(findings: tuple[Finding, ...] | list[Finding]) -> Verdict:
    """Return how a store is that has these findings."""
    if worst_loss(findings) is not Loss.NONE:
        return Verdict.DAMAGED
    needed = worst_need(findings)
    return Verdict.CLEAN if needed is Need.NOTHING else Verdict.REPAIRABLE

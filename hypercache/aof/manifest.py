"""The manifest: which base and which increments count.

It is the commit point of a compaction; its fields are specified in
docs/aof_format.md.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from hypercache import metafile
from hypercache.errors import CorruptionError
from hypercache.log_reader import Extent
from hypercache.paths import StorePaths
from hypercache.storage import Storage


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """What the manifest says of the base, so that another one is noticed."""

    number: int
    lsn: int
    entry_count: int
    length_bytes: int
    digest: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What MANIFEST says; a new store has no base and no increments."""

    base: BaseFacts | None = None
    first_segment: int = 1
    active_segment: int = 0
    next_lsn: int = 1
    clean: bool = False

    @property
    def extent(self) -> Extent:
        """Return which increments must exist, and from which op on they count."""
        return Extent(
            floor_lsn=self.base.lsn if self.base else 0,
            first_segment=self.first_segment,
            active_segment=self.active_segment,
            next_lsn=self.next_lsn,
            clean=self.clean,
        )

    @property
    def next_base(self) -> int:
        """Return the number that the base of the next compaction gets."""
        return self.base.number + 1 if self.base else 1


_LEAST_BASE = dataclasses.asdict(BaseFacts(1, 0, 0, 0, 0))
_LEAST = dataclasses.asdict(Manifest())
del _LEAST["base"]


def store(storage: Storage, paths: StorePaths, manifest: Manifest) -> None:
    """Replace the manifest; on return it is on the medium."""
    metafile.write(storage, paths.manifest, dataclasses.asdict(manifest))


def load(storage: Storage, paths: StorePaths) -> Manifest:
    """Read the manifest.

    Raises:
        CorruptionError: it is missing, damaged, or contradicts itself.
    """
    fields = metafile.maybe_read(storage, paths.manifest)
    if fields is None:
        raise CorruptionError(paths.manifest, "the manifest is missing")
    return from_fields(fields, paths.manifest)


def from_fields(fields: dict[str, Any], path: str) -> Manifest:
    """Return the manifest with these fields.

    Raises:
        CorruptionError: they are not those of a manifest.
    """
    try:
        base = fields["base"]
        facts = BaseFacts(**base) if base is not None else None
        manifest = Manifest(**{**fields, "base": facts})
    except (KeyError, TypeError) as error:
        raise CorruptionError(path, f"unexpected fields: {error}") from error
    metafile.check_values(path, fields, _LEAST)
    if base is not None:
        metafile.check_values(path, base, _LEAST_BASE)
    if manifest.first_segment > manifest.active_segment + 1:
        raise CorruptionError(path, "its segment numbers contradict")
    return manifest
